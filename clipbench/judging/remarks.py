"""Remarks that runs recorded about their code, data and arms, each text once."""

from collections.abc import Iterator, Sequence

from clipbench.judging.words import brief, listing
from clipbench.records import CODE, DATA, LIFE, Record

_UNSEEN = "if it changes, these runs are not made again"


def remarks(records: Sequence[Record]) -> Iterator[str]:
    """Code and data that a run's key does not cover, and arms that may not do what their spec says."""
    for whose in (CODE, DATA):
        for text, arms in _texts(records, whose).items():
            yield f"{listing(arms)}: {text}: {_UNSEEN}."
    for text, arms in _texts(records, LIFE).items():
        yield f"{listing(arms)}: {text}."


def _texts(records: Sequence[Record], whose: str) -> dict[str, list[str]]:
    """Each text, with the arms whose runs have it."""
    arms_of: dict[str, dict[str, None]] = {}
    for record in records:
        for text in record.outcome.remarks.get(whose, ()) if record.outcome else ():
            arms_of.setdefault(brief(text).rstrip("."), {})[record.run.arm.name] = None
    return {text: list(arms) for text, arms in arms_of.items()}
