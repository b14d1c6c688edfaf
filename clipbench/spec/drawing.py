"""Settings drawn from the spaces of an arm, at random or from a Halton sequence: the same ones for the same spec.

Every arm is given the same points of the unit cube, so that none has the luckier draw: an arm with more to tune has the
same number of trials and must find its way with them.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice
from random import Random

from clipbench.records import Value
from clipbench.spec.grid import Axis, Span

DIGITS = 4  # significant digits of a value drawn: enough to search by, and short enough to be quoted

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)  # a Halton sequence of more dimensions is a poor one
_PATIENCE = 100  # draws a trial, before the settings are held to be too few


def halton() -> Iterator[list[float]]:
    """Points that fill the unit cube evenly, however many there are: coordinate j is the radical inverse in prime j.

    φ_b(i) = Σ_k d_k b^(−k−1) where i = Σ_k d_k b^k; i counts from 1, since 0 is the corner of the cube. (Halton 1960,
    Numerische Mathematik 2:84.)
    """
    for number in count(1):
        yield [radical_inverse(number, prime) for prime in _PRIMES]


def radical_inverse(number: int, base: int) -> float:
    """The digits of a number in a base, mirrored at the point: 6 = 110 in base 2 gives 0.011 = 3/8."""
    inverse, unit = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        unit /= base
        inverse += digit * unit
    return inverse


def uniform(seed: int) -> Iterator[list[float]]:
    """Independent uniform points of the unit cube; Python keeps the sequence of a seed the same for ever."""
    generator = Random(seed)
    while True:
        yield [generator.random() for _ in _PRIMES]


def settings(axes: Sequence[Axis | Span], *, points: Iterator[list[float]], trials: int) -> list[dict[str, Value]]:
    """`trials` different settings, from points of the unit cube.

    Raises:
        ValueError: there are more axes than a point has coordinates, or fewer different settings than asked for.
    """
    if len(axes) > len(_PRIMES):
        raise ValueError(f"{len(axes)} settings are left open; at most {len(_PRIMES)} can be drawn together")
    found: dict[tuple[Value, ...], dict[str, Value]] = {}
    for point in islice(points, _PATIENCE * trials):
        drawn = {axis.option: value(axis, at) for axis, at in zip(axes, point, strict=False)}
        found.setdefault(tuple(drawn.values()), drawn)
        if len(found) == trials:
            return list(found.values())
    raise ValueError(f"only {len(found)} different settings could be drawn, and {trials} trials are asked for")


def value(axis: Axis | Span, at: float) -> Value:
    """The value at the fraction `at`, in [0, 1), of an axis; one of a list's values, each with an equal share."""
    if isinstance(axis, Axis):
        return axis.values[math.floor(at * len(axis.values))]
    low, high = axis.low, axis.high
    if axis.whole:  # every integer with an equal share
        high += 1
    drawn = low * (high / low) ** at if axis.log else low + at * (high - low)
    if axis.whole:
        return min(math.floor(drawn), int(axis.high))
    return min(max(rounded(drawn), axis.low), axis.high)


def rounded(number: float) -> float:
    """A number with as many digits as can be quoted."""
    return float(f"{number:.{DIGITS}g}")
