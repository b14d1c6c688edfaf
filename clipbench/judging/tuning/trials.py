"""Results of an arm's trials: each loss, the best trial, and values at the edge of what was tried."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeGuard

from clipbench.judging.copies import counted
from clipbench.quantities import STEPS, final_loss
from clipbench.questions import Question, Select, Target, Trial, Tuned
from clipbench.records import Options, Record, Value

Edge = Literal["lowest", "highest", "only"]
Number = int | float


@dataclass(frozen=True)
class TrialResult:
    """A trial and what came of it, as means over the tuning seeds.

    `losses` are the final evaluation losses of its finished runs, of copies the first. `loss` is their mean, infinite
    where a run diverged or failed: such a trial is spent, and ranks last. `score` is what is selected by: the loss, or
    the steps to the target. Both are None until all its runs have ended. `crashed`: a run of it failed, so that what it
    would have shown is not known; a divergence is known.
    """

    settings: Options
    losses: tuple[float, ...] = ()
    loss: float | None = None
    score: float | None = None
    crashed: bool = False

    @property
    def ended(self) -> bool:
        """Whether all its runs have ended."""
        return self.loss is not None

    @property
    def rank(self) -> tuple[float, float]:
        """Less is better: the score, and the loss among trials that all miss the target."""
        if self.score is None or self.loss is None:
            return math.inf, math.inf
        return self.score, self.loss


def tried(tuned: Tuned, made: Mapping[str, Record], *, select: Select, target: Target | None) -> list[TrialResult]:
    """What came of the trials of an arm, in their order.

    Args:
        tuned: the arm's search.
        made: the runs there are, by their keys.
        select: what the best trial has the least of.
        target: what to reach, where steps to it are counted.
    """
    steps = None if select == "eval_loss" or target is None else partial(_steps, target=target)
    return [_tried(trial, [made.get(key) for key in trial.keys], steps) for trial in tuned.trials]


def best(trials: Sequence[TrialResult]) -> TrialResult | None:
    """The trial to select, the first among equals; None while one has not ended, or where none finished."""
    if not trials or not all(trial.ended for trial in trials):
        return None
    leader = min(trials, key=lambda trial: trial.rank)
    return leader if leader.loss is not None and math.isfinite(leader.loss) else None


def edge(setting: str, *, at: Options, among: Iterable[Options]) -> Edge | None:
    """Where a value lies at the edge of those tried: a better one may lie beyond, so that it is not bracketed.

    Zero has no edge below it: what it switches off cannot be less than off. Values without an order have no edges.
    """
    values = numbers(setting, among)
    value = at[setting]
    if not is_number(value) or not values:
        return None
    low, high = value == values[0], value == values[-1]
    if low and high:
        return "only"
    if high:
        return "highest"
    return "lowest" if low and value != 0 else None


def edges(tuned: Tuned) -> dict[str, Edge]:
    """The settings of the selected trial that are not bracketed, each with the edge at which it lies."""
    if tuned.selected is None:
        return {}
    among = [trial.settings for trial in tuned.trials]
    at_edges = {space.setting: edge(space.setting, at=tuned.selected, among=among) for space in tuned.spaces}
    return {setting: at for setting, at in at_edges.items() if at is not None}


def numbers(setting: str, among: Iterable[Options]) -> list[Number]:
    """The different numbers that a setting was tried at, in their order."""
    return sorted({value for options in among if is_number(value := options[setting])})


def is_number(value: Value) -> TypeGuard[Number]:
    """Whether a value has its place on a line; true and false have none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def has_crashed(record: Record) -> bool:
    """Whether a run ended without a result."""
    return record.outcome is not None and record.outcome.status == "failed"


def of_trials(question: Question) -> frozenset[str]:
    """The keys of all trials of the latest plan."""
    arms = question.tuning.arms if question.tuning else ()
    return frozenset(key for tuned in arms for trial in tuned.trials for key in trial.keys)


def _tried(trial: Trial, runs: Sequence[Record | None], steps: Callable[[Record], float] | None) -> TrialResult:
    """`steps`: of a finished run, to the target; None where the loss is what is selected by."""
    ended = [run for run in runs if run is not None and run.outcome is not None]
    finished = [run for run in ended if run.outcome and run.outcome.status == "finished"]
    own = _own(finished)
    losses = tuple(final_loss(run) for run in own)
    if len(ended) < len(runs):
        return TrialResult(trial.settings, losses)
    if len(finished) < len(runs) or not all(map(math.isfinite, losses)):
        return TrialResult(trial.settings, losses, math.inf, math.inf, crashed=any(map(has_crashed, ended)))
    loss = sum(losses) / len(losses)
    return TrialResult(trial.settings, losses, loss, loss if steps is None else sum(map(steps, own)) / len(own))


def _own(finished: Sequence[Record]) -> list[Record]:
    """The runs that are no copies of another; a mean over copies would give one of them a greater share."""
    ends = {run.run.seed: run.outcome.weights_sha256 if run.outcome else "" for run in finished}
    own = counted(ends, ends)
    return [run for run in finished if run.run.seed in own]


def _steps(run: Record, *, target: Target) -> float:
    reading = STEPS.read(run, target)
    return math.inf if reading is None or reading.at_least else reading.value
