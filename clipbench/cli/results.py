"""The runs in the folders that a command is given, and what they were made to answer."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clipbench import console, store
from clipbench.errors import StoreError, UndecidedError
from clipbench.judging.endings import as_read
from clipbench.judging.words import count, listing
from clipbench.questions import DIVERGED, Question
from clipbench.records import Record


def read(paths: Sequence[Path]) -> list[Record]:
    """All runs below some folders; those that cannot be read are named on stderr, and the rest still reads."""
    return read_with_errors(paths)[0]


def read_with_errors(paths: Sequence[Path]) -> tuple[list[Record], list[StoreError]]:
    """The same, with what was said on stderr."""
    records: list[Record] = []
    errors: list[StoreError] = []
    for path in paths:
        found, unread = store.read_all(path)
        records += found
        errors += unread
    for error in errors:
        console.complain(error, before="not read", style="yellow")
    return records, errors


def unread_of(spec: str, errors: Sequence[StoreError]) -> tuple[str, ...]:
    """What a table of this spec is to say of its runs that cannot be read."""
    folders = [Path(error.where).parent for error in errors]
    of_spec = [folder for folder in folders if store.place_of(folder)[0] == spec]
    verb = "is" if len(of_spec) == 1 else "are"
    said = f"{count(len(of_spec), 'run')} cannot be read and {verb} in no row: {listing(of_spec, 3)}."
    return (said,) if of_spec else ()


def by_spec(records: Sequence[Record]) -> dict[str, tuple[Question, list[Record]]]:
    """The records of each spec with its question: of several folders, their plans together."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.run.spec, []).append(record)
    return {spec: (_question(spec, found), found) for spec, found in groups.items()}


def ends_read(records: Sequence[Record]) -> list[Record]:
    """The records, each with its end as the question of its spec has it read."""
    shares: dict[str, float] = {}
    found = []
    for record in records:
        of_spec = os.path.normpath(f"{record.folder}/../../..")  # as text, and by name: a run may be given as "."
        if of_spec not in shares:
            shares[of_spec] = _share(Path(of_spec))
        found += as_read([record], shares[of_spec])
    return found


def _share(of_spec: Path) -> float:
    """What the question in a folder says; the default where there is none, or none that can be read."""
    try:
        question = store.read_question(of_spec)
    except StoreError as error:
        console.complain(error, before="not read", style="yellow")
        question = None
    return DIVERGED if question is None else question.diverged


def _question(spec: str, records: Sequence[Record]) -> Question:
    arms = dict.fromkeys(record.folder.rpartition("/")[0] for record in records)  # as text: a Path takes its time
    folders = dict.fromkeys(Path(arm).parents[1] for arm in arms)
    try:
        asked = [question for folder in folders if (question := store.read_question(folder)) is not None]
    except StoreError as error:  # what its runs were to answer is not known, so nothing of them is decided
        raise UndecidedError(error.found, where=error.where, remedy=error.remedy) from error
    if not asked:
        first = records[0].run.arm.name
        return Question(spec, spec, (first,), first)
    together = asked[0]
    for question in asked[1:]:
        both = store.joined(together, question)
        if both is None:
            console.say(f"the folders of {spec} ask for different things: the first is answered", style="yellow")
        together = both or replace(together, keys=(*together.keys, *question.keys))
    return together
