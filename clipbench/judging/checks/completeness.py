"""Checks of what is missing: runs, trials, losses, measurements."""

import math
from collections.abc import Iterator

from clipbench.judging.cells import grouped
from clipbench.judging.checks.evidence import Check, Evidence, Finding, Severity
from clipbench.judging.words import brief, count, listing, named_goal, number
from clipbench.quantities import evaluations, final_loss
from clipbench.records import GHOST


def nothing_dropped(evidence: Evidence) -> Iterator[Finding]:
    """What was planned and is not here, did not end, or broke."""
    yield from _unrecorded_targets(evidence)
    yield from _runs_missing(evidence)
    yield from _arms_missing(evidence)
    yield from _broken(evidence)
    yield from _trials_missing(evidence)
    yield from _nothing_to_compare(evidence)


def _runs_missing(evidence: Evidence) -> Iterator[Finding]:
    planned, there = evidence.question.keys, {record.identity for record in evidence.records}
    absent = [key for key in planned if key not in there]
    if absent:
        yield Finding("fail", f"{len(absent)} of {count(len(planned), 'planned run')} are missing.", absent)
    if not planned:
        yield Finding("warn", "The results hold no plan, so missing runs cannot be detected.")
    waiting = [record.run for record in evidence.records if record.outcome is None]
    if waiting:
        yield Finding("fail", f"Not finished, so in no mean: {listing(waiting)}.", waiting)


def _arms_missing(evidence: Evidence) -> Iterator[Finding]:
    """An arm without any run is a fault; on one task of several it may be meant."""
    arms = {run.arm.name for run in evidence.runs}
    for task, runs in evidence.by_task.items():
        there = {run.arm.name for run in runs}
        gone = [arm for arm in evidence.question.arms if arm not in there]
        if gone:
            severity: Severity = "note" if arms.issuperset(gone) else "fail"
            yield Finding(severity, f"No runs of {listing(gone)} on {task}.", gone)


def _broken(evidence: Evidence) -> Iterator[Finding]:
    """A divergence is a result; what a crashed run would have shown is not known."""
    for cell in evidence.cells:
        for record in cell.records:
            outcome, loss = record.outcome, final_loss(record)
            if outcome and outcome.status != "finished":
                reason = brief(outcome.reason) or "no reason was recorded"
                severity: Severity = "warn" if outcome.status == "failed" else "note"
                yield Finding(
                    severity, f"{record.run} {outcome.status}: {reason} (counted, but in no mean).", [record.run]
                )
            elif outcome and not math.isfinite(loss):
                what = f"{record.run} finished with a loss of {number(loss)}"
                yield Finding("warn", f"{what}: means and differences that include it are not finite.", [record.run])


def _trials_missing(evidence: Evidence) -> Iterator[Finding]:
    for effort in evidence.efforts:
        name = f"of {effort.arm} on {effort.task}"
        if effort.absent:
            trials = count(len(effort.keys), "trial run")
            yield Finding("fail", f"{len(effort.absent)} of {trials} {name} are missing.", effort.absent)
        if effort.crashed:
            what = f"{count(len(effort.crashed), 'trial run')} {name} crashed"
            yield Finding("warn", f"{what}: the arm's setting was selected from fewer trials.", effort.crashed)


def _nothing_to_compare(evidence: Evidence) -> Iterator[Finding]:
    baseline = evidence.question.baseline
    finished = {cell.task for cell in evidence.cells if cell.arm == baseline and cell.finished}
    for task in evidence.by_task:
        if task not in finished:
            lacks = f"The baseline {baseline} has no finished run on {task}"
            yield Finding("note", f"{lacks}: there are no differences.", [baseline])
    for cell in evidence.cells:
        if any(record.run.measure.ghosts for record in cell.records) and not cell.finished:
            where = f"along {cell.arm} on {cell.task}"
            yield Finding("note", f"No directions are compared {where}: none of its runs finished.", [cell.arm])


def _unrecorded_targets(evidence: Evidence) -> Iterator[Finding]:
    """A target of a quantity that no evaluation recorded, so that nobody can reach it."""
    for task, cells in grouped(evidence.cells, lambda cell: cell.task).items():
        target, finished = cells[0].target, [record for cell in cells for record in cell.finished]
        if (
            target
            and target.quantity
            and finished
            and not any(evaluations(record, target.recorded) for record in finished)
        ):
            lacks = f"No evaluation on {task} records {target.quantity}"
            mend = "add it to the task's metrics, or mend the spec's target"
            yield Finding("warn", f"{lacks}, so no run can reach the target {named_goal(target)}: {mend}.", [task])


def probes_complete(evidence: Evidence) -> Iterator[Finding]:
    """Probes and ghosts that failed in runs that went on."""
    for record in evidence.records:
        for probe, reason in record.outcome.failed_probes.items() if record.outcome else ():
            name = probe if probe.startswith(GHOST) else f"the probe {probe}"
            sentence = f"{record.run}: {name} failed {brief(reason)}; the run's other values are valid."
            yield Finding("warn", sentence, [record.run])


CHECKS = (
    Check(
        "nothing dropped",
        "Every planned run and trial exists and has ended; failures are shown.",
        nothing_dropped,
        needs_runs=True,
    ),
    Check("probes complete", "No probe and no ghost of a run failed.", probes_complete, needs_runs=True),
)
