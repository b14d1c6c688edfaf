"""Compares records: means with standard errors, differences paired by seed, verdicts, ranks and caveats."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.cells import Cell, grouped, known_arm, known_direction
from clipbench.judging.checks.audit import audited, caveats, evidence_of
from clipbench.judging.comparison import (
    Comparison,
    Row,
    SeedsByStatus,
    SharpnessSummary,
    Standing,
    StepsToTarget,
    TaskHead,
)
from clipbench.judging.copies import once
from clipbench.judging.current import select
from clipbench.judging.families import Ranks, Test, Verdict, judge, ranks
from clipbench.judging.matched import matched
from clipbench.judging.moments import Moment
from clipbench.judging.notes import notes
from clipbench.judging.paired import Paired
from clipbench.judging.race import race, to_target
from clipbench.judging.shared_points import shared_points
from clipbench.judging.statistics import Estimate, GeometricEstimate, estimate, geometric_mean
from clipbench.judging.tuning.summary import tunings
from clipbench.judging.twins import twins
from clipbench.judging.words import number
from clipbench.quantities import (
    CLIPPED,
    LOSS,
    RATE,
    SECONDS,
    SECONDS_TO_TARGET,
    SHARPNESS,
    STEPS,
    Along,
    final_loss,
    quantity,
)
from clipbench.quantities import asked as named
from clipbench.questions import Question, Target
from clipbench.records import DIRECTIONAL_SHARPNESS, OWN, Record, Status


@dataclass(frozen=True)
class Asked:
    """Options of a comparison; None means the question's own value.

    - `baseline`: the arm to compare with.
    - `target`, `consecutive`: what is to be reached, as a number an evaluation loss, and the number of evaluations in a
      row that must reach it.
    - `metric`: the quantity that verdicts and ranks compare; `others` are further quantities to show, instead of what
      is shown else; `goals` those that targets are of, to show beside the loss.
    - `at`: the step or fraction at which runs are compared; None for their end.
    - `threshold`: the relative difference from the baseline that is too small to matter.
    - `reference`: the direction that divides the ratios at shared points.
    """

    baseline: str | None = None
    target: float | Target | None = None
    consecutive: int | None = None
    metric: Along = LOSS
    others: tuple[Along, ...] = ()
    goals: tuple[Along, ...] = ()
    at: Moment | None = None
    threshold: float | None = None
    reference: str | None = None

    def read_by(self, question: Question, records: Sequence[Record]) -> Question:
        """The question with the target that is asked for, on every task of the records, in place of its own.

        Raises:
            ClipbenchError: a number makes no sense, or no run has the target's quantity.
        """
        target = Target(self.target) if isinstance(self.target, float | int) else self.target
        if target is not None and not math.isfinite(target.bound):
            remedy = "give a finite number" if target.quantity else "give a finite evaluation loss"
            raise ClipbenchError(f"the target is {target.bound}", remedy=remedy)
        if self.consecutive is not None and self.consecutive < 1:
            message = f"{self.consecutive} evaluations in a row are asked for"
            raise ClipbenchError(message, remedy="ask for at least 1")
        if target is not None and target.quantity:
            named(target.quantity, records, question.quantities)
            before = {task: question.target_of(task) for task in {record.run.task.name for record in records}}
            rows = {task: own.consecutive if own else question.consecutive for task, own in before.items()}
            targets = {task: replace(target, consecutive=n) for task, n in rows.items()}
            question = replace(question, target=None, targets=targets)
        elif target is not None:
            question = replace(question, target=target.bound, targets={})
        if self.consecutive is not None:
            targets = {task: replace(each, consecutive=self.consecutive) for task, each in question.targets.items()}
            question = replace(question, consecutive=self.consecutive, targets=targets)
        return question


NOTHING_ASKED = Asked()


def compare(records: Sequence[Record], question: Question, asked: Asked = NOTHING_ASKED) -> Comparison:
    """Compare the arms of each task with the baseline.

    Means are over finished seeds; diverged, failed and unfinished seeds are counted and named. Seeds that end with the
    same weights count once (`judging.copies`). Differences are paired by seed. A missed target counts as the end of its
    run plus one evaluation (`judging.paired`), and diverged and failed runs miss it. Verdicts and ranks have Holm's
    correction for all rows of a task. Trials have no row; they go to `tunings`.

    Raises:
        UndecidedError: there are no runs, or two different runs for one task, arm and seed.
        ClipbenchError: the baseline is no arm's name, or a number makes no sense.
    """
    if not records:
        raise UndecidedError(
            f"there are no runs of {question.spec}, so there is nothing to compare",
            remedy=f"make them with: clipbench run benchmarks/{question.spec}.yaml",
        )
    question, metric = asked.read_by(question, records), asked.metric
    check(question, asked)
    name = known_arm(question.baseline if asked.baseline is None else asked.baseline, question, records=records)
    if asked.reference is not None:
        known_direction(asked.reference, records)
    question = replace(question, baseline=name)
    selected = select(records, question, asked.at)
    cells, by_task = selected.cells, grouped(selected.cells, lambda cell: cell.task)
    asked = replace(asked, goals=_goals(cells, question))
    rows = tuple(row for of_task in by_task.values() for row in _rows(of_task, name, asked))
    steps = {(each.task, each.arm): each.steps for each in rows}
    judged = {(each.task, each.arm, name): each.judged for each in rows} if metric == LOSS else {}
    pairs = tuple(twins(cells, steps, judged))
    evidence = evidence_of(records, selected)
    below = notes(rows, question, metric=metric, threshold=asked.threshold)
    return Comparison(
        spec=question.spec,
        question=question.text,
        baseline=name,
        target=question.target,
        consecutive=question.consecutive,
        tasks=tuple(_head(task, of_task, question.target_of(task)) for task, of_task in by_task.items()),
        rows=rows,
        twins=pairs,
        caveats=(*selected.left_out, *caveats(evidence), *below),
        metric=metric,
        threshold=asked.threshold,
        race=()
        if not any(cell.target for cell in cells)
        else tuple(race(cells, baseline=name, by_seconds=metric.quantity.name == SECONDS_TO_TARGET)),
        matched=tuple(matched(cells, baseline=name)),
        shared=tuple(shared_points(cells, baseline=name, reference=asked.reference)),
        tunings=tunings(records, question),
        audit=audited(evidence),
        others=asked.others,
        goals=asked.goals,
        at=asked.at,
        left_out=selected.left_out,
    )


def _goals(cells: Sequence[Cell], question: Question) -> tuple[Along, ...]:
    """The quantities other than the evaluation loss that targets are of, and that runs recorded."""
    names = dict.fromkeys(cell.target.quantity for cell in cells if cell.target and cell.target.quantity)
    goals = (Along(quantity(name, question.quantities, metric=True)) for name in names)
    return tuple(goal for goal in goals if any(cell.sample(goal) for cell in cells))


def check(question: Question, asked: Asked) -> None:
    """Refuse what makes no sense: ClipbenchError."""
    if asked.metric.quantity.of_broken and question.target is None and not question.targets:
        raise ClipbenchError(f"{asked.metric} cannot be compared without a target", remedy="give --target LOSS")
    if asked.threshold is not None and not 0 < asked.threshold < math.inf:
        raise ClipbenchError(
            f"the threshold is {asked.threshold}", remedy="give a relative difference, such as 0.01 for one percent"
        )


def _rows(of_task: Sequence[Cell], baseline: str, asked: Asked) -> list[Row]:
    """The rows of a task's table. All arms but broken arms are judged together."""
    by_arm = {cell.arm: cell for cell in of_task}
    theirs = by_arm.get(baseline, Cell(of_task[0].task, baseline, ()))
    rivals = [cell for cell in of_task if cell.arm != baseline]
    against = {cell.arm: cell.against(theirs, asked.metric) for cell in rivals}
    tests = {
        cell.arm: Test(against[cell.arm], margin=margin(cell, theirs, asked)) for cell in rivals if not cell.broken
    }
    verdicts = dict(zip(tests, judge([*tests.values()]), strict=True))
    better = asked.metric.quantity.better
    sound = [cell.arm for cell in of_task if not cell.broken and cell.sample(asked.metric)]

    @cache  # all pairs of arms: only for those who show ranks
    def ranking() -> Mapping[str, Ranks]:
        if better == "neither":
            return {}
        return ranks(sound, lambda arm, opponent: by_arm[arm].against(by_arm[opponent], asked.metric), better=better)

    return [
        replace(_row(cell, theirs, asked, against.get(cell.arm), verdicts.get(cell.arm)), ranking=ranking)
        for cell in of_task
    ]


def _row(cell: Cell, baseline: Cell, asked: Asked, against: Paired | None, judged: Verdict | None) -> Row:
    """One arm on one task, against the baseline on the same task."""
    word: Standing = "broken" if cell.broken else "baseline" if judged is None else judged.word
    rates = cell.values(RATE)
    targeted = cell.target is not None
    return Row(
        task=cell.task,
        arm=cell.arm,
        learning_rate=cell.learning_rate,
        seeds=SeedsByStatus(*(_seeds(cell, status) for status in ("finished", "diverged", "failed", "unfinished"))),
        verdict=word,
        final_loss=estimate(list(map(final_loss, cell.counted))),
        difference=None if against is None else cell.against(baseline, LOSS),
        against=against,
        judged=judged,
        steps=_to_target(cell, STEPS) if targeted else None,
        seconds=_to_target(cell, SECONDS) if targeted else None,
        step_milliseconds=estimate(_milliseconds(cell)),
        sharpness=_sharpness(cell),
        clipped=None if cell.described.clip is None else estimate(cell.values(CLIPPED)),
        rate_sharpness=estimate(rates) if rates else None,
        others={str(along): mean_of(cell, along) for along in (asked.metric, *asked.others, *asked.goals)},
        steps_ratio=cell.against(baseline, STEPS) if targeted and against is not None else None,
        sharpness_ratio=None if against is None else cell.against(baseline, SHARPNESS),
    )


def mean_of(cell: Cell, along: Along) -> Estimate | GeometricEstimate:
    """A quantity's mean over the runs that count: a geometric one where its scale is the logarithm.

    What a target costs is the median over ended seeds, in which a miss is ∞.
    """
    if along.quantity.of_broken:  # a mean over misses would hide them
        costs = _to_target(cell, along)
        return Estimate(costs.median, math.nan, costs.seeds)
    if along.quantity.scale == "linear":
        return estimate(cell.values(along))
    logs = [reading.on("log") for reading in cell.readings(along)]
    return geometric_mean([log for log in logs if not math.isnan(log)])


def margin(cell: Cell, baseline: Cell, asked: Asked) -> float | None:
    """The threshold on the metric's scale: a share of the baseline's mean, or the logarithm of a factor."""
    if asked.threshold is None:
        return None
    if asked.metric.quantity.scale == "log":
        return math.log1p(asked.threshold)
    ours, theirs = cell.sample(asked.metric), baseline.sample(asked.metric)
    common = [reading.value for reading in once(theirs, ours, cell.ends, baseline.ends).values()]
    return asked.threshold * abs(sum(common) / len(common)) if common else None


def _seeds(cell: Cell, status: Status) -> tuple[int, ...]:
    return tuple(record.run.seed for record in cell.records if record.status == status)


def _to_target(cell: Cell, along: Along) -> StepsToTarget:
    own = {record.run.seed for record in cell.own}
    by_seed = {seed: cost for seed, cost in to_target(cell, along).items() if seed in own}
    return StepsToTarget(by_seed, median(by_seed.values()) if by_seed else math.nan)


def _sharpness(cell: Cell) -> SharpnessSummary:
    """Over the runs that means are over."""
    measured = [record.measurements.series(OWN, DIRECTIONAL_SHARPNESS) for record in cell.counted]
    values = [each.value for of_run in measured for each in of_run]
    positive = sum(0 < value < math.inf for value in values)
    defined = sum(map(math.isfinite, values))
    return SharpnessSummary(
        mean=geometric_mean([reading.on("log") for reading in cell.readings(SHARPNESS)]),
        positive=positive,
        non_positive=defined - positive,
        undefined=len(values) - defined,
    )


def _milliseconds(cell: Cell) -> list[float]:
    """Milliseconds per step of every finished run, copies included: each took its own time."""
    return [record.outcome.step_seconds * 1000 for record in cell.finished if record.outcome]


def _head(task: str, cells: Iterable[Cell], target: Target | None) -> TaskHead:
    records = [record for cell in cells for record in cell.records]
    # A killed run leaves no environment; the other runs then name the device.
    places = [record.environment.device_name for record in records if record.environment]
    devices = places or [record.run.device for record in records]
    return TaskHead(
        name=task,
        budgets=tuple(dict.fromkeys(_budget(record) for record in records)),
        devices=tuple(dict.fromkeys(devices)),
        threads=tuple(dict.fromkeys(record.run.threads for record in records)),
        target=target,
        training=tuple(dict.fromkeys(record.run.training for record in records)),
    )


def _budget(record: Record) -> str:
    """The budget, and whether it makes steps or time equal."""
    budget = record.run.budget
    amount = number(budget.amount, 6)
    if budget.unit == "seconds":
        return f"{amount} seconds of training time a run: a race"
    return f"{amount} {budget.unit} a run: equal {budget.unit}, not equal time"
