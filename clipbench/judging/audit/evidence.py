"""What the rules of fairness look at: the reported runs, how they ended, and how their settings were chosen."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from clipbench.budget import Unit
from clipbench.judging.cells import Cell, cells
from clipbench.questions import Question
from clipbench.records import Record, Run

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """What went into choosing the settings of one arm on one task.

    - `trials`: how many settings were tried, failed ones among them; `keys` are the keys of their runs.
    - `crashed`: those of the runs that failed; `absent`: the keys of those that are not among the results.
    - `searched`: the options that were varied; `edges`: those of them whose best value is the outermost one tried.
    - `seeds`: what the trials ran on; `spent`: the budget of all trials together, by unit.
    - `declared`: the spec says that this is tuning. Otherwise it is a grid whose every point is an arm of the table,
      and choosing among them is left to the reader.
    """

    task: str
    arm: str
    trials: int
    seeds: tuple[int, ...]
    searched: tuple[str, ...]
    spent: Mapping[Unit, float]
    edges: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    declared: bool = True


@dataclass(frozen=True)
class Evidence:
    """The runs that are reported, as records where they were made, and how their settings were chosen.

    `made` tells whether anything was run: of a spec alone only what can be said beforehand is said.
    """

    question: Question
    runs: tuple[Run, ...]
    records: tuple[Record, ...] = ()
    efforts: tuple[Effort, ...] = ()
    made: bool = True

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cells(self.records, self.question))

    @cached_property
    def by_key(self) -> Mapping[str, Run]:
        """The runs by the keys they were made under, which a later clipbench may not give them any more."""
        if self.made:
            return {record.identity: record.run for record in self.records}
        return {run.key: run for run in self.runs}

    @cached_property
    def by_task(self) -> Mapping[str, tuple[Run, ...]]:
        return grouped(self.runs, lambda run: run.task.name)


def grouped(items: Iterable[T], by: Callable[[T], str]) -> dict[str, tuple[T, ...]]:
    """The items by a name, in order of appearance."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return {name: tuple(group) for name, group in groups.items()}


def odd_ones(items: Sequence[T], of: Callable[[T], object]) -> tuple[list[object], list[T]]:
    """The values that `of` has over the items, the commonest first, and the items that do not have the commonest.

    By equality, not by hash: options are mappings.
    """
    values: list[object] = []
    groups: list[list[T]] = []
    for item in items:
        value = of(item)
        try:
            groups[values.index(value)].append(item)
        except ValueError:
            values.append(value)
            groups.append([item])
    order = sorted(range(len(values)), key=lambda place: -len(groups[place]))
    return [values[place] for place in order], [item for place in order[1:] for item in groups[place]]
