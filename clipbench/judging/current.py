"""Which runs are meant when a spec was edited and run again in the same folder."""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.judging.words import count, listing
from clipbench.records import Question, Record


def of_the_latest_plan(records: Sequence[Record], question: Question) -> tuple[list[Record], list[str]]:
    """Keep the runs that are described as in the latest plan, and say what was left out.

    Runs of an arm that the latest plan describes otherwise (another rate, say) belong to an earlier version of the
    spec, whatever their seed. Where the question knows no plan, or none of an arm's runs is in it, all are kept.

    Returns:
        the records, and at most one caveat.
    """
    described = [(record, _place(record), _description(record)) for record in records]
    meant: dict[tuple[str, str], set[str]] = {}
    for record, place, description in described:
        if record.run.key in question.keys:
            meant.setdefault(place, set()).add(description)
    kept = [record for record, place, description in described if description in meant.get(place, {description})]
    left_out = len(records) - len(kept)
    if not left_out:
        return kept, []
    arms = dict.fromkeys(record.run.arm.name for record in records if record not in kept)
    version = "version of the spec or selection by its trials" if question.tuning else "version of the spec"
    return kept, [f"Left out: {count(left_out, 'run')} of an earlier {version} ({listing(arms)})."]


def _place(record: Record) -> tuple[str, str]:
    return record.run.task.name, record.run.arm.name


def _description(record: Record) -> str:
    """The key a run would have whatever its seed."""
    return replace(record.run, seed=0).key
