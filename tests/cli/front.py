"""The front door in this process: one command, its exit code and what it wrote to each stream."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipbench import cli, store
from clipbench.questions import Question
from clipbench.records import Record


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


def asking(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """A function that gives one command; the words are told apart by str()."""

    def command(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["clipbench", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, out, err)

    return command


def stored(records: Sequence[Record], results: Path, *, question: Question | None = None) -> Path:
    """Records as the folder that a run of their spec would have left."""
    for record in records:
        folder = store.folder_of(record.run, results)
        store.describe(record.run, folder)
        writer = store.Writer(folder)
        for row in record.measurements:
            writer(row)
        writer.sync()
        writer.close()
        if record.outcome:
            store.finish(folder, record.outcome, record.environment)
    if question:
        store.write_question(question, results)
    return results
