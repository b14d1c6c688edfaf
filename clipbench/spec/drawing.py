"""Settings drawn from the spaces of an arm, at random or from a Halton sequence: the same ones for the same spec.

Every arm is given the same points of the unit cube, so that none has the luckier draw: an arm with more to tune has the
same number of trials and must find its way with them.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice
from random import Random

from clipbench.questions import Space
from clipbench.records import Options, Value

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


def settings(spaces: Sequence[Space], *, points: Iterator[list[float]], trials: int) -> list[Options]:
    """`trials` different settings, from points of the unit cube.

    Raises:
        ValueError: there are more spaces than a point has coordinates, or fewer different settings than asked for.
    """
    if len(spaces) > len(_PRIMES):
        raise ValueError(f"{len(spaces)} settings are left open; at most {len(_PRIMES)} can be drawn together")
    distinct: dict[tuple[Value, ...], Options] = {}
    for point in islice(points, _PATIENCE * trials):
        drawn = {space.setting: value(space, at) for space, at in zip(spaces, point, strict=False)}
        distinct.setdefault(tuple(drawn.values()), drawn)
        if len(distinct) == trials:
            return list(distinct.values())
    raise ValueError(f"only {len(distinct)} different settings could be drawn, and {trials} trials are asked for")


def value(space: Space, at: float) -> Value:
    """The value at the fraction `at`, in [0, 1), of a space; values of a list, and integers, have equal shares."""
    low, high = space.low, space.high
    if low is None or high is None:
        return space.values[math.floor(at * len(space.values))]
    is_whole = isinstance(low, int) and isinstance(high, int)
    end = high + 1 if is_whole else high
    drawn = low * (end / low) ** at if space.log else low + at * (end - low)
    return min(math.floor(drawn), int(high)) if is_whole else min(max(rounded(drawn), low), high)


def rounded(number: float) -> float:
    """A number with as many digits as can be quoted."""
    return float(f"{number:.{DIGITS}g}")
