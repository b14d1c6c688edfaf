"""Rules on times: one machine, and every arm alike alone on it."""

from clipbench.judging.audit.evidence import Evidence, grouped, odd_ones
from clipbench.judging.audit.findings import NOTHING_RUN, Finding, failed, gravest, not_applicable, passed, warned
from clipbench.judging.words import listing
from clipbench.records import Record

_NO_PLACE = not_applicable("no finished run says where it was made")


def one_machine(evidence: Evidence) -> Finding:
    """Several machines are no fault where each seed has all its arms on one of them: ratios are paired by seed."""
    if not evidence.made:
        return NOTHING_RUN
    timed = _timed(evidence)
    if not timed:
        return _NO_PLACE
    found = []
    for task, records in grouped(timed, lambda record: record.run.task.name).items():
        machines, others = odd_ones(records, _machine)
        if len(machines) < 2:
            continue
        several = f"times on {task} come from {len(machines)} machines or devices"
        blocks = grouped(records, lambda record: str(record.run.seed)).values()
        if all(len(odd_ones(block, _machine)[0]) == 1 for block in blocks):
            found.append(warned(f"{several}, each seed on one: means mix them", [other.run for other in others]))
        else:
            found.append(failed(f"{several}, arms of one seed among them", [other.run for other in others]))
    return gravest(found, otherwise=passed("all times of a task come from one machine and device"))


def uncontended(evidence: Evidence) -> Finding:
    if not evidence.made:
        return NOTHING_RUN
    timed = _timed(evidence)
    if not timed:
        return _NO_PLACE
    sizes, others = odd_ones(timed, _side_by_side)
    if len(sizes) > 1:
        said = listing(sorted(sizes, key=str))
        return failed(f"{said} runs at a time were allowed, not one number for all", [other.run for other in others])
    [size] = sizes
    if size == 1:
        return passed("every run was timed alone")
    racing = [record.run for record in timed if record.run.budget.unit == "seconds"]
    together = f"up to {size} runs were timed side by side"
    if racing:
        return failed(f"{together}, and their budget is in seconds: what they reach depends on it", racing)
    return warned(f"{together}: times are longer and noisier than alone; `run --jobs 1` times each alone")


def _timed(evidence: Evidence) -> list[Record]:
    return [
        record
        for record in evidence.records
        if record.environment and record.outcome and record.outcome.status == "finished"
    ]


def _machine(record: Record) -> tuple[str, ...]:
    place = record.environment
    return () if place is None else (place.machine_id, place.device_name, str(place.threads))


def _side_by_side(record: Record) -> int:
    return 1 if record.environment is None else record.environment.side_by_side
