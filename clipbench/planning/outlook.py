"""The state of a spec's runs: its stage, runs that exist under earlier names, and missing runs."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from clipbench import store
from clipbench.planning.staging import Stage, staged
from clipbench.records import FORMAT, Record, Run
from clipbench.spec import Spec


@dataclass(frozen=True)
class Outlook:
    """A spec's stage, and its runs that exist under earlier names, which count as made."""

    stage: Stage
    renamed: tuple[store.Renamed, ...]

    def missing(self, results: Path) -> list[Run]:
        """The runs to make of those that are known by now."""
        stage, there = self.stage, {each.run.key for each in self.renamed}
        return still_to_make([*stage.trials, *stage.runs], results, spent={*stage.spent, *there})


def still_to_make(runs: Iterable[Run], results: Path, *, spent: Collection[str]) -> list[Run]:
    """The runs to make: one that crashed is made again, unless it is a trial that is spent."""
    return [run for run in store.missing(runs, results) if run.key not in spent]


def look(spec: Spec, results: Path, records: Iterable[Record], *, extend: bool = False) -> Outlook:
    """The state of a spec's runs.

    Args:
        spec: what is asked.
        results: the folder of all specs.
        records: those in the spec's folder; they decide the stage only where arms are tuned.
        extend: give every arm another trial while an arm's best lies at an edge, as `staged` has it.

    Raises:
        ClipbenchError: as `staged` raises it.
    """
    known = [each for each in records if _is_a_plans(each)] if spec.tuning is not None else []
    while True:
        stage = staged(spec, known, extend=extend)
        to_make = [*stage.trials, *stage.runs]
        keys = {run.key for run in to_make}
        further = [run for run in _trials_of_an_extension(spec, known) if run.key not in keys]
        renamed = store.renamed([*to_make, *further], results, arms=_arms(spec, stage, known))
        read = {record.identity for record in known}
        new = [each.folder for each in renamed if each.run.key not in read]
        if spec.tuning is None or not new:
            return Outlook(stage, tuple(each for each in renamed if each.run.key in keys))
        known += map(store.read, new)


def _is_a_plans(record: Record) -> bool:
    """Whether a run can be one of a plan: its key is that of what it describes."""
    return record.format == FORMAT and record.key == record.run.key


def _trials_of_an_extension(spec: Spec, records: Sequence[Record]) -> Sequence[Run]:
    """The trials that --extend-grid would add: those that are there count without it."""
    can_be_extended = spec.tuning is not None and spec.tuning.search == "grid" and spec.only is None
    return staged(spec, records, extend=True).trials if can_be_extended else ()


def _arms(spec: Spec, stage: Stage, records: Sequence[Record]) -> set[tuple[str, str]]:
    """The names of the tasks and arms that the plan has runs of, whichever are asked for now; trials are arms, too."""
    whole = stage if spec.only is None else staged(replace(spec, only=None), records)
    trials = {(run.task.name, run.arm.name) for run in whole.trials}
    return trials | set(product((task.name for task in spec.tasks), whole.question.arms))
