"""Reads the runs in the folders that a command is given, with the question of their spec."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clipbench import console, store
from clipbench.errors import StoreError, UndecidedError
from clipbench.judging.current import select
from clipbench.judging.endings import as_read
from clipbench.judging.words import count, listing
from clipbench.questions import DIVERGED, Question
from clipbench.records import Record


def read(paths: Sequence[Path]) -> list[Record]:
    """All readable runs below some folders; the unreadable runs are named on stderr."""
    return read_with_errors(paths)[0]


def read_with_errors(paths: Sequence[Path]) -> tuple[list[Record], list[StoreError]]:
    """The same, with the errors that were printed on stderr."""
    records: list[Record] = []
    errors: list[StoreError] = []
    for path in paths:
        readable, unread = store.read_all(path)
        records += readable
        errors += unread
    for error in errors:
        console.complain(error, before="not read", style="yellow")
    return records, errors


def unread_of(spec: str, errors: Sequence[StoreError]) -> tuple[str, ...]:
    """The caveat about runs of this spec that cannot be read; empty if all can."""
    folders = [Path(error.where).parent for error in errors]
    of_spec = [folder for folder in folders if store.place_of(folder)[0] == spec]
    verb = "is" if len(of_spec) == 1 else "are"
    caveat = f"{count(len(of_spec), 'unreadable run')} {verb} left out: {listing(of_spec, 3)}."
    return (caveat,) if of_spec else ()


def by_spec(records: Sequence[Record]) -> dict[str, tuple[Question, list[Record]]]:
    """The records of each spec with its question; the plans of several folders are joined."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.run.spec, []).append(record)
    return {spec: (_question(spec, of_spec), of_spec) for spec, of_spec in groups.items()}


def in_force_of(paths: Sequence[Path]) -> list[Record]:
    """The runs that verdicts are made from, spec by spec; caveats are printed on stderr.

    Tasks are as they first appear, arms in the question's order, seeds ascending.

    Raises:
        UndecidedError: there are no runs, or those of a spec cannot be told apart (see `judging.current.in_force`).
    """
    records = read(paths)
    if not records:
        raise UndecidedError(f"no runs in {', '.join(map(str, paths))}", remedy="runs are made by `clipbench run`")
    kept: list[Record] = []
    for question, of_spec in by_spec(records).values():
        selected = select(of_spec, question)
        for caveat in selected.left_out:
            console.say(f"caveat: {caveat}")
        kept += [record for cell in selected.cells for record in cell.records]
    return kept


def ends_read(records: Sequence[Record]) -> list[Record]:
    """The records with divergence judged by the threshold in the question of their spec."""
    shares: dict[str, float] = {}
    judged = []
    for record in records:
        of_spec = os.path.normpath(f"{record.folder}/../../..")  # as text, and by name: a run may be given as "."
        if of_spec not in shares:
            shares[of_spec] = _share(Path(of_spec))
        judged += as_read([record], shares[of_spec])
    return judged


def _share(of_spec: Path) -> float:
    """The divergence threshold in a folder's question; the default if the folder has no readable question."""
    try:
        question = store.read_question(of_spec)
    except StoreError as error:
        console.complain(error, before="not read", style="yellow")
        question = None
    return DIVERGED if question is None else question.diverged


def _question(spec: str, records: Sequence[Record]) -> Question:
    arms = dict.fromkeys(record.folder.rpartition("/")[0] for record in records)  # as text: a Path a record is slow
    folders = dict.fromkeys(Path(os.path.normpath(f"{arm}/../..")) for arm in arms)
    try:
        asked = [question for folder in folders if (question := store.read_question(folder)) is not None]
    except StoreError as error:  # without the question no verdict is possible
        raise UndecidedError(error.message, where=error.where, remedy=error.remedy) from error
    if not asked:
        first = records[0].run.arm.name
        return Question(spec, spec, (first,), first)
    together = asked[0]
    for question in asked[1:]:
        both = store.joined(together, question)
        if both is None:
            console.say(f"the folders of {spec} have different questions: the first question is used", style="yellow")
        together = both or replace(together, keys=(*together.keys, *question.keys))
    return together
