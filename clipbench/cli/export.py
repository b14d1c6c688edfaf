"""`clipbench export`: the recorded curves, for other programs."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from clipbench import console
from clipbench.cli.results import in_force_of
from clipbench.errors import ClipbenchError
from clipbench.export import tensorboard
from clipbench.export.curves import csv_texts
from clipbench.judging.words import count
from clipbench.records import Record

ExportFormat = Literal["csv", "tensorboard"]


def export(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Results folders.")],
    to: Annotated[ExportFormat, typer.Option("--to", help="The format.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="PATH", help="The new file, or TensorBoard's new folder.")
    ] = None,
) -> None:
    """Write the recorded curves for other programs.

    The runs are those that `compare` uses: of the latest plan, one for each task, arm and seed. Trials of tuning are
    left out; a run that has not ended has the rows that it has so far.

    csv: one row for each recorded value, with the columns spec, task, arm, seed, step, seconds (of training),
    direction, quantity, value. To stdout without -o.

    tensorboard: one folder for each run below -o, with tags task/quantity@direction; the relative time is training
    time. Needs `pip install tensorboard`.
    """
    if to == "csv":
        records = in_force_of(results)
        if out is None:
            for text in csv_texts(records):
                console.put(text)
            return
        with _new(out) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            file.writelines(csv_texts(records))
        _say_what_was_written(records, out)
        return
    if out is None:
        raise typer.BadParameter("--to tensorboard needs -o FOLDER: TensorBoard reads a folder")
    write = tensorboard.writer()  # before the runs are read: it may not be installed
    records = in_force_of(results)
    with _new(out) as draft:
        draft.mkdir()
        for record in records:
            write(record, draft)
    _say_what_was_written(records, out)
    console.say(f"next: tensorboard --logdir {out}")


def _say_what_was_written(records: list[Record], out: Path) -> None:
    console.put(str(out))
    console.say(f"exported {count(len(records), 'run')}")


@contextmanager
def _new(path: Path) -> Iterator[Path]:
    """A file or folder that is written whole or not at all: fill the path given, and it becomes `path` at the end.

    Raises:
        ClipbenchError: something has that name already, or it cannot be written.
    """
    if os.path.lexists(path):
        remedy = "delete it first, or choose another name with -o"
        raise ClipbenchError("this exists already, and is not overwritten", where=str(path), remedy=remedy)
    draft = path.absolute().with_name(f".{path.name}.{os.getpid()}")
    try:
        if not draft.parent.exists():
            draft.parent.mkdir(parents=True)
        yield draft
        draft.rename(path)
    except OSError as error:
        raise ClipbenchError(f"cannot write this ({error.strerror})", where=str(path)) from error
    finally:
        with suppress(OSError):  # it may have failed for a name that is too long, or that lies below a file
            if draft.is_dir():
                shutil.rmtree(draft)
            draft.unlink(missing_ok=True)
