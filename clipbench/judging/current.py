"""Selects the runs of the latest plan when a spec was edited and run again in the same folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clipbench.errors import UndecidedError
from clipbench.judging.cells import LABELS, Cell, cells, differing, grouped
from clipbench.judging.endings import as_read
from clipbench.judging.moments import Moment, as_of
from clipbench.judging.tuning.trials import of_trials
from clipbench.judging.words import count, listing
from clipbench.quantities import final_loss
from clipbench.questions import Question
from clipbench.records import Record


@dataclass(frozen=True)
class InForce:
    """The runs of one spec that verdicts are made from, also in cells, as they stood `at` a moment, or at their end.

    `left_out` has caveats about unused runs.
    """

    question: Question
    records: tuple[Record, ...]
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...] = ()
    at: Moment | None = None


def select(records: Sequence[Record], question: Question, at: Moment | None = None) -> InForce:
    """The runs in force (`in_force`), as they stood at a moment; None for their end.

    Raises:
        UndecidedError: all of them are trials, or two different runs claim the same task, arm and seed.
        ClipbenchError: there is no such moment in a run.
    """
    kept, left_out = in_force(records, question)
    if at is not None:
        kept, caveat = as_of(kept, at)
        left_out = [*left_out, caveat]
    return InForce(question, tuple(kept), tuple(cells(kept, question)), tuple(left_out), at)


def in_force(records: Sequence[Record], question: Question) -> tuple[list[Record], list[str]]:
    """The records that verdicts are made from: those of the latest plan, one for each task, arm and seed.

    If the latest plan describes an arm differently (a new learning rate, say) or no longer has it, its other runs
    belong to an earlier version of the spec, whatever their seed. If the question has no plan, or the plan no run of an
    arm on a task, all runs are kept. Divergence is judged by the question's threshold (`judging.endings`).

    With the records come caveats about those that are left out. Raises as `select`.
    """
    records = as_read(_no_trials(records, question), question.diverged)
    current, earlier = _by_plan(records, question)
    kept, copies = one_per_seed(current)
    if not earlier:
        return kept, copies
    arms = dict.fromkeys(record.run.arm.name for record in earlier)
    version = "version of the spec or its code" + (", or of settings no longer selected" if question.tuning else "")
    return kept, [f"Left out: {count(len(earlier), 'run')} of an earlier {version} ({listing(arms)}).", *copies]


def _no_trials(records: Sequence[Record], question: Question) -> list[Record]:
    """The runs that are no trials, of this plan or of an earlier one; UndecidedError if there are none."""
    trials = of_trials(question)
    meant = frozenset(question.keys)
    kept = [
        record
        for record in records
        if record.identity in meant or not (record.run.trial_of or record.identity in trials)
    ]
    if records and not kept:
        raise UndecidedError(
            f"{question.spec} has only trials so far ({count(len(records), 'run')}), and no run to report",
            remedy="run the spec again: it goes on with the trials, and then with what they select",
        )
    return kept


def _by_plan(records: Sequence[Record], question: Question) -> tuple[list[Record], list[Record]]:
    """The runs that the latest plan describes, and those of an earlier version of the spec."""
    keys = set(question.keys)
    planned = grouped((record for record in records if record.identity in keys), _place)
    descriptions: dict[tuple[str, str], set[str]] = {}  # made only where they are needed, since that is slow
    current: list[Record] = []
    earlier: list[Record] = []
    for record in records:
        place = _place(record)
        if place in planned and record.identity not in keys:
            if place not in descriptions:
                descriptions[place] = set(map(_description, planned[place]))
            is_current = _description(record) in descriptions[place]
        else:
            is_current = place in planned or not planned or record.run.arm.name in question.arms
        (current if is_current else earlier).append(record)
    return current, earlier


def one_per_seed(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Keep one record per task, arm and seed: of copies the first that ended; and caveats about unused copies.

    Raises:
        UndecidedError: two runs with different keys claim the same task, arm and seed.
    """
    used: dict[tuple[str, str, int], Record] = {}
    unused: list[tuple[tuple[str, str, int], Record]] = []
    for record in records:
        place = *_place(record), record.run.seed
        earlier = used.setdefault(place, record)
        if earlier.identity != record.identity:
            raise _two_runs(earlier, record)
        if record.outcome and not earlier.outcome:
            used[place] = record
            unused.append((place, earlier))
        elif record is not earlier:
            unused.append((place, record))
    copies = [(used[place], record) for place, record in unused]  # by now a third copy may be used
    return list(used.values()), list(_said_of_copies(copies))


def _said_of_copies(copies: Sequence[tuple[Record, Record]]) -> Iterator[str]:
    """The caveats about copies, from pairs of a used copy and an unused copy."""
    if not copies:
        return
    used, unused = copies[0]
    place = f"the copy in {_folder(used)} is used, the copy in {_folder(unused)} is not"
    more = f"; likewise {count(len(copies) - 1, 'other run')}" if len(copies) > 1 else ""
    yield f"{used.run} exists twice (key {used.identity}): {place}{more}."
    odd = [used.run for used, unused in copies if used.outcome and unused.outcome and _ends(used) != _ends(unused)]
    if odd:
        yield f"Copies of {listing(odd, 3)} end with different weights or losses: were they made alike?"


def _ends(record: Record) -> tuple[str, str]:
    return record.weights, str(final_loss(record))


def _place(record: Record) -> tuple[str, str]:
    return record.run.task.name, record.run.arm.name


def _description(record: Record) -> str:
    """The run's key with its seed set to 0: equal for all seeds of the same description."""
    return replace(record.run, seed=0).key


def _two_runs(first: Record, second: Record) -> UndecidedError:
    fields = differing([first.run, second.run])
    changes = [f"{name} is {listing(values)}" for name, values in fields.items() if name not in LABELS]
    return UndecidedError(
        f"{first.run} exists twice, as two different runs ({_folder(first)}, {first.status}; "
        f"{_folder(second)}, {second.status}): {listing(changes, limit=4) or 'the method changed'}",
        remedy="move one of the two folders away, or compare the results folders one at a time",
    )


def _folder(record: Record) -> str:
    return record.folder or f"run {record.identity}"
