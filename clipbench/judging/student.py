"""Student's t distribution for whole degrees of freedom, in closed form.

A t test over n seeds has n − 1 degrees of freedom, a whole number, and then the distribution is a finite sum
(Abramowitz & Stegun 1964, 26.7.3 and 26.7.4). SciPy has it too, but takes longer to import than a comparison to run.
"""

import math
from functools import lru_cache
from statistics import NormalDist

_NEGLIGIBLE = 1e-18  # a term this small changes no digit of a sum of order 1
_CONVERGED = 1e-14  # a relative step as small as rounding


def two_sided(t: float, dof: int) -> float:
    """The two-sided p-value P(|T| > |t|); NaN for NaN.

    Exact up to rounding, about 1e-15 in absolute terms: a far smaller probability may come out as 0.

    >>> f"{two_sided(4.303, dof=2):.4f}"  # as printed tables have it
    '0.0500'
    """
    if dof < 1:
        raise ValueError(f"a t distribution has at least one degree of freedom, not {dof}")
    if math.isnan(t):
        return math.nan
    angle = math.atan(abs(t) / math.sqrt(dof))
    sine, cosine = math.sin(angle), math.cos(angle)
    square = cosine * cosine
    term, first = (cosine, 3) if dof % 2 else (1.0, 2)
    total = term if dof > 1 else 0.0
    for place in range(first, dof - 1, 2):
        term *= square * (place - 1) / place
        total += term
        if term < _NEGLIGIBLE:
            break
    inside = 2 / math.pi * (angle + sine * total) if dof % 2 else sine * total
    return max(0.0, 1.0 - inside)


def above(t: float, dof: int) -> float:
    """P(T > t)."""
    tail = two_sided(t, dof) / 2
    return 1.0 - tail if t < 0 else tail


@lru_cache(maxsize=4096)
def quantile(probability: float, dof: int) -> float:
    """The t below which T lies with this probability, which is at least one half and below one.

    >>> [f"{quantile(0.975, dof):.3f}" for dof in (1, 2, 4, 9)]
    ['12.706', '4.303', '2.776', '2.262']
    """
    if not 0.5 <= probability < 1:
        raise ValueError(f"the probability must be at least 0.5 and below 1, not {probability}")
    # Newton's steps from the normal quantile, which lies below: over a concave function they rise to the root.
    t = NormalDist().inv_cdf(probability)
    scale = math.exp(math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2)) / math.sqrt(dof * math.pi)
    while True:
        density = scale * math.exp(-(dof + 1) / 2 * math.log1p(t * t / dof))
        step = (above(t, dof) - (1 - probability)) / density
        t += max(step, 0.0)
        if step <= _CONVERGED * t:
            return t
