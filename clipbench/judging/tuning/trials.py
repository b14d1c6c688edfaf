"""Results of an arm's trials: each loss, the best trial, and values at the edge of what was tried."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

from clipbench.judging.copies import counted
from clipbench.quantities import FINAL_LOSS, LOSS, Along, Reading, final_loss, quantity
from clipbench.questions import Manner, Question, Side, Target, Trial, Tuned
from clipbench.records import EVAL_LOSS, Options, Record, Value

Edge = Literal["lowest", "highest", "only"]
Number = int | float


@dataclass(frozen=True)
class Criterion:
    """What trials are selected by: the best has the least of a quantity or, where `better` is higher, the most."""

    along: Along
    better: Side = "lower"
    target: Target | None = None

    def score(self, reading: Reading | None) -> float:
        """Less is better; infinite where the target was missed, and NaN where the run has no such number."""
        if reading is None:
            return math.nan
        return math.inf if reading.at_least else reading.value if self.better == "lower" else -reading.value


BY_LOSS = Criterion(LOSS)


def criterion(select: str, better: Side, target: Target | None, manners: Mapping[str, Manner]) -> Criterion:
    """The criterion as a spec's `tuning` names it.

    Args:
        select: a quantity.
        better: which side of it.
        target: of the task, for the steps to it.
        manners: how the quantities of the user's own tasks are read.
    """
    name = FINAL_LOSS if select == EVAL_LOSS else select
    return Criterion(Along(quantity(name, manners, metric=True)), better, target)


@dataclass(frozen=True)
class TrialResult:
    """A trial and what came of it, as means over the tuning seeds.

    `losses` are the final evaluation losses of its finished runs, of copies the first. `loss` is their mean, infinite
    where a run diverged or failed, or has nothing to be selected by: such a trial is spent, and ranks last. `score` is
    what is selected by, less being better. Both are None until all its runs have ended. `crashed`: a run of it failed,
    so that what it would have shown is not known; a divergence is known. `valueless`: all its runs finished, and one
    has nothing to be selected by.
    """

    settings: Options
    losses: tuple[float, ...] = ()
    loss: float | None = None
    score: float | None = None
    crashed: bool = False
    scores: tuple[float, ...] = ()
    valueless: bool = False

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


def tried(tuned: Tuned, by_key: Mapping[str, Record], *, by: Criterion) -> list[TrialResult]:
    """What came of the trials of an arm, in their order, from the runs there are by their keys."""
    return [_tried(trial, [by_key.get(key) for key in trial.keys], by) for trial in tuned.trials]


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


def of_trials(question: Question) -> frozenset[str]:
    """The keys of all trials of the latest plan."""
    arms = question.tuning.arms if question.tuning else ()
    return frozenset(key for tuned in arms for trial in tuned.trials for key in trial.keys)


def _tried(trial: Trial, runs: Sequence[Record | None], by: Criterion) -> TrialResult:
    ended = [run for run in runs if run is not None and run.outcome is not None]
    finished = [run for run in ended if run.status == "finished"]
    ends = {run.run.seed: run.weights for run in finished}
    counts = counted(ends, ends)
    own = [run for run in finished if run.run.seed in counts]
    losses = tuple(map(final_loss, own))
    if len(ended) < len(runs):
        return TrialResult(trial.settings, losses)
    scores = tuple(by.score(by.along.read(run, by.target)) for run in own)
    if len(finished) < len(runs) or not all(map(math.isfinite, losses)):
        crashed = any(run.status == "failed" for run in ended)
        return TrialResult(trial.settings, losses, math.inf, math.inf, crashed)
    if any(map(math.isnan, scores)):
        return TrialResult(trial.settings, losses, math.inf, math.inf, valueless=True)
    return TrialResult(
        trial.settings, losses, sum(losses) / len(losses), sum(scores) / len(scores), crashed=False, scores=scores
    )
