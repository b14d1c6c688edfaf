"""Formats numbers, counts and lists for sentences."""

import math
from collections.abc import Iterable, Sequence

from clipbench.questions import Target

_DIGITS = 17  # that tell two floats apart


def number(value: float, digits: int = 3) -> str:
    """`digits` significant digits; ∞ and nan are written out. Powers of ten from a million on: 170, not 1.7e+02."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    short = f"{value:.{digits}g}"
    return f"{float(short):.0f}" if "e+" in short and abs(float(short)) < 1e6 else short


def goal(target: Target) -> str:
    """A target after "steps to": 2.8, or accuracy ≥ 0.9."""
    bound = number(target.bound, 6)
    return f"{target.quantity} {'≤' if target.at_least is None else '≥'} {bound}" if target.quantity else bound


def named_goal(target: Target) -> str:
    """A target after "target": loss 2.8, or accuracy ≥ 0.9."""
    return goal(target) if target.quantity else f"loss {goal(target)}"


def factor(value: float, digits: int = 2) -> str:
    """A ratio; with as many digits as tell it from 1, where it is not: 1.003, 0.9996."""
    shown = number(value, digits)
    while shown == "1" and value != 1 and digits < _DIGITS:
        digits += 1
        shown = number(value, digits)
    return shown


def fold(low: float, high: float) -> str:
    """An interval of factors: 0.2–0.5. A bound on one side of 1 is shown there."""
    return f"{factor(low)}–{factor(high)}"


def span(low: float, high: float) -> str:
    """An interval of signed numbers: -0.08 to -0.05."""
    return f"{number(low, 2)} to {number(high, 2)}"


def count(n: int, noun: str) -> str:
    """1 seed, 2 seeds."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listing(names: Iterable[object], limit: int = 8) -> str:
    """Names in a sentence; beyond `limit` of them the rest is counted.

    >>> listing(["sgd", "adam"]), listing("abcdef", limit=3)
    ('sgd and adam', 'a, b, c and 3 more')
    """
    words = [str(name) for name in names]
    if len(words) > limit:
        words = [*words[:limit], f"{len(words) - limit} more"]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def seeds_named(seeds: Sequence[int]) -> str:
    """seed 3; seeds 0, 1 and 2."""
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {listing(seeds)}"


def capital(sentence: str) -> str:
    """With a capital at its beginning, and the rest as it is."""
    return sentence[:1].upper() + sentence[1:]


def brief(text: str, width: int = 160) -> str:
    """The last line of a text that is not indented, cut to `width`.

    A traceback ends with its cause, and what is indented below an error is its remedy.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if not line[0].isspace()), lines[-1].strip() if lines else "")
    return last if len(last) <= width else f"{last[: width - 1]}…"
