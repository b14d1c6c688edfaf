"""Summary of a spec's trials: selected settings, loss by learning rate, expected best loss by number of trials."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb

from clipbench.judging.endings import as_read
from clipbench.judging.statistics import Estimate, estimate
from clipbench.judging.tuning.trials import Criterion, Edge, TrialResult, criterion, edges, is_number, tried
from clipbench.questions import Question, Tuned
from clipbench.records import Options, Record

WITHIN = 0.05  # a rate is nearly as good as the best where its value is at most so much worse, as a fraction
LR = "lr"  # the setting of an arm, and the end of that of a group


@dataclass(frozen=True)
class RateTried:
    """A learning rate, and the final evaluation loss over the tuning seeds at the best of what was tried with it.

    - `value`: of what trials are selected by, there; the loss where that is what a target costs.
    - `broken`: it has neither, since a run of every trial with it diverged or failed.
    - `setting`: `lr`, or that of a group: `groups.hidden.lr`.
    """

    rate: float
    loss: Estimate
    broken: bool
    value: Estimate
    setting: str = LR


@dataclass(frozen=True)
class ArmTuning:
    """How one arm was tuned on one task.

    - `trials`: how many there are, of which `ended` came to an end and `broken` have a run that diverged or failed;
      of these, `crashed` have one that failed. `valueless` finished without a number to be selected by.
    - `selected`, at these `edges`, by the quantity `selected_by`, which is `value` there, and with `loss`: both on the
      tuning seeds, so that what it was picked for is too good.
    - `rates`: in ascending order, setting by setting; `good` is the range of those around the best that are within
      WITHIN of it, where there is one such setting.
    - `expected`: at k − 1 the best loss to be expected of k of these trials; empty until all have ended.
    """

    task: str
    arm: str
    trials: int
    ended: int
    broken: int
    crashed: int
    selected: Options | None
    loss: Estimate
    selected_by: str
    value: Estimate
    edges: dict[str, Edge]
    rates: tuple[RateTried, ...]
    good: tuple[float, float] | None
    expected: tuple[float, ...]
    valueless: int = 0


def tunings(records: Sequence[Record], question: Question) -> tuple[ArmTuning, ...]:
    """What the trials among some records tell of each arm that was tuned, in the order of the question."""
    if question.tuning is None:
        return ()
    by_key = {record.identity: record for record in as_read(records, question.diverged)}
    tuning = question.tuning
    arms = []
    for each in tuning.arms:
        by = criterion(tuning.select, tuning.better, question.target_of(each.task), question.quantities)
        arms.append(_arm(each, tried(each, by_key, by=by), by))
    return tuple(arms)


def expected_best(losses: Sequence[float]) -> tuple[float, ...]:
    """The least loss to be expected of k trials, for k = 1 … n, were they k of these n picked at random.

    Without replacement, and exactly: with l₁ ≤ … ≤ l_n, E_k = Σ_i l_i · C(n − i, k − 1) / C(n, k), since l_i is the
    least of a subset where the other k − 1 come from the n − i after it. (Dodge et al. 2019, arXiv:1909.03004, have the
    like with replacement.) It is infinite while all k may be trials that diverged.
    """
    ordered = sorted(losses)
    n = len(ordered)
    return tuple(
        sum(loss * (ways / comb(n, k)) for i, loss in enumerate(ordered, start=1) if (ways := comb(n - i, k - 1)))
        for k in range(1, n + 1)
    )


def _arm(tuned: Tuned, trials: Sequence[TrialResult], by: Criterion) -> ArmTuning:
    losses = [trial.loss for trial in trials if trial.loss is not None]
    chosen = next((trial for trial in trials if trial.settings == tuned.selected), None)
    rates = tuple(_rates(trials, by))
    return ArmTuning(
        task=tuned.task,
        arm=tuned.arm,
        trials=len(trials),
        ended=len(losses),
        broken=sum(map(math.isinf, losses)) - sum(trial.valueless for trial in trials),
        crashed=sum(trial.crashed for trial in trials),
        selected=tuned.selected,
        loss=estimate(chosen.losses if chosen else ()),
        selected_by=by.along.quantity.name,
        value=_value(chosen.scores if chosen else (), by),
        edges=edges(tuned),
        rates=rates,
        good=_good(rates, by) if len({each.setting for each in rates}) == 1 else None,
        expected=expected_best(losses) if len(losses) == len(trials) else (),
        valueless=sum(trial.valueless for trial in trials),
    )


def _value(scores: Sequence[float], by: Criterion) -> Estimate:
    """What is selected by, from scores of which less is better."""
    return estimate([score if by.better == "lower" else -score for score in scores])


def _rates(trials: Sequence[TrialResult], by: Criterion) -> Iterator[RateTried]:
    by_loss = by.along.quantity.of_broken  # what a target costs does not tell rates apart that miss it
    by_rate: dict[tuple[str, float], list[TrialResult]] = {}
    for trial in trials:
        for setting, rate in trial.settings.items():
            if trial.ended and setting.rpartition(".")[2] == LR and is_number(rate):
                by_rate.setdefault((setting, float(rate)), []).append(trial)
    for (setting, rate), among in sorted(by_rate.items(), key=lambda item: item[0]):
        leader = min(among, key=lambda trial: trial.rank[1:] if by_loss else trial.rank)
        broken = leader.loss is None or (math.isinf(leader.loss) and not leader.valueless)
        loss = estimate(() if broken else leader.losses)
        yield RateTried(rate, loss, broken, loss if by_loss else _value(leader.scores, by), setting)


def _good(rates: Sequence[RateTried], by: Criterion) -> tuple[float, float] | None:
    """The ends of the run of rates, next to each other as tried, that has the best in it and is nearly as good."""
    sign = -1 if by.better == "higher" else 1
    worth = [sign * each.value.mean if each.value.n else math.inf for each in rates]
    least = min(worth)
    if math.isinf(least):
        return None
    leader = worth.index(least)
    limit = least + WITHIN * abs(least)
    near = [each <= limit for each in worth]
    low = high = leader
    while low > 0 and near[low - 1]:
        low -= 1
    while high + 1 < len(rates) and near[high + 1]:
        high += 1
    return rates[low].rate, rates[high].rate
