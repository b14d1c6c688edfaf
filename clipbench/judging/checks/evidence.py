"""The input of checks (evidence) and their output (findings)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Literal, TypeVar

from clipbench.budget import Unit
from clipbench.judging.cells import Cell, grouped
from clipbench.judging.moments import Moment
from clipbench.questions import Question
from clipbench.records import Record, Run

T = TypeVar("T")
Severity = Literal["ok", "note", "warn", "fail", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """A fact about how runs were made, in a sentence; `about` has the runs at fault, or the names of arms or keys.

    `note`: nothing is wrong, but a reader of the table should know it. `warn`: the comparison is weaker for it.
    `fail`: it is not fair.
    """

    severity: Severity
    sentence: str
    about: Sequence[Run | str] = ()


@dataclass(frozen=True)
class Effort:
    """What went into choosing the settings of one arm on one task.

    - `trials`: how many settings were tried, failed ones among them; `keys` are the keys of their runs.
    - `crashed`: those of the runs that failed; `absent`: the keys of those that are not among the results.
    - `searched`: the options that were varied; `edges` says of each whose best value is the outermost one tried what
      that value is: `lr of sgd on code_lm is 3, the highest value tried`.
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
    """The reported runs and how their settings were chosen. Without cells, it is a spec that was not run.

    `at`: the moment at which the runs are read; None for their end.
    """

    question: Question
    runs: tuple[Run, ...]
    cells: tuple[Cell, ...] = ()
    efforts: tuple[Effort, ...] = ()
    at: Moment | None = None
    _facts: dict["Judge", tuple[Finding, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def has_results(self) -> bool:
        """Whether anything was run."""
        return bool(self.cells)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """The records of the runs."""
        return tuple(record for cell in self.cells for record in cell.records)

    @cached_property
    def by_task(self) -> Mapping[str, tuple[Run, ...]]:
        """The runs of each task."""
        return grouped(self.runs, lambda run: run.task.name)

    @cached_property
    def finished(self) -> tuple[Record, ...]:
        """The records of the runs that finished."""
        return tuple(each for each in self.records if each.status == "finished")

    def facts(self, judge: "Judge") -> tuple[Finding, ...]:
        """What a judge finds. Each is asked once: the audit and the caveats beneath a table state the same facts."""
        if judge not in self._facts:
            self._facts[judge] = tuple(judge(self))
        return self._facts[judge]


Judge = Callable[[Evidence], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """One demand of a fair comparison. `judge` yields the facts against it; where it yields none, the demand is met.

    `needs_runs`: what it asks is not known of a spec before it is run.
    """

    name: str
    demand: str
    judge: Judge
    needs_runs: bool = False

    def findings(self, evidence: Evidence) -> list[Finding]:
        """What the judge finds, with an `ok` where all of it is notes."""
        if self.needs_runs and not evidence.has_results:
            return [Finding("not applicable", "Nothing was run yet.")]
        findings = evidence.facts(self.judge)
        met = all(finding.severity == "note" for finding in findings)
        return [Finding("ok", self.demand), *findings] if met else [*findings]


def numerics_id(record: Record) -> str:
    """Under which numerical set-up a run was computed; empty where it does not say."""
    return record.environment.numerics_id if record.environment else ""


@dataclass(frozen=True)
class Split(Generic[T]):
    """Items by a value that should be the same for all: the values, the commonest first, and an item with each.

    `odd` are the items that do not have the commonest value; none where there is a single one.
    """

    values: list[object]
    examples: list[T]
    odd: list[T]


def split(items: Sequence[T], value: Callable[[T], object]) -> Split[T]:
    """By equality, not by hash: options are mappings."""
    groups: list[tuple[object, list[T]]] = []
    for item in items:
        key = value(item)
        for known, group in groups:
            if known == key:
                group.append(item)
                break
        else:
            groups.append((key, [item]))
    groups.sort(key=lambda group: -len(group[1]))
    values, examples = [key for key, _ in groups], [group[0] for _, group in groups]
    return Split(values, examples, [item for _, group in groups[1:] for item in group])
