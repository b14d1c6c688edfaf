"""Rules on what every arm of a task should have in common: budget, schedule, batches, precision, cadence."""

from collections.abc import Callable

from clipbench.budget import Spent
from clipbench.judging.audit.evidence import Evidence, grouped, odd_ones
from clipbench.judging.audit.findings import NOTHING_RUN, Finding, failed, gravest, not_applicable, passed, warned
from clipbench.judging.beginnings import by_description, commits, unlike
from clipbench.judging.cells import differing
from clipbench.judging.comparability import numerics_apart
from clipbench.judging.words import count, listing, number
from clipbench.records import Record, Run, Schedule

_PRECISION = ("device", "dtype", "tf32")  # of Environment.numerics: what changes the numbers and not only last bits
_COMPLETE = 1 - 1e-9  # a budget in seconds is a sum of floats


def same_budget(evidence: Evidence) -> Finding:
    return _same(evidence, lambda run: str(run.budget), "the budget", otherwise="every run of a task had one budget")


def same_cadence(evidence: Evidence) -> Finding:
    return _same(
        evidence,
        lambda run: f"every {run.measure.evaluate_every} steps",
        "the evaluation cadence",
        otherwise="every run of a task was evaluated at the same steps",
    )


def same_task(evidence: Evidence) -> Finding:
    """By description, where the batch is among a task's options; and by the fingerprints of what was really used."""
    found = []
    for task, runs in evidence.by_task.items():
        described, others = odd_ones(runs, _task)
        if len(described) > 1:
            fields = differing([next(run for run in runs if _task(run) == described[0]), *others])
            said = [
                "its code changed" if name == "task.source" else f"{name.rpartition('.')[2]} is {listing(values)}"
                for name, values in fields.items()
                if name.startswith("task.") and name != "task.name"
            ]
            found.append(failed(f"{task} is not one task in all runs ({'; '.join(said)})", others))
        data, others = odd_ones(runs, lambda run: run.data[:12] or "none of the disk")
        if len(data) > 1:
            found.append(failed(f"runs of {task} read different data ({listing(data)})", others))
    found += [failed(each.sentence, each.runs) for each in unlike(evidence.records)]
    found += [
        failed(each.sentence, each.runs) if each.within else warned(f"{each.sentence}, each seed at one", each.runs)
        for each in commits(evidence.records)
    ]
    return gravest(found, otherwise=passed(f"every arm had the same task, batches and data{_how_known(evidence)}"))


def _how_known(evidence: Evidence) -> str:
    described = by_description(evidence.records)
    if not evidence.made or len(described) == len(evidence.records):
        return ", by description alone"
    but = f", but {count(len(described), 'run')} by description alone" if described else ""
    return f", and the same weights to start from, by fingerprint{but}"


def same_schedule(evidence: Evidence) -> Finding:
    found = []
    for task, runs in evidence.by_task.items():
        values, others = odd_ones(runs, lambda run: run.arm.schedule)
        if len(values) > 1:
            said = listing([_schedule(value) for value in values if isinstance(value, Schedule)])
            found.append(warned(f"arms on {task} follow different schedules ({said})", others))
    return gravest(found, otherwise=passed("every arm followed the same schedule"))


def schedule_complete(evidence: Evidence) -> Finding:
    if not evidence.made:
        return NOTHING_RUN
    finished = [record for record in evidence.records if record.outcome and record.outcome.status == "finished"]
    if not finished:
        return not_applicable("no run finished")
    short = [record.run for record in finished if _progress(record) < _COMPLETE]
    if short:
        least = min(map(_progress, finished))
        said = f"{count(len(short), 'finished run')} ended before the budget was spent (at {least:.0%} of it, at worst)"
        return failed(f"{said}: a schedule cut short ends at another rate", short)
    return passed("every finished run spent its whole budget")


def same_precision(evidence: Evidence) -> Finding:
    """Runs are compared seed by seed, so it is within a seed that all arms must be computed alike."""
    if not evidence.made:
        return NOTHING_RUN
    placed = [record for record in evidence.records if record.environment]
    if not placed:
        return not_applicable("no run says how it was computed")
    found = []
    for block, records in grouped(placed, lambda record: f"{record.run.task.name}, seed {record.run.seed}").items():
        values, others = odd_ones(records, lambda record: record.environment and record.environment.numerics_id)
        if len(values) > 1:
            places = [record.environment for record in records if record.environment]
            changed = numerics_apart(places) or ["their ids"]
            verdict = failed if set(changed) & set(_PRECISION) else warned
            found.append(verdict(f"arms of {block} differ in {listing(changed)}", [other.run for other in others]))
    if not found and len({record.environment.numerics_id for record in placed if record.environment}) > 1:
        return warned("seeds were computed under different numerical set-ups: means mix them, differences do not")
    return gravest(found, otherwise=passed("every arm was computed in the same precision"))


def _same(evidence: Evidence, of: Callable[[Run], str], what: str, *, otherwise: str) -> Finding:
    found = []
    for task, runs in evidence.by_task.items():
        values, others = odd_ones(runs, of)
        if len(values) > 1:
            found.append(failed(f"{what} of {task} is not one ({listing(values)})", others))
    return gravest(found, otherwise=passed(otherwise))


def _task(run: Run) -> tuple[object, ...]:
    return run.task.target, run.task.source, run.task.options


def _progress(record: Record) -> float:
    ended = record.outcome
    if ended is None:
        return 0.0
    return record.run.budget.progress(Spent(ended.steps, ended.samples, ended.tokens, ended.train_seconds))


def _schedule(schedule: Schedule) -> str:
    warmup = f" after a warm-up of {number(schedule.warmup)}" if schedule.warmup else ""
    final = f" to {number(schedule.final)}" if schedule.final else ""
    return f"{schedule.use}{final}{warmup}"
