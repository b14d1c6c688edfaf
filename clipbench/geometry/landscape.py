"""The loss along a line, by looking at it: where it is least, and where it has risen above its start."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy.optimize import brentq, minimize_scalar

FACTOR = 4.0
"""From one step of a search to the next: finer structure may be stepped over."""
REACH = 12  # how many such steps a search goes beyond the steps it was given, either way
PRECISE = 1e-6  # of the critical step, where rounding lets it
FLAT = 1e-4  # of the best step: the loss there is right to this squared
HIGH = 1e30  # stands for a loss that is not finite, which is a rise


@dataclass(frozen=True)
class Landscape:
    """The change of the loss L(θ + t·u) − L(θ) over multiples t of a step u.

    - `changes`: at every multiple that was asked for, ±.
    - `best_multiple`, `best_decrease`: t > 0 of the least loss found, and by how much it is lower.
    - `critical_multiple`: η_c, the least t > 0 found at which the loss has risen above its start.
    - `missing`: why there is no best or no critical multiple, which are NaN then.
    """

    changes: Mapping[float, float]
    best_multiple: float = math.nan
    best_decrease: float = math.nan
    critical_multiple: float = math.nan
    missing: tuple[str, ...] = ()

    @property
    def critical_sharpness(self) -> float:
        """λ_c = 2/η_c; on a quadratic −uᵀHu/gᵀu."""
        return 2.0 / self.critical_multiple


def explore(change: Callable[[float], float], multiples: Sequence[float], *, blur: float = 0.0) -> Landscape:
    """Look along a line: first at the multiples on both sides, then for the minimum and the rise ahead.

    The search goes on by a factor of 4 beyond the largest multiple until the loss has risen, and below the smallest
    until it has fallen. Then it narrows down the crossing, between the last step at which the loss has fallen and the
    first at which it has risen, as the root of change(t)/t, which is linear on a quadratic; and the minimum, between
    the neighbours of the lowest step.

    Args:
        change: L(θ + t·u) − L(θ); NaN and infinity count as a rise.
        multiples: positive t in rising order.
        blur: a change no larger than this is rounding, neither a fall nor a rise.

    Source: critical sharpness, arXiv:2601.16979, which halves where this interpolates.
    """
    changes = {t: change(t) for t in (*(-t for t in reversed(multiples)), *multiples)}
    seen = {t: _finite(changes[t]) for t in multiples}
    ahead = sorted(seen)
    while min(seen.values()) >= -blur and len(seen) < len(multiples) + REACH:  # no fall yet: look nearer
        ahead.insert(0, ahead[0] / FACTOR)
        seen[ahead[0]] = _finite(change(ahead[0]))
        # Once may be where the start is crossed; at two steps in a row the line is flat.
        if max(abs(seen[t]) for t in ahead[:2]) <= blur:
            break
    if min(seen.values()) >= -blur:
        return Landscape(changes, missing=("the loss does not fall at any step that rounding lets one see",))
    while seen[ahead[-1]] <= blur and len(seen) < len(multiples) + REACH:  # no rise yet: look further
        ahead.append(ahead[-1] * FACTOR)
        seen[ahead[-1]] = _finite(change(ahead[-1]))
    critical, no_rise = _critical(change, ahead, seen, blur=blur)
    best, decrease, no_minimum = _best(change, ahead, seen)
    missing = tuple(why for why in (no_minimum, no_rise) if why)
    return Landscape(changes, best, decrease, critical, missing)


def _critical(
    change: Callable[[float], float], ahead: Sequence[float], seen: Mapping[float, float], *, blur: float
) -> tuple[float, str]:
    """The first crossing from below its start to above it, and else why there is none."""
    risen = next((t for t in ahead if seen[t] > blur), None)
    if risen is None:
        return math.nan, f"the loss is still below its start at {ahead[-1]:g} times the step"
    fallen = [t for t in ahead if t < risen and seen[t] < -blur]
    if not fallen:
        return math.nan, "the loss rises before it falls: its start is not crossed from below first"
    low, high = fallen[-1], risen
    while seen[risen] >= HIGH and high / low > 1 + PRECISE:  # no interpolation from infinity: halve until it is finite
        middle = (low + high) / 2
        rise = _finite(change(middle))
        if rise >= HIGH:
            high = middle
        elif rise > 0:
            high = middle
            break
        else:
            low = middle
    if high / low <= 1 + PRECISE:
        return high, ""
    return float(brentq(lambda t: _finite(change(t)) / t, low, high, xtol=PRECISE * low, rtol=PRECISE)), ""


def _best(
    change: Callable[[float], float], ahead: Sequence[float], seen: Mapping[float, float]
) -> tuple[float, float, str]:
    """The multiple of the least loss between the neighbours of the lowest step seen, the decrease, and else why not."""
    place = min(range(len(ahead)), key=lambda i: seen[ahead[i]])
    if place == len(ahead) - 1:
        return math.nan, math.nan, f"the loss still falls at {ahead[-1]:g} times the step"
    low = ahead[place - 1] if place else 0.0
    minimum = minimize_scalar(
        lambda t: _finite(change(t)),
        bounds=(low, ahead[place + 1]),
        method="bounded",
        options={"xatol": FLAT * ahead[place]},
    )
    best = min((float(minimum.fun), float(minimum.x)), (seen[ahead[place]], ahead[place]))
    return best[1], -best[0], ""


def _finite(value: float) -> float:
    return min(value, HIGH) if math.isfinite(value) or value == -math.inf else HIGH
