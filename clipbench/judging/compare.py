"""Records side by side: means with errors, differences paired by seed, misses as ∞, and the caveats."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.caveats import caveats
from clipbench.judging.cells import Cell, cells, known_arm, one_per_seed
from clipbench.judging.comparison import (
    Comparison,
    Row,
    Seeds,
    SharpnessSummary,
    StepsToTarget,
    TaskHead,
    Verdict,
)
from clipbench.judging.current import of_the_latest_plan
from clipbench.judging.metrics import Status
from clipbench.judging.statistics import Direction, PairedDifference, estimate, geometric_mean, paired_difference
from clipbench.judging.tuning import reported, tunings
from clipbench.judging.twins import twins
from clipbench.judging.words import number
from clipbench.records import Question, Record

_VERDICTS: dict[Direction, Verdict] = {
    "lower": "better",
    "higher": "worse",
    "equal": "equal",
    "undecided": "undecided",
}


def compare(
    records: Sequence[Record], question: Question, *, baseline: str | None = None, target: float | None = None
) -> Comparison:
    """What the runs answer: one row per task and arm, each mean with its error.

    Means are over finished seeds; diverged, failed and unfinished ones are counted and named. A difference is
    final loss minus the baseline's final loss, paired by seed. A miss of the target counts as ∞ steps, and a
    diverged or failed run is a miss.

    Args:
        records: the runs, of one or more tasks; a run that is there twice is used once (see `one_per_seed`). Trials
            are in no row: they are told of apart.
        question: what they were made for; its arms give the order of the rows.
        baseline: the arm to compare with, in place of the question's.
        target: the evaluation loss to reach, in place of the question's.

    Raises:
        UndecidedError: there are no runs, or two different runs for one task, arm and seed.
        ClipbenchError: the baseline is no arm's name, or the target is no finite number.
    """
    if not records:
        raise UndecidedError(
            f"there are no runs of {question.spec}, so there is nothing to compare",
            remedy=f"make them with: clipbench run benchmarks/{question.spec}.yaml",
        )
    goal = question.target if target is None else target
    if goal is not None and not math.isfinite(goal):
        raise ClipbenchError(f"the target is {goal}", remedy="give a finite evaluation loss")
    name = known_arm(question.baseline if baseline is None else baseline, question, records=records)
    current, earlier = of_the_latest_plan(reported(records, question), question)
    kept, copies = one_per_seed(current)
    found = cells(kept, question, target=goal)
    baselines = {cell.task: cell for cell in found if cell.arm == name}
    rows = tuple(row(cell, baselines.get(cell.task), target=goal) for cell in found)
    pairs = tuple(twins(found, {(each.task, each.arm): each.steps for each in rows}))
    warned = caveats(found, question, baseline=name, target=goal, rows=rows, twins=pairs)
    return Comparison(
        spec=question.spec,
        question=question.text,
        baseline=name,
        target=goal,
        tasks=tuple(_head(task, found) for task in dict.fromkeys(cell.task for cell in found)),
        rows=rows,
        twins=pairs,
        caveats=(*earlier, *copies, *warned),
        tunings=tunings(records, question),
    )


def row(cell: Cell, baseline: Cell | None, *, target: float | None) -> Row:
    """One arm on one task, against the baseline on the same task (None where it has no runs)."""
    seeds = Seeds(
        finished=_seeds(cell, "finished"),
        diverged=_seeds(cell, "diverged"),
        failed=_seeds(cell, "failed"),
        unfinished=_seeds(cell, "unfinished"),
    )
    is_baseline = baseline is not None and baseline.arm == cell.arm
    theirs = baseline.final_losses if baseline else {}
    difference = None if is_baseline else paired_difference(cell.final_losses, theirs)
    fractions = [run.clipped_fraction for run in cell.finished if run.clipped_fraction is not None]
    return Row(
        task=cell.task,
        arm=cell.arm,
        learning_rate=cell.learning_rate,
        seeds=seeds,
        verdict=_verdict(seeds, difference),
        final_loss=estimate([run.final_loss for run in cell.finished]),
        difference=difference,
        steps=None if target is None else _steps(cell),
        step_milliseconds=estimate([run.step_milliseconds for run in cell.finished]),
        sharpness=_sharpness(cell),
        clipped=None if cell.described.clip is None else estimate(fractions),
    )


def _verdict(seeds: Seeds, difference: PairedDifference | None) -> Verdict:
    """A seed that diverged or failed outweighs what the others reached: leaving it out would flatter the arm."""
    if seeds.diverged or seeds.failed:
        return "broken"
    return "baseline" if difference is None else _VERDICTS[difference.direction]


def _seeds(cell: Cell, status: Status) -> tuple[int, ...]:
    return tuple(run.seed for run in cell.runs if run.status == status)


def _steps(cell: Cell) -> StepsToTarget:
    by_seed = {run.seed: run.steps_to_target for run in cell.runs if run.steps_to_target is not None}
    return StepsToTarget(by_seed, median(by_seed.values()) if by_seed else math.nan)


def _sharpness(cell: Cell) -> SharpnessSummary:
    found = [run.sharpness for run in cell.finished]
    return SharpnessSummary(
        mean=geometric_mean([each.mean_log for each in found if each.positive]),
        positive=sum(each.positive for each in found),
        non_positive=sum(each.non_positive for each in found),
        undefined=sum(each.undefined for each in found),
    )


def _head(task: str, found: Iterable[Cell]) -> TaskHead:
    records = [record for cell in found if cell.task == task for record in cell.records]
    # A run that was killed leaves no environment: what its device is called is then told by the others.
    places = [record.environment.device_name for record in records if record.environment]
    devices = places or [record.run.device for record in records]
    return TaskHead(
        name=task,
        budgets=tuple(dict.fromkeys(_budget(record) for record in records)),
        devices=tuple(dict.fromkeys(devices)),
        threads=tuple(dict.fromkeys(record.run.threads for record in records)),
    )


def _budget(record: Record) -> str:
    """The budget, and what being equal in it means: steps are for science, seconds for races."""
    budget = record.run.budget
    amount = number(budget.amount, 6)
    if budget.unit == "seconds":
        return f"{amount} seconds of training time a run: a race"
    return f"{amount} {budget.unit} a run: equal {budget.unit}, not equal time"
