"""This machine: one fresh process a run, each with a device or a set of CPU cores of its own.

The processes are forked by a server that has torch loaded and no CUDA context, so that a run does not cost an import
of torch. One process per run loses one run to a crash; a pool would lose the batch.
"""

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from clipbench import store
from clipbench.errors import ClipbenchError
from clipbench.running.devices import cpu_sets, gpu_ids
from clipbench.running.engines import Handle, Need

WORKER, PRELOAD = "clipbench.running.worker", "clipbench.running.preload"

# Read once, when the fork server loads torch. The workspace setting is what makes cuBLAS deterministic, the hash seed
# what makes the order of a set of strings the same each time.
SERVER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
}

Slot = tuple[str, tuple[int, ...]]  # the device, and the CPUs the process is pinned to (none: not pinned)


class LocalEngine:
    """Slots of CPU cores or GPUs on this machine; at most one run a slot, and `jobs` slots if that is fewer."""

    def __init__(self, need: Need, *, jobs: int | None = None) -> None:
        slots = _slots(need)
        self.slots = slots if jobs is None else slots[:jobs]
        self._free = list(reversed(self.slots))
        self._at_work: dict[Handle, tuple[Slot, multiprocessing.context.ForkServerProcess]] = {}
        self._exit_codes: dict[Handle, int] = {}
        self._number = 0
        self._context = context()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in list(self._at_work):
            self.cancel(handle, kill=True)

    def capacity(self) -> int:
        return len(self._free)

    def submit(self, folder: Path, need: Need) -> Handle:  # noqa: ARG002  every slot was cut to the need
        self._number += 1
        handle = Handle(self._number, folder)
        slot = self._free[-1]
        process = self._context.Process(target=_enter, args=(folder, *slot, len(self.slots)), name=str(folder))
        start(process)
        self._at_work[handle] = self._free.pop(), process
        return handle

    def poll(self, handle: Handle) -> int | None:
        if handle in self._exit_codes:
            return self._exit_codes[handle]
        slot, process = self._at_work[handle]
        code = process.exitcode
        if code is not None:
            process.join()
            del self._at_work[handle]
            self._exit_codes[handle] = code
            self._free.append(slot)
        return code

    def cancel(self, handle: Handle, *, kill: bool) -> None:
        if handle in self._at_work:
            process = self._at_work[handle][1]
            process.kill() if kill else process.terminate()


def context() -> multiprocessing.context.ForkServerContext:
    """What makes processes that find torch loaded."""
    served = multiprocessing.get_context("forkserver")
    # The second is what the console script imports: a child finds it loaded instead of loading it again.
    served.set_forkserver_preload([PRELOAD, "clipbench.cli"])
    return served


def start(process: multiprocessing.context.ForkServerProcess) -> None:
    """Start a process of this context.

    Raises:
        ClipbenchError: the server that forks it cannot be started, or has died.
    """
    try:
        with _environment(SERVER_ENVIRONMENT):
            with _deaf_to_ctrl_c():
                forkserver.ensure_running()
            process.start()
    except (EOFError, OSError) as error:
        found = "the process that starts the workers has died; what it said stands above"
        raise ClipbenchError(found, remedy=f"try: python -c 'import {WORKER}'") from error


def _slots(need: Need) -> list[Slot]:
    kind, _, index = need.device.partition(":")
    if kind == "cpu":
        return [("cpu", cpus) for cpus in cpu_sets(need.threads)]
    if kind == "cuda":
        return [(f"cuda:{gpu}", ()) for gpu in ([int(index)] if index else gpu_ids())]
    return [(need.device, ())]


def _enter(folder: Path, device: str, cpus: tuple[int, ...], side_by_side: int) -> None:
    """The first thing the new process runs: its own log, its own cores, and the worker by its module name."""
    log = store.open_log(folder)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.path.insert(0, str(Path.cwd()))  # where a user's own "module:Class" lies, as for `python -m`
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    stopping = _Stopping()
    # Ctrl-C reaches every process of the terminal: the supervisor decides what it means and asks with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stopping.ask)
    work = import_module(WORKER).work
    sys.exit(work(folder, device=device, side_by_side=side_by_side, stop=stopping.asked))


class _Stopping:
    """Whether this worker should stop: it was told to, or the supervisor that started it is gone."""

    def __init__(self) -> None:
        self._told = False

    def ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the shape of a signal handler
        self._told = True

    def asked(self) -> bool:
        parent = multiprocessing.parent_process()
        return self._told or (parent is not None and not parent.is_alive())


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What is started inside inherits a blocked SIGINT: while the server loads torch, Ctrl-C is ours alone."""
    resource_tracker.ensure_running()  # when it starts, it unblocks SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Environment variables for what is started inside; this process gets its own back."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
