"""Bars and confidence intervals drawn with characters, for the first screen of `compare`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from clipbench.judging.words import number
from clipbench.questions import Scale

FULL, MISSED = "█", "░"
INNER, OUTER, MEAN = "━", "┄", "●"
_ZERO, _CROSSED, _CUT = "│", "┼", ("←", "→")
_BEYOND = 0.75  # how far intervals of verdicts may widen the axis, in widths of the 95 % intervals
_BETWEEN = 3  # the least number of blanks between two labels

Interval = tuple[float, float]


def bar(length: float, longest: float, width: int) -> str:
    """A bar of `length`, where the `longest` fills the width; ∞ is a full bar of another shade, NaN is nothing."""
    if math.isnan(length):
        return ""
    if math.isinf(length):
        return MISSED * width
    return FULL * max(1, round(width * length / longest)) if longest > 0 else ""


@dataclass(frozen=True)
class Axis:
    """A line of `width` characters from `low` to `high` on a scale; 0, no difference, always lies on it."""

    low: float
    high: float
    width: int
    scale: Scale

    def interval(self, mean: float, inner: Interval, outer: Interval) -> str:
        """The mean on its 95 % interval on the verdict's interval; an arrow where one runs off the axis."""
        line = [" "] * self.width
        zero = self._place(0.0)
        line[zero] = _ZERO
        for (low, high), sign in ((outer, OUTER), (inner, INNER)):
            if math.isnan(low) or math.isnan(high):
                continue
            for place in range(self._place(low), self._place(high) + 1):
                line[place] = _CROSSED if place == zero else sign
            if low < self.low:
                line[0] = _CUT[0]
            if high > self.high:
                line[-1] = _CUT[1]
        if math.isfinite(mean):
            line[self._place(mean)] = MEAN
        return "".join(line)

    def labels(self) -> str:
        """Round numbers above their places; of ratios, if the scale is log."""
        line = " " * self.width
        for value in sorted(self._round(), key=abs):  # 0 first
            text = f"{number(math.exp(value), 2)}×" if self.scale == "log" else f"{value:+.2g}" if value else "0"
            begin = min(max(self._place(value) - len(text) // 2, 0), self.width - len(text))
            around = line[max(begin - _BETWEEN, 0) : begin + len(text) + _BETWEEN]
            if begin >= 0 and not around.strip():
                line = f"{line[:begin]}{text}{line[begin + len(text) :]}"
        return line

    def _place(self, value: float) -> int:
        share = (value - self.low) / (self.high - self.low)
        return round(min(max(share, 0.0), 1.0) * (self.width - 1))

    def _round(self) -> list[float]:
        span = self.high - self.low
        if self.scale == "log" and span > math.log(4):
            decades = range(math.floor(self.low / math.log(10)), math.ceil(self.high / math.log(10)) + 1)
            values = [math.log(digit) + decade * math.log(10) for decade in decades for digit in (1, 2, 5)]
        else:
            size = 10.0 ** math.floor(math.log10(span / 3))
            step = max(size * digit for digit in (1, 2, 5) if size * digit <= span / 3)
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            values = [step * times for times in range(first, last + 1)]
        return [value for value in values if self.low <= value <= self.high]


def axis(inner: Iterable[Interval], outer: Iterable[Interval], width: int, scale: Scale) -> Axis:
    """An axis that holds 0 and all 95 % intervals, and of the wider intervals as much as leaves those readable."""
    low, high = _hull([*inner, (0.0, 0.0)])
    span = (high - low) or 1.0
    widest = _hull([*outer, (low, high)])
    low, high = max(widest[0], low - _BEYOND * span), min(widest[1], high + _BEYOND * span)
    margin = 0.02 * ((high - low) or 1.0)
    return Axis(low - margin, high + margin, width, scale)


def _hull(intervals: Iterable[Interval]) -> Interval:
    known = [interval for interval in intervals if all(map(math.isfinite, interval))]
    return min(low for low, _ in known), max(high for _, high in known)
