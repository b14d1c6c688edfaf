"""The noise of a machine: how much identical runs differ, and the least effect that can be detected."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.paired import effect_shown
from clipbench.judging.statistics import estimate
from clipbench.quantities import LOSS, PEAK, STEP_TIME, Along, final_loss
from clipbench.records import Record

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
    losses = [final_loss(first) for first, _ in pairs]
    measured = {
        "time a step": _log_ratios(pairs, STEP_TIME),
        "peak memory": _log_ratios(pairs, PEAK),
        "final loss, equal seeds": _log_ratios(pairs, LOSS),
        "final loss, seeds not shared": [math.sqrt(2) * math.log(loss) for loss in losses if loss > 0],
    }
    return Noise(
        pairs=len(pairs),
        same_bits=sum(first.weights == second.weights != "" for first, second in pairs),
        quantities=tuple(_quantity(name, values) for name, values in measured.items() if len(values) > 1),
    )


def _quantity(name: str, values: Sequence[float]) -> QuantityNoise:
    deviation = estimate(values).standard_error * math.sqrt(len(values))
    return QuantityNoise(name, deviation, {n: math.expm1(effect_shown(deviation, n)) for n in SEEDS})


def _log_ratios(pairs: Sequence[tuple[Record, Record]], along: Along) -> list[float]:
    readings = [(along.read(first, None), along.read(second, None)) for first, second in pairs]
    logs = [first.on("log") - second.on("log") for first, second in readings if first and second]
    return [log for log in logs if math.isfinite(log)]
