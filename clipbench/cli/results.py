"""The runs in the folders that a command is given, and what they were made to answer."""

import gc
from collections.abc import Sequence
from pathlib import Path

from clipbench import console, store
from clipbench.records import Question, Record


def read(paths: Sequence[Path]) -> list[Record]:
    """All runs below some folders; those that cannot be read are named on stderr, and the rest still reads."""
    records: list[Record] = []
    for path in paths:
        found, errors = store.read_all(path)
        records += found
        for error in errors:
            console.say(f"not read: {error}", style="yellow")
    gc.freeze()  # what was read stays until the end: the collector need not go through it again and again
    return records


def by_spec(records: Sequence[Record]) -> dict[str, tuple[Question, list[Record]]]:
    groups: dict[str, tuple[Question, list[Record]]] = {}
    for record in records:
        if record.run.spec not in groups:
            asked = store.question_of(Path(record.folder))
            first = record.run.arm.name
            groups[record.run.spec] = asked or Question(record.run.spec, record.run.spec, (first,), first), []
        groups[record.run.spec][1].append(record)
    return groups
