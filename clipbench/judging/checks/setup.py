"""Checks of what the runs of a task, or of an arm, must have in common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from clipbench.budget import Spent
from clipbench.judging.cells import LABELS, differing, grouped
from clipbench.judging.checks.beginnings import begun_unlike, commits, known_by
from clipbench.judging.checks.evidence import Check, Evidence, Finding, Severity, numerics_id, split
from clipbench.judging.remarks import remarks
from clipbench.judging.words import count, listing, number, seeds_named
from clipbench.records import Record, Run

_PRECISION = (
    "device",
    "dtype",
    "tf32",
    "precision",
)  # of Environment.numerics: what changes the numbers and not only last bits
_COMPLETE = 1 - 1e-9  # a budget in seconds is a sum of floats
_LOSSES = "their losses are not comparable"


def same_task(evidence: Evidence) -> Iterator[Finding]:
    """By description, where the batch is among a task's options; and by the fingerprints of what was really used."""
    unlike = [
        *_unlike(evidence.by_task, "task", _task, "fail"),
        *_differ(evidence, "data", lambda run: run.data[:12] or "none from disk", f": {_LOSSES}"),
        *begun_unlike(evidence.records),
        *commits(evidence.records),
    ]
    if not unlike:
        known = known_by(evidence.records) if evidence.has_results else ", by description alone"
        yield Finding("ok", f"Every arm had the same task, batches and data{known}.")
    yield from unlike


def same_arm(evidence: Evidence) -> Iterator[Finding]:
    """Arms that are not described alike in all their runs."""
    by_arm = grouped(evidence.runs, lambda run: f"{run.arm.name} on {run.task.name}")
    yield from _unlike(by_arm, "arm", _arm, "warn")


def same_budget(evidence: Evidence) -> Iterator[Finding]:
    """Tasks whose runs may use unlike budgets."""
    yield from _differ(evidence, "budget", lambda run: str(run.budget), f": {_LOSSES}")


def same_passes(evidence: Evidence) -> Iterator[Finding]:
    """Where the budget is not in seconds, tasks whose arms take unlike numbers of passes a step.

    A run from before passes were counted took one a step.
    """
    counted = [record for record in evidence.finished if record.run.budget.unit != "seconds" and record.outcome]
    for task, of_task in grouped(counted, lambda record: record.run.task.name).items():
        by_arm = grouped(of_task, lambda record: record.run.arm.name)
        passes = {arm: max(map(_passes, of_arm)) for arm, of_arm in by_arm.items()}
        least = min(passes.values())
        if more := {arm: each for arm, each in passes.items() if each > 1.01 * least}:
            unit = of_task[0].run.budget.unit
            each_takes = listing([f"{arm} {number(each, 3)}" for arm, each in more.items()])
            yield Finding(
                "warn",
                f"The budget on {task} is in {unit}, and arms differ in forward and backward passes a step: "
                f"{each_takes}, the others {number(least, 3)}; in as many {unit} they do more work; give a budget in "
                "seconds, or compare seconds: --metric seconds_to_target or train_seconds.",
                list(more),
            )


def _passes(record: Record) -> float:
    """The forward and backward passes of a step."""
    end = record.outcome
    return end.passes / end.steps if end and end.passes and end.steps else 1.0


def same_cadence(evidence: Evidence) -> Iterator[Finding]:
    """Tasks whose runs are evaluated at unlike steps."""
    loss = ": steps to the target are read with different precision"
    yield from _differ(evidence, "evaluation cadence", lambda run: f"every {run.measure.evaluate_every} steps", loss)


def same_schedule(evidence: Evidence) -> Iterator[Finding]:
    """Tasks whose arms follow unlike learning-rate schedules."""
    for finding in _differ(evidence, "learning-rate schedule", _schedule, ""):
        yield replace(finding, severity="warn")


def schedule_complete(evidence: Evidence) -> Iterator[Finding]:
    """Finished runs that ended before their budget was spent."""
    if not evidence.finished:
        yield Finding("not applicable", "No run finished.")
    if evidence.at is not None:
        yield Finding("not applicable", f"The runs are read at {evidence.at}, not at their end.")
        return
    short = [record.run for record in evidence.finished if _progress(record) < _COMPLETE]
    if short:
        least = min(map(_progress, evidence.finished))
        yield Finding(
            "fail",
            f"{count(len(short), 'finished run')} ended before the budget was spent (the earliest at {least:.0%}): "
            "the learning-rate schedule was cut short.",
            short,
        )


def same_precision(evidence: Evidence) -> Iterator[Finding]:
    """Runs are compared seed by seed, so it is within a seed that all arms must be computed alike."""
    placed = [record for record in evidence.records if record.environment]
    if not placed:
        yield Finding("not applicable", "No run recorded how it was computed.")
        return
    unlike: dict[tuple[str, tuple[str, ...]], list[Run]] = {}
    for records in grouped(placed, lambda record: f"{record.run.task.name} {record.run.seed}").values():
        setups = split(records, numerics_id)
        if setups.odd:
            place = setups.odd[0].run.task.name, _apart(setups.examples)
            unlike.setdefault(place, []).extend(record.run for record in setups.odd)
    for (task, changed), runs in unlike.items():
        seeds = seeds_named(sorted({run.seed for run in runs}))
        how = f"were computed under different numerical set-ups ({listing(changed)} differ)"
        severity: Severity = "fail" if set(changed) & set(_PRECISION) else "warn"
        yield Finding(severity, f"Arms on {task}, {seeds}, {how}: equal seeds need not give equal bits.", runs)
    setups = split(placed, numerics_id)
    if setups.odd and not unlike:
        several = f"{len(setups.values)} numerical set-ups ({listing(_apart(setups.examples))} differ)"
        yield Finding("warn", f"Seeds were computed under {several}: means mix them, differences do not.")


def as_described(evidence: Evidence) -> Iterator[Finding]:
    """What runs remark on their code, their data or their arm."""
    yield from (Finding("warn", sentence) for sentence in remarks(evidence.records))


def _unlike(
    groups: Mapping[str, Sequence[Run]], part: str, description: Callable[[Run], object], severity: Severity
) -> Iterator[Finding]:
    """Groups of runs whose `task` or `arm` has one name and several descriptions."""
    for name, runs in groups.items():
        described = split(runs, description)
        if described.odd:
            changes = _changes(described.examples, part)
            sentence = f"The {part} {name} differs between its runs ({changes}): {_LOSSES}."
            yield Finding(severity, sentence, described.odd)


def _differ(evidence: Evidence, what: str, value: Callable[[Run], str], loss: str) -> Iterator[Finding]:
    for task, runs in evidence.by_task.items():
        values = split(runs, value)
        if values.odd:
            shown = listing(values.values)
            yield Finding("fail", f"Runs of {task} differ in their {what} ({shown}){loss}.", values.odd)


def _changes(examples: Sequence[Run], part: str) -> str:
    """What is not the same in the `task` or the `arm` of runs: `batch is 32 and 64; its code changed`."""
    changes = {name: values for name, values in differing(examples).items() if name.startswith(f"{part}.")}
    return "; ".join(
        "its code changed" if name.endswith(".source") else f"{_short(name)} is {listing(values)}"
        for name, values in changes.items()
        if name not in LABELS
    )


def _short(name: str) -> str:
    """`lr` for `arm.optimizer.options.lr`, `clip.fraction` for `arm.clip.fraction`; `groups.0.lr` in a group."""
    return name.partition(".")[2].replace("optimizer.options.", "").removeprefix("optimizer.").removeprefix("options.")


def _task(run: Run) -> tuple[object, ...]:
    return run.task.target, run.task.source, run.task.options


def _arm(run: Run) -> tuple[object, ...]:
    arm = run.arm
    code = [(part.target, part.source) for part in arm.parts.values()]
    groups = [(group.kind, group.names) for group in arm.groups]
    return code, groups, arm.options, arm.clip, arm.schedule, arm.create_graph


def _progress(record: Record) -> float:
    end = record.outcome
    spent = Spent(end.steps, end.samples, end.tokens, end.train_seconds, end.epochs) if end else Spent(0, 0, 0, 0.0)
    return record.run.budget.progress(spent)


def _schedule(run: Run) -> str:
    schedule = run.arm.schedule
    warmup = f" after a warm-up of {number(schedule.warmup, 12)}" if schedule.warmup else ""
    final = f" to {number(schedule.final, 12)}" if schedule.final else ""
    decay = f" over the last {number(schedule.decay, 12)}" if schedule.decay else ""
    return f"{schedule.use}{final}{decay}{warmup}"


def _apart(examples: Sequence[Record]) -> tuple[str, ...]:
    """The facts of the numerical set-up that are not the same in all; their ids where no fact is known to differ."""
    setups = [record.environment.numerics for record in examples if record.environment]
    names = dict.fromkeys(name for setup in setups for name in setup)
    return tuple(name for name in names if len({str(setup.get(name)) for setup in setups}) > 1) or ("their ids",)


CHECKS = (
    Check(
        "same task",
        "All arms on a task have the same batches, data and code of the task, and start from the same weights.",
        same_task,
    ),
    Check("same arm", "All runs of an arm on a task have the same optimizer, options, clip and schedule.", same_arm),
    Check("same budget", "All runs on a task have the same budget.", same_budget),
    Check(
        "same passes",
        "Under a budget in steps, samples or tokens, all arms on a task take as many passes a step.",
        same_passes,
        needs_runs=True,
    ),
    Check("same schedule", "All arms on a task follow the same learning-rate schedule.", same_schedule),
    Check(
        "schedule complete", "No finished run ended before its budget was spent.", schedule_complete, needs_runs=True
    ),
    Check(
        "same precision",
        "All arms are computed on the same kind of device in the same precision.",
        same_precision,
        needs_runs=True,
    ),
    Check("same cadence", "All runs on a task are evaluated at the same steps.", same_cadence),
    Check("as described", "No run recorded a remark about its code, data or arm.", as_described, needs_runs=True),
)
