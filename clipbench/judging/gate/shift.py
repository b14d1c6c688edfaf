"""One-sided t bounds on how far paired seeds have shifted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clipbench.judging import student
from clipbench.judging.paired import LEVEL, MOST_SEEDS, Paired


@dataclass(frozen=True)
class Shift:
    """The mean over n seeds of d, candidate against baseline, and the standard deviation of d; above 0 is worse."""

    mean: float
    deviation: float
    n: int

    @property
    def p(self) -> float:
        """How likely so large a mean, or a larger one, is where nothing shifted: one-sided, Student's t."""
        if self.deviation == 0:
            return 0.0 if self.mean > 0 else 1.0
        return student.above(self.mean / self._standard_error, self.n - 1)

    def low(self, level: float) -> float:
        """The mean is above this with confidence 1 − level."""
        return self.mean - self._half(level)

    def high(self, level: float = LEVEL) -> float:
        """The mean is below this with confidence 1 − level."""
        return self.mean + self._half(level)

    @property
    def _standard_error(self) -> float:
        return self.deviation / math.sqrt(self.n)

    def _half(self, level: float) -> float:
        return student.quantile(1 - level, self.n - 1) * self._standard_error


def shift(differences: Sequence[float], *, resolution: float = 0.0) -> Shift:
    """What n ≥ 2 paired differences say.

    Args:
        differences: one a seed, above 0 where the candidate is worse.
        resolution: the step in which both sides were read, in the differences' unit. Two rounding errors, each
            uniform over the step, have a standard deviation of resolution/√6 together (`not_surer_than`).
    """
    of = Paired("linear", dict(enumerate(differences)), resolution / math.sqrt(6))
    return Shift(of.mean, of.error * math.sqrt(of.n), of.n)


def seeds_to_decide(of: Shift, tolerance: float, *, level: float) -> int | None:
    """How many seeds would decide, were mean and deviation to stay as they are; None for more than MOST_SEEDS.

    A mean above the tolerance needs a lower bound above 0 at `level`, any other an upper bound below the tolerance.
    """
    margin, level = (of.mean, level) if of.mean > tolerance else (tolerance - of.mean, LEVEL)

    def decide(n: int) -> bool:
        return student.quantile(1 - level, n - 1) * of.deviation / math.sqrt(n) < margin

    if not decide(MOST_SEEDS):
        return None
    few, enough = 1, MOST_SEEDS
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if decide(middle) else (middle, enough)
    return enough
