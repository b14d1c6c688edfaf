"""A slot of a cluster on the machine where it is: it makes one run at a time, in a process forked for that run.

Where it does not see the run's folder, it makes the run in a folder of its own, and hands over the files that change.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from clipbench import store
from clipbench.running.engines import Handle, Need
from clipbench.running.engines.local import LocalEngine, hosted
from clipbench.running.entering import enter_apart

# Of a run's folder, in the order in which they are put in place: the record, which says that a run is done, at the end.
_TAKEN = (store.MEASUREMENTS, store.CHECKPOINT, store.RUN)
_BROUGHT = (store.HEARTBEAT, store.LOG, store.MEASUREMENTS, store.CHECKPOINT, store.RUN)
_MOST = 1 << 40  # bytes of a checkpoint


class Seen(NamedTuple):
    """A run as its actor sees it: its exit code, None while it is at work, and files that have changed."""

    code: int | None
    files: Mapping[str, bytes]


class Seat:
    """A slot, in a process of its own; a few of its methods run at a time."""

    def __init__(self, need: Need, side_by_side: int, cwd: str, path: Sequence[str]) -> None:
        with contextlib.suppress(OSError):
            os.chdir(cwd)
        sys.path += [folder for folder in path if folder not in sys.path]  # the user's modules are found as there
        self._engine: LocalEngine = hosted(need, side_by_side=side_by_side, entry=enter_apart)
        self._handle: Handle | None = None
        self._own: str = ""  # a folder of this machine, where the run's own is not seen
        self._sent: dict[str, tuple[int, int]] = {}

    def begin(self, folder: str, marked: str, files: Mapping[str, bytes] | None) -> bool:
        """Start a run's worker; False where its folder, with this `mark`, is not seen here and no `files` are given."""
        seen = marked == mark(Path(folder))
        if not seen and files is None:
            return False
        if files is not None:
            self._own = tempfile.mkdtemp(prefix="clipbench-run-")
            try:
                for name, each in files.items():
                    Path(self._own, name).write_bytes(each)
            except OSError:
                shutil.rmtree(self._own, ignore_errors=True)
                raise
            self._sent = dict(_states(Path(self._own)))
        self._handle = self._engine.submit(Path(self._own or folder))
        return True

    def look(self, seconds: float) -> Seen:
        """The run when it has ended, or after so many seconds."""
        assert self._handle is not None
        deadline = time.monotonic() + seconds
        while (code := self._engine.poll(self._handle)) is None and time.monotonic() < deadline:
            self._engine.wait(deadline - time.monotonic())
        files = self._changed(ended=code is not None) if self._own else {}
        if code is not None and self._own:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = ""
        return Seen(code, files)

    def cancel(self, *, kill: bool) -> None:
        """As an engine does."""
        if self._handle is not None:
            self._engine.cancel(self._handle, kill=kill)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What a function answers here."""
        return function(*args, **kwargs)

    def _changed(self, *, ended: bool) -> dict[str, bytes]:
        """The files that have changed: measurements with each checkpoint, which vouches for some, and at the end."""
        own = Path(self._own)
        states = dict(_states(own))
        new = [name for name, state in states.items() if self._sent.get(name) != state]
        whole = ended or store.CHECKPOINT in new
        files = {}
        # The checkpoint is read before the measurements that it vouches for: these only grow.
        for name in sorted(new, key=lambda name: name != store.CHECKPOINT):
            if whole or name in (store.HEARTBEAT, store.CHECKPOINT):
                with contextlib.suppress(FileNotFoundError):  # a worker that ends takes its checkpoint away
                    files[name] = (own / name).read_bytes()
                    self._sent[name] = states[name]
        return files


def mark(folder: Path) -> str:
    """What tells a run's folder from another at the same place on another machine; empty where there is none."""
    with contextlib.suppress(OSError):
        file = folder / store.RUN
        status = file.stat()
        return f"{status.st_ino} {status.st_mtime_ns} {sha256(store.content(file)).hexdigest()}"
    return ""


def _states(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """The files of a run that are there, each with what changes when it is written."""
    for name in _BROUGHT:
        with contextlib.suppress(OSError):
            status = (folder / name).stat()
            yield name, (status.st_mtime_ns, status.st_size)


def content(folder: Path) -> dict[str, bytes]:
    """What a worker elsewhere needs to make a run, or to go on with it."""
    there = (name for name in _TAKEN if (folder / name).exists())
    return {name: store.content(folder / name, most=_MOST) for name in there}


def put_in_place(folder: Path, seen: Seen) -> None:
    """Write the files of a run that have come; raises OSError where one cannot be."""
    for name in _BROUGHT:
        if name in seen.files:
            with store.replacing(folder / name) as draft:
                draft.write_bytes(seen.files[name])
    if store.RUN in seen.files and store.read_outcome(folder) is not None:
        for leftover in (store.CHECKPOINT, store.HEARTBEAT):
            (folder / leftover).unlink(missing_ok=True)
