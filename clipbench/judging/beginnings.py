"""Whether runs that are compared began alike: by the fingerprints and the commits that they recorded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.words import listing, seeds_named
from clipbench.records import (
    EVALUATION_BATCHES,
    FIRST_BATCHES,
    INITIAL_WEIGHTS,
    PROBE_BATCHES,
    Record,
    Run,
)

_UNLIKE = {
    INITIAL_WEIGHTS: "did not start from the same weights",
    FIRST_BATCHES: "did not train on the same batches",
    EVALUATION_BATCHES: "were not evaluated on the same batches",
    PROBE_BATCHES: "were not probed on the same batches",
}
_SHORT = 12  # digits of a commit


@dataclass(frozen=True)
class Unlike:
    """Arms of a task that did not begin alike, with the sentence that says so; `runs` are those that stand apart."""

    sentence: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Commits:
    """A name from a hub that stood for several commits; `within`: for arms of one task and seed."""

    sentence: str
    runs: tuple[Run, ...]
    within: bool


def unlike(records: Sequence[Record]) -> list[Unlike]:
    """Arms of one task and seed whose fingerprints differ, though they were made under one numerics_id.

    Elsewhere equal seeds need not give equal bits. What a run did not record is not compared.
    """
    found: dict[tuple[str, str, tuple[str, ...]], list[Run]] = {}
    for (task, _, _), block in _blocks(records).items():
        for name, words in _UNLIKE.items():
            if apart := _apart(block, name):
                arms = tuple(run.arm.name for run in apart)
                found.setdefault((task, words, arms), []).extend(apart[1:])
    return [
        Unlike(f"{listing(arms)} {words} on {task}, {seeds_named(_seeds(runs))}", tuple(runs))
        for (task, words, arms), runs in found.items()
    ]


def by_description(records: Sequence[Record]) -> list[Run]:
    """The runs that no fingerprint compares with all others of their task and seed: they are known as described.

    They recorded none, or some of the others were made under another numerics_id.
    """
    needed = {INITIAL_WEIGHTS, FIRST_BATCHES, EVALUATION_BATCHES}  # what is not probed has no probe batches
    ids: dict[tuple[str, int], set[str]] = {}
    for record in records:
        ids.setdefault(_place(record.run), set()).add(record.environment.numerics_id if record.environment else "")
    comparable = {place for place, found in ids.items() if len(found) == 1 and "" not in found}
    return [
        record.run
        for record in records
        if _place(record.run) not in comparable or not needed <= _fingerprints(record).keys()
    ]


def commits(records: Sequence[Record]) -> list[Commits]:
    """The names that stood for several commits in one comparison."""
    loaded: dict[str, dict[str, list[Run]]] = {}
    for record in records:
        for name, commit in record.outcome.loaded.items() if record.outcome else ():
            loaded.setdefault(name, {}).setdefault(commit, []).append(record.run)
    found = []
    for name, by_commit in loaded.items():
        if len(by_commit) > 1:
            shown = listing(commit[:_SHORT] for commit in by_commit)
            _, *others = sorted(by_commit.values(), key=len, reverse=True)
            places = [set(map(_place, runs)) for runs in by_commit.values()]
            within = len(set().union(*places)) < sum(map(len, places))
            runs = tuple(run for of_one in others for run in of_one)
            found.append(Commits(f"{name} was loaded at {len(by_commit)} commits ({shown})", runs, within))
    return found


def _blocks(records: Iterable[Record]) -> dict[tuple[str, int, str], list[Record]]:
    """By task, seed and numerics_id; a run that says nothing of how it was computed is in none."""
    blocks: dict[tuple[str, int, str], list[Record]] = {}
    for record in records:
        if record.environment:
            blocks.setdefault((*_place(record.run), record.environment.numerics_id), []).append(record)
    return blocks


def _place(run: Run) -> tuple[str, int]:
    return run.task.name, run.seed


def _apart(block: Iterable[Record], name: str) -> list[Run]:
    """A run with the commonest fingerprint, and all that have another; none where it is one for all."""
    by_value: dict[str, list[Run]] = {}
    for record in block:
        if (value := _fingerprints(record).get(name)) is not None:
            by_value.setdefault(value, []).append(record.run)
    if len(by_value) < 2:
        return []
    commonest, *others = sorted(by_value.values(), key=len, reverse=True)
    return [commonest[0], *(run for group in others for run in group)]


def _fingerprints(record: Record) -> Mapping[str, str]:
    return record.outcome.fingerprints if record.outcome else {}


def _seeds(runs: Iterable[Run]) -> list[int]:
    return sorted({run.seed for run in runs})
