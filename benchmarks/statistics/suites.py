"""Suites of runs with known truth: what two sides of the gate would read if the noise were exactly this."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipbench.judging.gate.suite import ArmResult, RunResult, Suite
from clipbench.quantities import Reading

Tail = Literal["normal", "t3"]
EVERY = 10  # steps between evaluations: steps to the target are read no finer
END = 1000  # steps of a run
METRICS = ("loss", "steps", "sharpness")


@dataclass(frozen=True)
class Noise:
    """Standard deviations of logarithms: `seed` of what a seed does to every arm, `own` of what it does to each side.

    Where seeds are not shared, each side has a seed effect of its own. `missed` is the share of runs that miss their
    target, whatever else they do.
    """

    seed: float
    own: float
    tail: Tail = "normal"
    shared: bool = True
    missed: float = 0.0


# Of a metric's own noise to the loss's: steps to a target and sharpness vary more, as they do in the quickstart.
_WIDER = np.array([1.0, 4.0, 10.0])


def pair(
    random: np.random.Generator, noise: Noise, *, arms: int, seeds: int, worse: dict[int, float] | None = None
) -> tuple[Suite, Suite]:
    """Candidate and baseline over `arms` arms with three metrics each.

    Args:
        random: the source of all noise.
        noise: how much of it.
        arms: three rows each, final loss, steps to the target and sharpness.
        seeds: pairs in a row.
        worse: by arm, how much is added to the logarithm of the candidate's loss.
    """
    shape = (arms, len(METRICS), seeds)
    common = _draw(random, noise, shape) * noise.seed
    sides = []
    for side in range(2):
        effect = common if noise.shared else _draw(random, noise, shape) * noise.seed
        logs = (effect + _draw(random, noise, shape) * noise.own) * _WIDER[None, :, None]
        for arm, amount in (worse or {}).items() if side == 0 else ():
            logs[arm, 0] += amount
        missed = random.random((arms, seeds)) < noise.missed if noise.missed else np.zeros((arms, seeds), bool)
        sides.append(_suite(logs, missed))
    return sides[0], sides[1]


def losses_alone(of: Suite) -> Suite:
    """The suite as it were had nothing but the loss been measured: one row for each arm."""
    return replace(of, arms=tuple(_loss_alone(arm) for arm in of.arms))


def _loss_alone(arm: ArmResult) -> ArmResult:
    runs = (replace(run, readings={"loss": run.readings["loss"]}) for run in arm.seeds)
    return replace(arm, target=None, seeds=tuple(runs))


def _draw(random: np.random.Generator, noise: Noise, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Noise of standard deviation 1; Student's t with 3 degrees of freedom has √3."""
    if noise.tail == "normal":
        return random.standard_normal(shape)
    return random.standard_t(3, shape) / np.sqrt(3)  # type: ignore[no-any-return]


def _suite(logs: NDArray[np.float64], missed: NDArray[np.bool_]) -> Suite:
    arms = zip(logs.tolist(), missed.tolist(), strict=True)
    return Suite(tuple(_arm(number, rows, misses) for number, (rows, misses) in enumerate(arms)))


def _arm(number: int, rows: list[list[float]], missed: list[bool]) -> ArmResult:
    loss, steps, sharpness = rows
    return ArmResult(
        spec="simulated",
        task="none",
        arm=f"arm {number}",
        target=1.0,
        problem={},
        described={},
        code="",
        seeds=tuple(_run(*values) for values in zip(range(len(loss)), loss, steps, sharpness, missed, strict=True)),
    )


def _run(seed: int, loss: float, steps: float, sharpness: float, missed: bool) -> RunResult:
    # No numerics id: bits are not expected to agree, so that everything is left to the statistics.
    reached = max(EVERY, EVERY * float(np.ceil(300 * np.exp(steps) / EVERY)))
    readings = {
        "loss": Reading(2.0 * float(np.exp(loss))),
        "steps": Reading(END + EVERY, at_least=True) if missed else Reading(reached, rounding=_rounding(reached)),
        "sharpness": Reading(float(np.exp(sharpness))),
    }
    return RunResult(seed, "finished", first_loss=10.0, readings=readings, side_by_side=1)


def _rounding(steps: float) -> float:
    return EVERY / (steps * math.sqrt(12))
