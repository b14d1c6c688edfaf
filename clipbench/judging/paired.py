"""The only comparison of two samples: paired by unit (a seed or a task), since only units are independent.

    d_u = ours_u − theirs_u,    mean = Σ d_u / n,    error = √(Σ (d_u − mean)² / (n − 1)) / √n

of values; of natural logarithms if the quantity's scale is log, so that the mean is the logarithm of a geometric mean
of ratios. Points of a unit (steps) are matched first, and their differences averaged: `Points`.

A run that missed its target counts as its end plus one evaluation, the least that it would have needed (a restricted
mean). A pair says nothing where the other run reached the target later than that. Such a mean can show that a run is
slower, where only this side missed, or faster, where only the other did; it never shows that two are equal.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

from clipbench.judging import student
from clipbench.judging.copies import Ends, counted
from clipbench.judging.statistics import Estimate, estimate, exp
from clipbench.quantities import Reading
from clipbench.questions import Scale

LEVEL = 0.05  # significance level of a single interval; of verdicts judged together, the family-wise error rate
POWER = 0.8  # statistical power of the numbers of seeds that are reported as needed
MOST_SEEDS = 10**4  # searches for a number of seeds end here

Side = Literal["lower", "higher"]
Sample = Mapping[int, Reading]  # a quantity of an arm or a direction, by seed


@dataclass(frozen=True)
class Paired:
    """Paired differences of two samples: `differences` by unit, ours − theirs, on the `scale`.

    - `rounding`: the standard deviation that the steps of reading alone make in a difference. The error of the mean is
      never below it: three seeds that are all read 10 steps apart would else have no error at all, and pass for proof.
    - `ahead`, `behind`: in how many of the differences only ours, or only theirs, reached the target.
    - `neither`: pairs that say nothing of the target: both missed it, or one reached it later than the other was
      looked at. They are in no difference.
    - `left_out`: pairs, or points of them, that have no difference for another reason.
    """

    scale: Scale
    differences: Mapping[Any, float]
    rounding: float = 0.0
    ahead: int = 0
    behind: int = 0
    neither: int = 0
    left_out: int = 0

    @cached_property
    def _estimate(self) -> Estimate:
        plain = estimate(list(self.differences.values()))
        if plain.n < 2 or not self.rounding:
            return plain
        least = self.rounding / math.sqrt(plain.n)
        return Estimate(plain.mean, max(plain.standard_error, least), plain.n)

    @property
    def n(self) -> int:
        """How many pairs have a difference."""
        return len(self.differences)

    @property
    def mean(self) -> float:
        """The mean difference, on the scale."""
        return self._estimate.mean

    @property
    def error(self) -> float:
        """The standard error of the mean; NaN for a single pair."""
        return self._estimate.standard_error

    @property
    def at_least(self) -> bool:
        """Whether the mean holds a missed target, which makes it a bound of the true difference."""
        return bool(self.ahead or self.behind)

    def can_be(self, side: Side) -> bool:
        """Whether the mean may be called so: one that is known to be at least so high is never shown to be lower."""
        if self.ahead and self.behind:
            return True  # means over the time that runs were looked at
        return not self.behind if side == "lower" else not self.ahead

    @cached_property
    def identical(self) -> bool:
        """Whether every difference is exactly zero, and no target was missed."""
        return self.n > 1 and not self.at_least and not any(self.differences.values())

    def turned(self) -> "Paired":
        """The comparison with both sides swapped."""
        turned = {unit: -difference for unit, difference in self.differences.items()}
        return replace(self, differences=turned, ahead=self.behind, behind=self.ahead)

    def shown(self, value: float) -> float:
        """A number on the scale as people read it: a difference as it is, a logarithm as a ratio."""
        return exp(value) if self.scale == "log" else value

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The two-sided t interval of the mean with confidence 1 − level; NaN for fewer than two pairs."""
        return self.bound(level / 2, -1), self.bound(level / 2, 1)

    def bound(self, level: float, side: int) -> float:
        """The one-sided t bound of the mean with confidence 1 − level: upper for side 1, lower for side −1."""
        if self.n < 2:
            return math.nan
        return self.mean + side * student.quantile(1 - level, self.n - 1) * self.error

    @property
    def p(self) -> float:
        """The two-sided p-value of a one-sample t test: t = mean/error with n − 1 degrees of freedom.

        1 with fewer than two pairs or a difference that is not finite.
        """
        if not self._testable:
            return 1.0
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return student.two_sided(self.mean / self.error, self.n - 1)

    def p_higher(self, beyond: float = 0.0) -> float:
        """The p-value of the one-sided t-test that the mean is above `beyond`."""
        return self._above(self.mean - beyond)

    def p_lower(self, beyond: float = 0.0) -> float:
        """The p-value of the one-sided t-test that the mean is below `beyond`."""
        return self._above(beyond - self.mean)

    def p_within(self, margin: float) -> float:
        """The p-value of two one-sided t-tests (TOST; Schuirmann 1987) that the mean is within ± margin.

        1 if the mean holds a missed target: a bound cannot show equivalence.
        """
        if self.at_least:
            return 1.0
        return self._above(margin - abs(self.mean))

    def seeds_to_decide(self, level: float = LEVEL) -> float:
        """How many pairs would decide such a difference in 80 % of cases, were mean and spread the true ones.

        NaN where there is no spread to go by.
        """
        if not self._testable:
            return math.nan
        return seeds_to_show(abs(self.mean), self.error * math.sqrt(self.n), level=level)

    def _above(self, distance: float) -> float:
        if not self._testable:
            return 1.0
        if self.error == 0:
            return 0.0 if distance > 0 else 1.0
        return student.above(distance / self.error, self.n - 1)

    @property
    def _testable(self) -> bool:
        return self.n > 1 and math.isfinite(self.mean) and math.isfinite(self.error)


def paired(ours: Sample, theirs: Sample, scale: Scale, *, ends: tuple[Ends, Ends] | None = None) -> Paired:
    """Two samples, paired by their common seeds; by the final weights of both arms' runs (`ends`), copies count once.

    >>> ours = {0: Reading(2.0), 1: Reading(2.5), 2: Reading(2.1)}
    >>> theirs = {0: Reading(2.5), 1: Reading(2.75), 3: Reading(2.2)}
    >>> difference = paired(ours, theirs, "linear")
    >>> difference.differences, difference.mean, difference.error
    ({0: -0.5, 1: -0.25}, -0.375, 0.125)
    """
    common = ours.keys() & theirs.keys()
    seeds = sorted(common) if ends is None else counted(common, *ends)
    rounding = math.hypot(*(typical(side[seed] for seed in seeds) for side in (ours, theirs)))
    differences: dict[int, float] = {}
    ahead = behind = neither = left_out = 0
    for seed in seeds:
        difference = ours[seed].on(scale) - theirs[seed].on(scale)
        ours_missed, theirs_missed = ours[seed].at_least, theirs[seed].at_least
        if _says_nothing(difference, ours_missed, theirs_missed):
            neither += 1
        elif math.isnan(difference) and scale == "log":
            left_out += 1
        else:
            differences[seed] = difference
            ahead += theirs_missed
            behind += ours_missed
    return Paired(scale, differences, rounding, ahead, behind, neither, left_out)


def _says_nothing(difference: float, ours_missed: bool, theirs_missed: bool) -> bool:
    """Whether a pair with a miss says nothing: of two misses, or of a miss that was over before the other was there."""
    if ours_missed and theirs_missed:
        return True
    return (ours_missed and difference <= 0) or (theirs_missed and difference >= 0)


def typical(sample: Iterable[Reading]) -> float:
    """The mean rounding of the readings that are rounded; 0 if none is."""
    read = [each.rounding for each in sample if each.rounding]
    return sum(read) / len(read) if read else 0.0


@dataclass
class Points:
    """Differences by unit and point. The points of a unit are averaged, since they are not independent."""

    scale: Scale
    by_unit: dict[Hashable, list[float]] = field(default_factory=dict)
    left_out: int = 0

    def add(self, unit: Hashable, ours: float, theirs: float) -> None:
        """Add a point. A point without a finite difference on the scale is left out and counted."""
        if self.scale == "log":
            usable = 0 < ours < math.inf and 0 < theirs < math.inf
            difference = math.log(ours) - math.log(theirs) if usable else math.nan
        else:
            difference = ours - theirs
        self.add_difference(unit, difference)

    def add_difference(self, unit: Hashable, difference: float) -> None:
        """One point of which the difference is known; it is left out, and counted, where that is not a number."""
        if math.isfinite(difference):
            self.by_unit.setdefault(unit, []).append(difference)
        else:
            self.left_out += 1

    @property
    def used(self) -> list[float]:
        """All differences, of every unit and point."""
        return [each for of_unit in self.by_unit.values() for each in of_unit]

    def paired(self, rounding: float = 0.0) -> Paired:
        """The means of the units, as pairs."""
        means = {unit: sum(points) / len(points) for unit, points in self.by_unit.items()}
        return Paired(self.scale, means, rounding, left_out=self.left_out)


def seeds_to_show(effect: float, spread: float, *, level: float = LEVEL, two_sided: bool = True) -> float:
    """The least number of pairs with which a t-test shows an effect of this size with 80 % power.

    The least n ≥ 2 with (t(1 − level/2, n − 1) + t(0.8, n − 1)) · spread/√n ≤ effect, a good approximation of the
    paired t test's power; ∞ beyond MOST_SEEDS. `effect` is the mean difference and `spread` the standard deviation of
    the differences.
    """
    if not effect > 0:
        return math.inf
    probability, size = 1 - level / (2 if two_sided else 1), spread / effect
    n = max(2, math.ceil(math.pow((_normal(probability) + _normal(POWER)) * size, 2)))  # t's quantiles lie above
    while n <= MOST_SEEDS:
        if (student.quantile(probability, n - 1) + student.quantile(POWER, n - 1)) * size <= math.sqrt(n):
            return float(n)
        n += 1
    return math.inf


def effect_shown(spread: float, n: int, *, level: float = LEVEL) -> float:
    """The least effect that n ≥ 2 pairs would decide in 80 % of cases, by the rule of `seeds_to_show`.

    (t(1 − level/2, n − 1) + t(0.8, n − 1)) · spread/√n, in the unit of `spread`.
    """
    return (student.quantile(1 - level / 2, n - 1) + student.quantile(POWER, n - 1)) * spread / math.sqrt(n)


def so_many(pairs: float) -> str:
    """A number of pairs as text; ∞ is `more than 10000`."""
    return f"more than {MOST_SEEDS}" if math.isinf(pairs) else str(int(pairs))


def half_width(n: int, level: float = LEVEL) -> float:
    """Half the two-sided t interval of a mean of n ≥ 2 values, in standard errors: t(1 − level/2, n − 1)."""
    return student.quantile(1 - level / 2, n - 1)


def _normal(probability: float) -> float:
    return NormalDist().inv_cdf(probability)
