"""Means with their errors, and differences paired by seed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clipbench.judging import student

CONFIDENCE = 0.95

Direction = Literal["lower", "higher", "equal", "undecided"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its standard error, s/√n; with one seed the error is NaN, without any both are."""

    mean: float
    standard_error: float
    n: int


@dataclass(frozen=True)
class GeometricEstimate:
    """A geometric mean over seeds; `factor` is its multiplicative standard error: mean ×/÷ factor."""

    mean: float
    factor: float
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """The mean over seeds of candidate − baseline, with its two-sided 95 % t interval [low, high].

    With fewer than two seeds in common there is no interval: `low` and `high` are NaN and nothing is decided.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n: int

    @property
    def direction(self) -> Direction:
        """Where the whole interval lies; `equal` only where every seed's difference is exactly zero."""
        return _direction(self.low, self.high, no_change=0.0, n=self.n)


@dataclass(frozen=True)
class PairedRatio:
    """The geometric mean over seeds of candidate / baseline, with its two-sided 95 % t interval in the logarithm."""

    ratio: float
    low: float
    high: float
    n: int

    @property
    def direction(self) -> Direction:
        """Where the whole interval lies; `equal` only where every seed's ratio is exactly one."""
        return _direction(self.low, self.high, no_change=1.0, n=self.n)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean and how far it may be off: mean = Σx/n, standard error = √(Σ(x − mean)²/(n − 1))/√n."""
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    mean = sum(values) / n
    if n == 1:
        return Estimate(mean, math.nan, 1)
    # Products, not powers: a power that overflows raises, a product is infinite and stays visible.
    squares = sum([(value - mean) * (value - mean) for value in values])
    return Estimate(mean, math.sqrt(squares / (n - 1) / n), n)


def geometric_mean(logs: Sequence[float]) -> GeometricEstimate:
    """The typical size of a quantity that varies by factors: exp(mean of logs) ×/÷ exp(standard error of logs).

    Args:
        logs: one natural logarithm a seed.
    """
    in_logs = estimate(logs)
    return GeometricEstimate(exp(in_logs.mean), exp(in_logs.standard_error), in_logs.n)


def paired_difference(
    candidate: Mapping[int, float], baseline: Mapping[int, float], *, rounding: float = 0.0
) -> PairedDifference:
    """How much higher the candidate is than the baseline, seed by seed.

    d_s = candidate_s − baseline_s over the seeds s that both have; mean(d) ± t(0.975, n − 1) · s_d/√n.

    Args:
        candidate, baseline: one value a seed, by seed.
        rounding: of a difference, as in `not_surer_than`.
    """
    common = sorted(candidate.keys() & baseline.keys())
    return mean_difference([candidate[seed] - baseline[seed] for seed in common], rounding=rounding)


def mean_difference(differences: Sequence[float], *, rounding: float = 0.0) -> PairedDifference:
    """What differences that were taken in pairs, one a seed, say together; `rounding` as in `not_surer_than`."""
    centre = not_surer_than(rounding, estimate(differences))
    half = half_width(centre.n) * centre.standard_error if centre.n > 1 else math.nan
    return PairedDifference(centre.mean, centre.standard_error, centre.mean - half, centre.mean + half, centre.n)


def paired_ratio(
    candidate: Mapping[int, float], baseline: Mapping[int, float], *, rounding: float = 0.0
) -> PairedRatio:
    """By what factor the candidate exceeds the baseline: the exponential of the paired difference of logarithms.

    Args:
        candidate, baseline: one natural logarithm a seed, by seed.
        rounding: of a difference of logarithms, as in `not_surer_than`.
    """
    return _as_ratio(paired_difference(candidate, baseline, rounding=rounding))


def not_surer_than(rounding: float, of: Estimate) -> Estimate:
    """The estimate with an error no smaller than values allow that were read in steps.

    Readings that agree to the step say nothing of what lies inside it: without this, three seeds that are all read
    10 steps apart would have no error at all, and pass for proof.

    Args:
        rounding: the standard deviation of one value that the steps alone make.
        of: several such values.
    """
    if of.n < 2 or not rounding:
        return of
    return replace(of, standard_error=max(of.standard_error, rounding / math.sqrt(of.n)))


def mean_ratio(logs: Sequence[float], *, rounding: float = 0.0) -> PairedRatio:
    """What ratios that were taken in pairs, one natural logarithm a seed, say together."""
    return _as_ratio(mean_difference(logs, rounding=rounding))


def half_width(n: int) -> float:
    """Half the two-sided 95 % t interval of a mean of n ≥ 2 values, in standard errors: t(0.975, n − 1)."""
    return student.quantile((1 + CONFIDENCE) / 2, n - 1)


def logs_of_positive(values: Iterable[float]) -> list[float]:
    """ln of the positive finite values; the others are left to the caller to count."""
    return [math.log(value) for value in values if 0 < value < math.inf]


def exp(value: float) -> float:
    """e to the power of `value`; ∞ where that is beyond the largest float."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _as_ratio(of: PairedDifference) -> PairedRatio:
    return PairedRatio(exp(of.mean), exp(of.low), exp(of.high), of.n)


def _direction(low: float, high: float, *, no_change: float, n: int) -> Direction:
    if n < 2:
        return "undecided"
    if low == high == no_change:
        return "equal"
    if high < no_change:
        return "lower"
    return "higher" if low > no_change else "undecided"
