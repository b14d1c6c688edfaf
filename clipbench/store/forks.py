"""Which process writes a run: the worker alone, and no fork of it.

A step may fork: a data loader, a pool, a task's own os.fork. The child has the worker's open files and its whole stack,
and may unwind it, end as an interpreter ends, or train on. Its descriptor of the measurements is closed as it begins:
it shares the parent's lock, and a child that outlives its parent would keep the run from going on. Only a fork that
Python does not know of (in C, without exec) keeps the lock, until it ends.
"""

import os
from contextlib import suppress
from pathlib import Path

from clipbench.errors import StoreError

_writing: dict[str, tuple[int, int]] = {}  # by a run's folder: the process that writes it, and its descriptor


def hold(folder: Path, descriptor: int = -1) -> None:
    """This process writes the run in `folder`, its measurements by way of `descriptor` once they are open."""
    _writing[str(folder)] = os.getpid(), descriptor


def is_ours(folder: Path) -> bool:
    """Whether this process, or none that it is a fork of, writes the run in `folder`."""
    return _writing.get(str(folder), (os.getpid(), -1))[0] == os.getpid()


def let_go(folder: Path) -> None:
    """Nobody writes the run any more."""
    _writing.pop(str(folder), None)


def refuse_in_a_fork(folder: Path) -> None:
    """Raises StoreError in a fork of the process that writes the run."""
    if not is_ours(folder):
        raise StoreError("this process is a fork of the worker, which alone writes its run", where=str(folder))


def _close_in_the_child() -> None:
    for folder, (process, descriptor) in list(_writing.items()):
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
            _writing[folder] = process, -1  # a fork of the fork may have another file under that number


if hasattr(os, "register_at_fork"):  # Windows forks no process
    os.register_at_fork(after_in_child=_close_in_the_child)
