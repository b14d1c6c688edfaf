"""What each group of an arm takes: by its rule, and of the parameters of a model once they are known."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.words import count, listing
from clipbench.records import Arm, Group, Record, Run
from clipbench.report.numbers import NONE
from clipbench.report.table import Column, Table, text_column

GroupedNames = Mapping[str, Sequence[str]]  # names of parameters, by the group that took them

_NAMED = 2  # parameters


@dataclass(frozen=True)
class GroupRow:
    """A group of an arm on a task; `taken` has the names of its parameters, None where they are not known."""

    task: str
    arm: str
    group: Group
    taken: Sequence[str] | None


def rows(task: str, arm: Arm, taken: GroupedNames, *, name: str = "") -> list[GroupRow]:
    """The groups of an arm; `name` is what it is called, its own name by default."""
    return [GroupRow(task, name or arm.name, group, taken.get(group.name)) for group in arm.groups]


def planned_rows(runs: Iterable[Run], made: Iterable[Record]) -> list[GroupRow]:
    """The groups of the arms to run; what they take is known from runs of an arm with the same groups on the task."""
    known = {
        (record.run.task.name, _rules(record.run.arm)): record.outcome.groups
        for record in made
        if record.outcome is not None and record.outcome.groups
    }
    arms = {(run.task.name, run.trial_of or run.arm.name): run.arm for run in runs}
    return [
        row
        for (task, name), arm in arms.items()
        for row in rows(task, arm, known.get((task, _rules(arm)), {}), name=name)
    ]


def _rules(arm: Arm) -> tuple[object, ...]:
    return tuple((group.name, group.kind, group.names) for group in arm.groups)


def table(of_groups: Sequence[GroupRow], *, of_a_run: bool = False) -> Table[GroupRow]:
    """The table of some groups; without task and arm for a single run."""
    order = ("group", "optimizer", "fits", "takes")
    return Table(
        "groups",
        _COLUMNS,
        of_groups,
        title="Groups",
        order=order if of_a_run else ("task", "arm", *order),
        indent=2 * of_a_run,
    )


def _takes(row: GroupRow) -> str:
    if row.taken is None:
        return NONE
    return f"{count(len(row.taken), 'parameter')}: {listing(row.taken, limit=_NAMED)}"


_COLUMNS: tuple[Column[GroupRow], ...] = (
    text_column("task", "the task's name", lambda row: row.task),
    text_column("arm", "the arm's name", lambda row: row.arm),
    text_column("group", "the group's name", lambda row: row.group.name),
    text_column("optimizer", "what steps its parameters", lambda row: row.group.optimizer.use),
    text_column("fits", "the kind and names of what fits", lambda row: row.group.matcher or "the rest"),
    Column(
        "takes",
        "the parameters that the group takes, once a run or validate --build has shown them",
        lambda row: row.taken,
        "takes",
        lambda row: (_takes(row),),
        right=False,
        wraps=True,
    ),
)
