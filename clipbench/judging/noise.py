"""The noise of a machine: how much identical runs differ, and the least effect that can be detected."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.paired import POWER, half_width
from clipbench.judging.statistics import estimate
from clipbench.quantities import final_loss
from clipbench.records import Outcome, Record

SEEDS = (3, 5, 10, 20)  # how many seeds people ask about


@dataclass(frozen=True)
class QuantityNoise:
    """The noise of a quantity between identical runs, and the least effect that n seeds detect.

    `deviation` is the standard deviation of the log ratio over pairs. `detectable` has, by number of seeds, the least
    ratio − 1 that the two-sided 95 % confidence interval of `compare` detects with 80 % power.
    """

    quantity: str
    deviation: float
    detectable: Mapping[int, float]


@dataclass(frozen=True)
class Noise:
    """`same_bits` says in how many of the pairs the final weights are equal bit for bit."""

    pairs: int
    same_bits: int
    quantities: tuple[QuantityNoise, ...]


def noise(pairs: Sequence[tuple[Record, Record]]) -> Noise:
    """The noise in pairs of finished runs; the runs of a pair have the same description and seed.

    The last quantity is the noise of losses without pairing: two arms that have nothing in common differ that much from
    seed to seed, and pairing by seed then gains nothing.
    """
    ended = [(a, b) for first, second in pairs if (a := first.outcome) and (b := second.outcome)]
    peaks = [(float(a.peak_bytes or 0), float(b.peak_bytes or 0)) for a, b in ended]
    losses = [(final_loss(first), final_loss(second)) for first, second in pairs]
    measured = {
        "time a step": _log_ratios([(a.step_seconds, b.step_seconds) for a, b in ended]),
        "peak memory": _log_ratios(peaks),
        "final loss, equal seeds": _log_ratios(losses),
        "final loss, seeds not shared": [math.sqrt(2) * math.log(loss) for loss, _ in losses if loss > 0],
    }
    return Noise(
        pairs=len(pairs),
        same_bits=sum(_same_bits(a, b) for a, b in ended),
        quantities=tuple(_quantity(name, values) for name, values in measured.items() if len(values) > 1),
    )


def detectable(deviation: float, n: int) -> float:
    """The least effect, in the unit of `deviation`, that n paired values detect: δ = ν·s/√n.

    ν is the noncentrality at which Student's t exceeds its two-sided 95 % quantile with probability 80 %.
    """
    # Late: SciPy takes longer to import than the rest of this takes to run.
    from scipy.special import nctdtrinc

    return float(nctdtrinc(n - 1, 1 - POWER, half_width(n))) * deviation / math.sqrt(n)


def _quantity(name: str, values: Sequence[float]) -> QuantityNoise:
    deviation = estimate(values).standard_error * math.sqrt(len(values))
    return QuantityNoise(name, deviation, {n: math.expm1(detectable(deviation, n)) for n in SEEDS})


def _log_ratios(pairs: Sequence[tuple[float, float]]) -> list[float]:
    return [math.log(first) - math.log(second) for first, second in pairs if first > 0 and second > 0]


def _same_bits(first: Outcome, second: Outcome) -> bool:
    return first.weights_sha256 == second.weights_sha256 != ""
