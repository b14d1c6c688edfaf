"""Checks of times: the same machine, and the same number of parallel runs."""

from collections.abc import Iterator

from clipbench.judging.cells import grouped
from clipbench.judging.checks.evidence import Check, Evidence, Finding, split
from clipbench.judging.words import listing
from clipbench.records import Environment, Record

_KINDS = "machines, devices or thread counts"
NO_TIMES = Finding("not applicable", "No finished run recorded its machine.")


def one_machine(evidence: Evidence) -> Iterator[Finding]:
    """Several machines are no fault where each seed has all its arms on one of them: ratios are paired by seed."""
    timed = _timed(evidence)
    if not timed:
        yield NO_TIMES
    for task, pairs in grouped(timed, lambda pair: pair[0].run.task.name).items():
        machines = split(pairs, _machine)
        if not machines.odd:
            continue
        names = listing(dict.fromkeys(place.device_name for _, place in machines.examples))
        shared = len({record.run.training.processes for record, _ in pairs}) > 1
        kinds = "machines, devices, thread counts or numbers of processes" if shared else _KINDS
        several = f"Times on {task} come from {len(machines.values)} {kinds} ({names})"
        odd = [record.run for record, _ in machines.odd]
        blocks = grouped(pairs, lambda pair: pair[0].run.seed).values()
        if any(split(block, _machine).odd for block in blocks):
            yield Finding("fail", f"{several}, even within a seed: they are not comparable.", odd)
        else:
            yield Finding("warn", f"{several}, each seed from a single one: means mix them.", odd)


def uncontended(evidence: Evidence) -> Iterator[Finding]:
    """Runs that were timed in unlike company, or side by side."""
    timed = _timed(evidence)
    if not timed:
        yield NO_TIMES
        return
    sizes = split(timed, lambda pair: pair[1].side_by_side)
    if sizes.odd:
        shown = listing(sorted(sizes.values, key=str))
        odd = [record.run for record, _ in sizes.odd]
        unequal = f"Runs were timed beside different numbers of runs (up to {shown} at a time)"
        yield Finding("fail", f"{unequal}: times are not comparable.", odd)
        return
    size = timed[0][1].side_by_side
    together = f"Up to {size} runs were timed at the same time on a machine"
    racing = [record.run for record, _ in timed if record.run.budget.unit == "seconds"]
    if size > 1 and racing:
        yield Finding("fail", f"{together}, and their budget is in seconds: their losses depend on it.", racing)
    elif size > 1:
        yield Finding("warn", f"{together}: times are longer and noisier; clipbench run --jobs 1 times each run alone.")


def _timed(evidence: Evidence) -> list[tuple[Record, Environment]]:
    return [(record, record.environment) for record in evidence.finished if record.environment]


def _machine(timed: tuple[Record, Environment]) -> tuple[str, str, int, int]:
    run, place = timed[0].run, timed[1]
    return place.machine_id, place.device_name, place.threads, run.training.processes


CHECKS = (
    Check("one machine", "All times come from the same machine and device.", one_machine, needs_runs=True),
    Check(
        "uncontended timing",
        "Every run was timed alone, or beside the same number of runs.",
        uncontended,
        needs_runs=True,
    ),
)
