"""Means with their errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


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


def exp(value: float) -> float:
    """e to the power of `value`; ∞ where that is beyond the largest float."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
