"""What a run writes while it is at work: measurements as they come, a sign of life, its log."""

import csv
import hashlib
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.records import Run
from clipbench.store import forks, opening
from clipbench.store.atomic import replace_content
from clipbench.store.runs import ANEW, HEADING, HEARTBEAT, JOB, LOG, MEASUREMENTS, measured, read_run_file

LARGE = 1 << 20  # bytes of rows that are not kept waiting in memory
END_OF_LOG = 1 << 20  # bytes of a log that are read


class Heartbeat(TypedDict):
    """How far a run has come, and whether its worker was asked to stop."""

    progress: Annotated[float, Field(ge=0, le=1)]
    step: Annotated[float, Field(ge=0)]
    loss: float
    stopping: bool


class ClusterJob(TypedDict):
    """The job of a cluster that makes a run: its array's name, and its place in the array."""

    name: Annotated[str, Field(pattern="^clipbench-[0-9a-f]{12}$")]
    index: Annotated[int, Field(ge=0)]


_HEARTBEAT = TypeAdapter(Heartbeat)
_JOB = TypeAdapter(ClusterJob)


def begin(folder: Path) -> Run:
    """The run that this process is to make; from here on, no fork of it may write there."""
    forks.hold(folder)
    (folder / HEARTBEAT).unlink(missing_ok=True)  # of an earlier process, which may have been stopping
    return read_run_file(folder).run


class Writer:
    """The append-only writer of one run's measurements; it holds the run's lock while it is open.

    Rows wait in this process's memory until `sync` appends them: no fork of it has a file whose buffer it could write
    out once more. A second writer on the same run is refused, and a fork that uses this one.

    Args:
        folder: the run's.
        kept: the length in bytes of what a checkpoint vouches for. Rows written after it are taken again, so they are
            cut off.

    Raises:
        StoreError: another process makes this run, or there is less than the checkpoint vouches for.
    """

    def __init__(self, folder: Path, *, kept: int = 0) -> None:
        self._folder = folder
        try:
            self._file = opening.opened(folder / MEASUREMENTS, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            where = str(folder / MEASUREMENTS)
            raise StoreError(f"cannot write this file ({error.strerror})", where=where, remedy=ANEW) from error
        try:
            self._begin(kept)
        except BaseException:
            os.close(self._file)
            raise
        forks.hold(folder, self._file)
        self._rows = bytearray()
        self._line = io.StringIO()
        self._csv = csv.writer(self._line, lineterminator="\n")
        self._step, self._places = -1, set[tuple[str, str]]()

    def _begin(self, kept: int) -> None:
        if not opening.locked(self._file):
            raise StoreError("another process is making this run", where=str(self._folder))
        if kept and not has_recorded(self._folder, kept):  # a file that is made longer is filled up with NUL bytes
            reason = f"the checkpoint is of {kept} bytes of measurements, which are not there"
            raise StoreError(reason, where=str(self._folder / MEASUREMENTS), remedy=ANEW)
        os.ftruncate(self._file, kept)
        if not kept:
            self._append(bytearray(f"{HEADING}\n".encode()))

    @property
    def unsynced(self) -> bool:
        """Whether there are rows that did not reach the disk yet."""
        return bool(self._rows)

    def __call__(self, row: Measurement) -> None:
        """Take a row.

        Raises:
            StoreError: there is one of its step, direction and quantity, or this process is a fork of the worker.
        """
        forks.refuse_in_a_fork(self._folder)
        self._refuse_a_second(row)
        self._csv.writerow((row.step, repr(row.seconds), row.direction, row.quantity, repr(row.value)))
        line = self._line.getvalue()
        self._line.seek(0)
        self._line.truncate()
        self._rows += line.encode()
        if len(self._rows) >= LARGE:
            self.sync()

    def _refuse_a_second(self, row: Measurement) -> None:
        if row.step != self._step:
            self._step, self._places = row.step, set()
        place = row.direction, row.quantity
        if place in self._places:
            raise StoreError(f"{measured(row)} was recorded twice", where=str(self._folder / MEASUREMENTS))
        self._places.add(place)

    def sync(self) -> int:
        """Bring every row so far to the disk and return the length of the file in bytes.

        Raises:
            StoreError: there would be more than can be read again, or this process is a fork of the worker.
        """
        forks.refuse_in_a_fork(self._folder)
        if os.fstat(self._file).st_size + len(self._rows) > opening.MOST:
            self._rows.clear()
            message = f"a run records no more than {opening.MOST} bytes of measurements"
            raise StoreError(message, where=str(self._folder / MEASUREMENTS), remedy="evaluate or measure less often")
        self._append(self._rows)
        os.fsync(self._file)
        return os.fstat(self._file).st_size

    def _append(self, rows: bytearray) -> None:
        while rows:  # what a full disk took of them is not written a second time
            del rows[: os.write(self._file, rows)]

    def close(self) -> None:
        """Let the run go. Rows that were not brought to the disk are dropped: its digest may be written already."""
        if forks.is_ours(self._folder):
            forks.let_go(self._folder)
            os.close(self._file)


def has_recorded(folder: Path, size: int) -> bool:
    """Whether the first `size` bytes of a run's measurements are there and are whole rows, its heading included."""
    try:
        with opening.reading(folder / MEASUREMENTS) as file:
            file.seek(size - 1)
            return size > len(HEADING) and file.read(1) == b"\n"
    except (OSError, ValueError):  # no file, or no size
        return False


def recorded_sha256(folder: Path, size: int) -> str:
    """Of the first `size` bytes of a run's measurements the hex SHA-256.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with opening.reading(folder / MEASUREMENTS) as file:
        while size > 0 and (part := file.read(min(size, LARGE))):
            digest.update(part)
            size -= len(part)
    return digest.hexdigest()


def write_heartbeat(folder: Path, *, progress: float, step: int, loss: float, stopping: bool = False) -> None:
    """A sign of life for the supervisor: the latest of these, not a history; never worth an fsync."""
    forks.refuse_in_a_fork(folder)
    path = folder / f".{HEARTBEAT}"
    beat = Heartbeat(progress=progress, step=step, loss=loss, stopping=stopping)
    with os.fdopen(opening.created(path), "w") as file:
        json.dump(beat, file)
    path.replace(folder / HEARTBEAT)


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """The latest sign of life; None where there is none, or none that can be read."""
    with suppress(OSError, ValidationError):
        return _HEARTBEAT.validate_json(opening.content(folder / HEARTBEAT, opening.MOST_JSON), strict=True)
    return None


def write_job(folder: Path, name: str, index: int) -> None:
    """Remember which job makes a run, for a command that comes later.

    Raises:
        StoreError: it cannot be written.
    """
    replace_content(folder / JOB, _JOB.dump_json(ClusterJob(name=name, index=index)))


def read_job(folder: Path) -> ClusterJob | None:
    """Which job makes a run; None where none does, or none that can be read. Whether there is one, SLURM says."""
    with suppress(OSError, ValidationError):
        return _JOB.validate_json(opening.content(folder / JOB, opening.MOST_JSON), strict=True)
    return None


def written_at(path: Path) -> int:
    """When a file was last written, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def open_log(folder: Path) -> int:
    """The descriptor that what a run prints is appended to.

    Raises:
        StoreError: it cannot be opened, or is no ordinary file.
    """
    path = folder / LOG
    try:
        return opening.opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise StoreError(f"cannot write this file ({error.strerror})", where=str(path)) from error


def read_log(folder: Path) -> str:
    """The end of what a run printed; empty where it printed nothing, or nothing that can be read."""
    with suppress(OSError):
        return opening.end_of(folder / LOG, END_OF_LOG).decode(errors="replace")
    return ""
