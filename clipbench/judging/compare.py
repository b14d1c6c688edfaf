"""Records side by side: means with errors, differences paired by seed, misses as ∞, and the caveats."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.cells import Cell, cells, known_arm, known_direction
from clipbench.judging.checks.audit import caveats, evidence_of
from clipbench.judging.comparison import (
    Comparison,
    Contrast,
    Metric,
    Ranks,
    Row,
    Seeds,
    SharpnessSummary,
    StepsToTarget,
    TaskHead,
    Verdict,
)
from clipbench.judging.contrasts import contrast, judged, rounding, values
from clipbench.judging.copies import once
from clipbench.judging.current import in_force
from clipbench.judging.matched import matched
from clipbench.judging.metrics import Status
from clipbench.judging.moments import Moment, as_of
from clipbench.judging.notes import notes
from clipbench.judging.race import race
from clipbench.judging.ranks import ranks
from clipbench.judging.shared_points import shared_points
from clipbench.judging.statistics import PairedDifference, estimate, geometric_mean, paired_difference
from clipbench.judging.tuning.summary import tunings
from clipbench.judging.twins import twins
from clipbench.judging.words import number
from clipbench.questions import Question
from clipbench.records import Record


def compare(
    records: Sequence[Record],
    question: Question,
    *,
    baseline: str | None = None,
    target: float | None = None,
    consecutive: int | None = None,
    metric: Metric = "final_loss",
    at: Moment | None = None,
    threshold: float | None = None,
    reference: str | None = None,
) -> Comparison:
    """What the runs answer: one row per task and arm, each mean with its error.

    Means are over finished seeds; diverged, failed and unfinished ones are counted and named. Seeds that end with the
    same weights count once (`judging.copies`). A difference is final loss minus the baseline's, paired by seed. A miss
    of the target counts as ∞ steps, and a diverged or failed run is a miss. Verdicts and ranks are corrected for how
    many there are, task by task.

    Args:
        records: the runs, of one or more tasks; a run that is there twice is used once (see `one_per_seed`). Trials
            are in no row: they are told of apart.
        question: what they were made for; its arms give the order of the rows.
        baseline: the arm to compare with, in place of the question's.
        target: the evaluation loss to reach, in place of the question's.
        consecutive: for how many evaluations in a row, in place of the question's.
        metric: what verdicts and ranks go by.
        at: the moment at which runs are compared; the end where none is given.
        threshold: the relative difference from the baseline that is too small to matter.
        reference: the direction that others are compared with at shared points.

    Raises:
        UndecidedError: there are no runs, or two different runs for one task, arm and seed.
        ClipbenchError: the baseline is no arm's name, or a number makes no sense.
    """
    if not records:
        raise UndecidedError(
            f"there are no runs of {question.spec}, so there is nothing to compare",
            remedy=f"make them with: clipbench run benchmarks/{question.spec}.yaml",
        )
    goal = question.target if target is None else target
    in_a_row = question.consecutive if consecutive is None else consecutive
    _check(goal, in_a_row, metric, threshold)
    name = known_arm(question.baseline if baseline is None else baseline, question, records=records)
    if reference is not None:
        known_direction(reference, records)
    kept, left_out = in_force(records, question)
    if at is not None:
        kept, said = as_of(kept, at)
        left_out.append(said)
    found = cells(kept, question, target=goal, consecutive=in_a_row)
    tasks = tuple(dict.fromkeys(cell.task for cell in found))
    rows = tuple(
        row
        for task in tasks
        for row in _rows(
            [cell for cell in found if cell.task == task], name, target=goal, metric=metric, threshold=threshold
        )
    )
    pairs = tuple(twins(found, {(each.task, each.arm): each.steps for each in rows}))
    shared = tuple(shared_points(found, baseline=name, reference=reference))
    evidence = evidence_of(records, replace(question, baseline=name), found)
    below = notes(rows, target=goal, metric=metric, threshold=threshold)
    return Comparison(
        spec=question.spec,
        question=question.text,
        baseline=name,
        target=goal,
        consecutive=in_a_row,
        tasks=tuple(_head(task, found) for task in tasks),
        rows=rows,
        twins=pairs,
        caveats=(*left_out, *caveats(evidence), *below),
        metric=metric,
        threshold=threshold,
        race=() if goal is None else tuple(race(found, baseline=name, by_seconds=metric == "seconds")),
        matched=tuple(matched(found, baseline=name)),
        shared=shared,
        tunings=tunings(records, question),
    )


def _check(target: float | None, consecutive: int, metric: Metric, threshold: float | None) -> None:
    if target is not None and not math.isfinite(target):
        raise ClipbenchError(f"the target is {target}", remedy="give a finite evaluation loss")
    if consecutive < 1:
        raise ClipbenchError(f"{consecutive} evaluations in a row are asked for", remedy="ask for at least 1")
    if metric in ("steps", "seconds") and target is None:
        raise ClipbenchError(f"{metric} to the target cannot be compared without a target", remedy="give --target LOSS")
    if threshold is not None and not 0 < threshold < math.inf:
        raise ClipbenchError(
            f"the threshold is {threshold}", remedy="give a relative difference, such as 0.01 for one percent"
        )


def _rows(
    of_task: Sequence[Cell], baseline: str, *, target: float | None, metric: Metric, threshold: float | None
) -> list[Row]:
    """The rows of one task's table: what is judged is judged together."""
    by_arm = {cell.arm: values(cell, metric) for cell in of_task}
    theirs = by_arm.get(baseline, {})
    ends = {cell.arm: cell.ends for cell in of_task}
    sound = {cell.arm for cell in of_task if not _broken(cell)}
    off = {cell.arm: rounding(cell, metric) for cell in of_task}
    places = ranks({arm: by_arm[arm] for arm in by_arm if arm in sound}, metric, roundings=off, ends=ends)
    contrasts = [
        None
        if cell.arm == baseline
        else contrast(
            once(by_arm[cell.arm], theirs, cell.ends, ends.get(baseline, {})),
            theirs,
            metric,
            rounding=math.hypot(off[cell.arm], off.get(baseline, 0.0)),
        )
        for cell in of_task
    ]
    # A broken arm has its verdict, and takes no part in the correction.
    tested = [one if cell.arm in sound else None for cell, one in zip(of_task, contrasts, strict=True)]
    their_cell = next((cell for cell in of_task if cell.arm == baseline), None)
    margins = [_margin(cell, their_cell, metric, threshold) for cell in of_task]
    rows = []
    for cell, one, (corrected, verdict) in zip(of_task, contrasts, judged(tested, margins), strict=True):
        said: Verdict = verdict if cell.arm in sound else "broken"
        rows.append(
            _row(cell, their_cell, target=target, verdict=said, contrast=corrected or one, ranks=places.get(cell.arm))
        )
    return rows


def _row(
    cell: Cell,
    baseline: Cell | None,
    *,
    target: float | None,
    verdict: Verdict,
    contrast: Contrast | None,
    ranks: Ranks | None,
) -> Row:
    """One arm on one task, against the baseline on the same task (None where it has no runs)."""
    is_baseline = baseline is not None and baseline.arm == cell.arm
    fractions = [run.clipped_fraction for run in cell.counted if run.clipped_fraction is not None]
    rates = [run.rate_sharpness for run in cell.counted if run.rate_sharpness is not None]
    return Row(
        task=cell.task,
        arm=cell.arm,
        learning_rate=cell.learning_rate,
        seeds=Seeds(*(_seeds(cell, status) for status in ("finished", "diverged", "failed", "unfinished"))),
        verdict=verdict,
        final_loss=estimate([run.final_loss for run in cell.counted]),
        difference=None if is_baseline else _difference(cell, baseline),
        contrast=contrast,
        ranks=ranks,
        steps=None if target is None else _to_target({run.seed: run.steps_to_target for run in cell.own}),
        seconds=None if target is None else _to_target({run.seed: run.seconds_to_target for run in cell.own}),
        step_milliseconds=estimate([run.step_milliseconds for run in cell.finished]),
        sharpness=_sharpness(cell),
        clipped=None if cell.described.clip is None else estimate(fractions),
        rate_sharpness=estimate(rates) if rates else None,
    )


def _difference(cell: Cell, baseline: Cell | None) -> PairedDifference:
    theirs, ends = (baseline.final_losses, baseline.ends) if baseline else ({}, {})
    return paired_difference(once(cell.final_losses, theirs, cell.ends, ends), theirs)


def _broken(cell: Cell) -> bool:
    """A seed that diverged or failed outweighs what the others reached: leaving it out would flatter the arm."""
    return any(run.status in ("diverged", "failed") for run in cell.runs)


def _margin(cell: Cell, baseline: Cell | None, metric: Metric, threshold: float | None) -> float | None:
    """What is too small to matter, on the metric's scale: a share of the baseline's mean, or a factor's logarithm."""
    if threshold is None:
        return None
    if metric != "final_loss":
        return math.log1p(threshold)
    if baseline is None:
        return None
    common = list(once(baseline.final_losses, cell.final_losses, cell.ends, baseline.ends).values())
    return threshold * abs(sum(common) / len(common)) if common else None


def _seeds(cell: Cell, status: Status) -> tuple[int, ...]:
    return tuple(run.seed for run in cell.runs if run.status == status)


def _to_target(costs: Mapping[int, float | None]) -> StepsToTarget:
    by_seed = {seed: cost for seed, cost in costs.items() if cost is not None}
    return StepsToTarget(by_seed, median(by_seed.values()) if by_seed else math.nan)


def _sharpness(cell: Cell) -> SharpnessSummary:
    found = [run.sharpness for run in cell.counted]
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
