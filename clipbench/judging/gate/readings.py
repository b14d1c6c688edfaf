"""The metrics of the gate that vary from run to run, as differences paired by seed."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipbench.judging.gate.arms import Matched, Pair, no_common_seed
from clipbench.judging.gate.report import GateRow
from clipbench.judging.gate.rules import Metric
from clipbench.judging.gate.suite import ArmResult, SeedResult
from clipbench.judging.words import number, seeds_named


@dataclass(frozen=True)
class Readings:
    """One metric read on both sides: `differences` by seed, above 0 where the candidate is worse.

    `scale` says of what they are a share, where they are no logarithms of ratios; `resolution` is the step in which
    both sides were read. `reservation` says why an "ok" would be too much, `advice` why there is no verdict at all;
    both are empty where nothing speaks against it.
    """

    spec: str
    task: str
    arm: str
    metric: Metric
    differences: tuple[float, ...]
    identical: bool = False
    scale: str = ""
    resolution: float = 0.0
    reservation: str = ""
    advice: str = ""


def readings(arm: Matched) -> Iterator[Readings | GateRow]:
    """What is left to statistics, or a row that says why it cannot be."""
    yield _loss(arm)
    yield from _steps(arm)
    yield from _sharpness(arm)
    for metric, of in _MACHINE.items():
        yield from _machine(arm, metric, of)


def _loss(arm: Matched) -> Readings | GateRow:
    if arm.pairs and all(theirs.status == "diverged" and _ended(ours) for theirs, ours in arm.pairs):
        return arm.row("loss", "ok", "the baseline diverged on every seed, and cannot be fallen short of")
    if not arm.sound:
        return arm.row("loss", "inconclusive", "no seed that both sides finished" if arm.pairs else no_common_seed(arm))
    values = [(theirs.final_loss, ours.final_loss) for theirs, ours in arm.counted]
    if min(map(min, values)) > 0:
        return _read(arm, "loss", [math.log(after) - math.log(before) for before, after in values])
    gains = [theirs.first_loss - theirs.final_loss for theirs, _ in arm.counted]
    gain = sum(gains) / len(gains)
    if not 0 < gain < math.inf:
        return arm.row("loss", "inconclusive", "a loss is not positive, and the baseline's training gained nothing")
    scale = f" of what the baseline's training gained ({number(gain)}), as a loss is not positive"
    return _read(arm, "loss", [(after - before) / gain for before, after in values], scale=scale)


def _steps(arm: Matched) -> Iterator[Readings | GateRow]:
    """Steps to the target; a miss counts as one evaluation past the end, which is the least it can be."""
    if arm.baseline.goal != arm.candidate.goal:
        goals = [_goal(side) for side in (arm.baseline, arm.candidate)]
        yield arm.row("steps", "not comparable", f"the target was {goals[0]} and is {goals[1]}")
        return
    if not arm.reached:
        return
    every = arm.candidate.evaluate_every
    read = [tuple(_at_least(side, every) for side in pair) for pair in arm.reached]
    missed = [ours.seed for theirs, ours in arm.reached if not ours.hit]
    yield _read(
        arm,
        "steps",
        [math.log(after) - math.log(before) for before, after in read],
        of=arm.reached,
        resolution=sum(every / before for before, _ in read) / len(read),
        reservation=f"{seeds_named(missed)} missed the target that the baseline reached" if missed else "",
    )


def _sharpness(arm: Matched) -> Iterator[Readings | GateRow]:
    has = [any(not math.isnan(run.log_sharpness) for run in side.seeds) for side in (arm.baseline, arm.candidate)]
    of = [pair for pair in arm.counted if not any(math.isnan(side.log_sharpness) for side in pair)]
    if of:
        yield _read(arm, "sharpness", [ours.log_sharpness - theirs.log_sharpness for theirs, ours in of], of=of)
    elif has[0] and not has[1]:
        yield arm.row("sharpness", "missing", "measured in the baseline alone")
    elif has[1] and not has[0]:
        yield arm.row("sharpness", "new", "not measured in the baseline")


def _machine(arm: Matched, metric: Metric, of: Callable[[SeedResult], float]) -> Iterator[Readings]:
    """Copies among the pairs count as well: the machine takes another time for each."""
    timed = [pair for pair in arm.sound if all(of(side) > 0 for side in pair)]
    if timed:
        logs = [math.log(of(ours)) - math.log(of(theirs)) for theirs, ours in timed]
        yield _read(arm, metric, logs, of=timed, advice=_why_advice(timed))


_MACHINE: Mapping[Metric, Callable[[SeedResult], float]] = {
    "time": lambda run: run.step_seconds,
    "memory": lambda run: float(run.peak_bytes or 0),
}


def _why_advice(pairs: Sequence[Pair]) -> str:
    """Why times and memory of these runs are no ground for a verdict; empty where they are."""
    runs = [run for pair in pairs for run in pair]
    if len({run.machine_id for run in runs}) > 1 or not runs[0].machine_id:
        return "other machine"
    if any(run.side_by_side > 1 for run in runs):
        return "timed side by side with other runs"
    if any(run.started == 0 for run in runs):
        return "when they ran is not known"
    # Taken in turns, each run stands beside its partner: whatever the machine did meanwhile, it did to both.
    order = [run.seed for run in sorted(runs, key=lambda run: run.started)]
    return "" if order[::2] == order[1::2] else "not run in turns in one session"


def _read(
    arm: Matched, metric: Metric, values: Sequence[float], *, of: Sequence[Pair] | None = None, **more: Any
) -> Readings:
    pairs = arm.counted if of is None else of
    same_bits = all(theirs.weights == ours.weights != "" for theirs, ours in pairs)
    identical = same_bits and not any(values)
    return Readings(*arm.candidate.place, metric, tuple(values), identical=identical, **more)


def _ended(run: SeedResult) -> bool:
    return run.sound or run.status == "diverged"


def _at_least(run: SeedResult, every: int) -> float:
    reached = run.steps_to_target
    beyond = run.steps + every if reached is None or reached == math.inf else reached
    return max(beyond, 1.0)  # reached before the first step: no ratio has a zero in it


def _goal(side: ArmResult) -> str:
    if side.target is None:
        return "none"
    in_a_row = f" in {side.consecutive} evaluations in a row" if side.consecutive > 1 else ""
    return f"{number(side.target, 6)}{in_a_row}"
