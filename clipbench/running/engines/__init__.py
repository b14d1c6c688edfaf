"""An engine starts workers somewhere and tells how they ended. Policy (order, retry, timeout) is the supervisor's."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

# How a process is asked to end: by Ctrl-C, by a scheduler, by a terminal that closes.
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 20.0  # how long a worker may take to checkpoint before it is killed
LOST = 255  # the exit code of a worker whose end nobody saw: what forked it was killed before it


@dataclass(frozen=True)
class Need:
    """What a run needs to itself: `device` is cpu, cuda, cuda:N or mps; `threads` counts CPU cores.

    `code` is a folder in which its worker searches the user's modules, after the current folder; empty for none.
    `together` is how many such runs share a GPU: more than one for runs whose times do not matter. `processes` is how
    many devices of its own, or times `threads` cores, the run needs.
    """

    device: str
    threads: int
    code: str = ""
    together: int = 1
    processes: int = 1


@dataclass(frozen=True)
class Handle:
    """A submitted run, as its engine knows it."""

    number: int
    folder: Path


Slot = tuple[str, tuple[int, ...]]  # the device, and the CPUs a process is pinned to (none: not pinned)


class Engine(Protocol):
    """A context: at its end no worker is left. `slots` has room for so many runs at once."""

    slots: Sequence[Slot]

    def __init__(self, need: Need, *, jobs: int | None = None) -> None:
        """Room for runs of one need, and for at most `jobs` of them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def capacity(self) -> int:
        """How many more runs may be submitted now."""

    def submit(self, folder: Path, need: Need) -> Handle:
        """Start a worker on the run that `folder` describes; returns at once."""

    def poll(self, handle: Handle) -> int | None:
        """None while the worker is at work; then its exit code, negative for the signal that killed it, or LOST."""

    def wait(self, seconds: float) -> None:
        """Return when a worker has ended, or after so many seconds."""

    def cancel(self, handle: Handle, *, kill: bool) -> None:
        """Ask the worker to checkpoint and stop, or kill it; `poll` tells when it has gone."""
