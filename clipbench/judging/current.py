"""Selects the runs of the latest plan when a spec was edited and run again in the same folder."""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.judging.cells import one_per_seed
from clipbench.judging.endings import as_read
from clipbench.judging.tuning.summary import reported
from clipbench.judging.words import count, listing
from clipbench.questions import Question
from clipbench.records import Record


def of_the_latest_plan(records: Sequence[Record], question: Question) -> tuple[list[Record], list[str]]:
    """Keep the runs that the latest plan describes, without trials, and say what was left out.

    If the latest plan describes an arm differently (a new learning rate, say) or no longer has it, its other runs
    belong to an earlier version of the spec, whatever their seed. If the question has no plan, or the plan no run of an
    arm on a task, all runs are kept. Divergence is judged by the question's threshold (`judging.endings`).

    Returns:
        the records, and at most one caveat.

    Raises:
        UndecidedError: all of them are trials.
    """
    records = as_read(reported(records, question), question.diverged)
    keys = set(question.keys)
    in_plan: set[tuple[str, str]] = set()
    beside: set[tuple[str, str]] = set()
    for record in records:
        (in_plan if record.identity in keys else beside).add(_place(record))
    gone = {place for place in beside - in_plan if in_plan and place[1] not in question.arms}
    mixed = in_plan & beside  # only these need their descriptions compared, which is slow
    if not mixed and not gone:
        return list(records), []
    meant: dict[tuple[str, str], set[str]] = {place: set() for place in mixed}
    for record in records:
        if record.identity in keys and _place(record) in mixed:
            meant[_place(record)].add(_description(record))
    kept = [
        record
        for record in records
        if (place := _place(record)) not in gone and (place not in mixed or _description(record) in meant[place])
    ]
    left_out = len(records) - len(kept)
    if not left_out:
        return kept, []
    there = set(map(id, kept))
    arms = dict.fromkeys(record.run.arm.name for record in records if id(record) not in there)
    version = "version of the spec or selection by its trials" if question.tuning else "version of the spec"
    return kept, [f"Left out: {count(left_out, 'run')} of an earlier {version} ({listing(arms)})."]


def in_force(records: Sequence[Record], question: Question) -> tuple[list[Record], list[str]]:
    """The records that verdicts are made from: those of the latest plan, one for each task, arm and seed.

    Returns:
        the records, and a caveat for each run, or group of runs, that is left out.

    Raises:
        UndecidedError: all of them are trials, or two different runs claim the same task, arm and seed.
    """
    current, earlier = of_the_latest_plan(records, question)
    kept, copies = one_per_seed(current)
    return kept, [*earlier, *copies]


def _place(record: Record) -> tuple[str, str]:
    return record.run.task.name, record.run.arm.name


def _description(record: Record) -> str:
    """The run's key with its seed set to 0: equal for all seeds of the same description."""
    return replace(record.run, seed=0).key
