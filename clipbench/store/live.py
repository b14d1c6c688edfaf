"""What a run writes while it is at work: measurements as they come, a sign of life, its log."""

import csv
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.store.runs import COLUMNS, HEARTBEAT, LOG, MEASUREMENTS


class Writer:
    """The append-only writer of one run's measurements; it holds the run's lock while it is open.

    `kept` is the length in bytes of what a checkpoint vouches for: rows written after it are taken again, so they
    are cut off. A second writer on the same run is refused.
    """

    def __init__(self, folder: Path, *, kept: int = 0) -> None:
        self._path = folder / MEASUREMENTS
        self._file: TextIO = self._path.open("a+", newline="", encoding="utf-8")
        try:
            # Released by the system when the process dies, however it dies.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StoreError("another process is making this run", where=str(folder)) from error
        self._file.truncate(kept)
        self.unsynced = False
        self._rows = csv.writer(self._file, lineterminator="\n")
        if kept == 0:
            self._rows.writerow(COLUMNS)

    def __call__(self, row: Measurement) -> None:
        self._rows.writerow((row.step, repr(row.seconds), row.direction, row.quantity, repr(row.value)))
        self.unsynced = True

    def sync(self) -> int:
        """Bring every row so far to the disk and return the length of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.unsynced = False
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


def write_heartbeat(folder: Path, *, progress: float, step: int, loss: float, stopping: bool = False) -> None:
    """A sign of life for the supervisor: the latest of these, not a history; never worth an fsync."""
    path = folder / f".{HEARTBEAT}"
    path.write_text(json.dumps({"progress": progress, "step": step, "loss": loss, "stopping": stopping}))
    path.replace(folder / HEARTBEAT)


def read_heartbeat(folder: Path) -> dict[str, float] | None:
    with suppress(OSError, ValueError):
        content: dict[str, float] = json.loads((folder / HEARTBEAT).read_text())
        return content
    return None


def read_log(folder: Path) -> str:
    path = folder / LOG
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
