"""This machine: one fresh process a run, each with a device or a set of CPU cores of its own.

The processes are forked by a server that has torch loaded and no CUDA context, so that a run does not cost an import
of torch. One process per run loses one run to a crash; a pool would lose the batch.
"""

import atexit
import contextlib
import fcntl
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import connection, forkserver, resource_tracker
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import psutil

from clipbench import store
from clipbench.errors import STOPPED, ClipbenchError
from clipbench.running.devices import cpu_sets, gpu_ids, see_only, torch_package
from clipbench.running.engines import ASKING, LOST, STOP_SECONDS, Handle, Need, Slot
from clipbench.sources.modules import search

WORKER, PRELOAD = "clipbench.running.worker", "clipbench.running.preload"

# Read once, when the fork server loads torch. The workspace setting is what makes cuBLAS deterministic, the hash seed
# what makes the order of a set of strings the same each time.
SERVER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
}

TURN_SECONDS = 0.05  # how often a worker looks whether the worker before it has left the run

LEAVE_SECONDS = 5.0  # for threads and children of a run that has ended


@dataclass(frozen=True)
class _Worker:
    """A process at work; `life` knows it by its number and its birth, and is None where it ended at once."""

    slot: Slot
    process: multiprocessing.context.ForkServerProcess
    life: psutil.Process | None


class LocalEngine:
    """Slots of CPU cores or GPUs on this machine; at most one run a slot, and `jobs` slots if that is fewer."""

    def __init__(self, need: Need, *, jobs: int | None = None) -> None:
        torch_package()
        slots = _slots(need)
        self._code = need.code
        self.slots: Sequence[Slot] = slots if jobs is None else slots[:jobs]
        self._free = list(reversed(self.slots))
        self._at_work: dict[Handle, _Worker] = {}
        self._exit_codes: dict[Handle, int] = {}
        self._number = 0
        self._context = context()
        atexit.unregister(end_server)  # once is enough
        atexit.register(end_server)  # by itself it would take torch apart for seconds after the command has ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in list(self._at_work):
            self.cancel(handle, kill=True)
        if error is not None:  # nobody is left, not even a worker whose start was interrupted
            end_server()

    def capacity(self) -> int:
        return len(self._free)

    def submit(self, folder: Path, need: Need) -> Handle:  # noqa: ARG002  every slot was cut to the need
        self._number += 1
        handle = Handle(self._number, folder)
        try:
            worker = self._started(folder, self._free[-1])
        except ClipbenchError:  # somebody killed the server: another may do better
            end_server(alone=True)  # it hangs up before it counts as dead
            worker = self._started(folder, self._free[-1])
        self._free.pop()
        self._at_work[handle] = worker
        return handle

    def _started(self, folder: Path, slot: Slot) -> _Worker:
        words = (folder, self._code, *slot, len(self.slots))
        process = self._context.Process(target=_enter, args=words, name=str(folder))
        start(process)
        try:
            return _Worker(slot, process, psutil.Process(process.pid))
        except psutil.NoSuchProcess:
            return _Worker(slot, process, None)

    def poll(self, handle: Handle) -> int | None:
        if handle in self._exit_codes:
            return self._exit_codes[handle]
        worker = self._at_work[handle]
        code = worker.process.exitcode
        if code is None or (code == LOST and _is_alive(worker.life)):  # LOST is told when the server dies
            return None
        worker.process.join()
        del self._at_work[handle]
        self._exit_codes[handle] = code
        self._free.append(worker.slot)
        return code

    def wait(self, seconds: float) -> None:
        processes = [worker.process for worker in self._at_work.values()]
        # A worker may outlive its server, and its sentinel, which is ready from then on, says nothing more.
        if watched := [process.sentinel for process in processes if process.exitcode != LOST]:
            connection.wait(watched, seconds)
        else:
            time.sleep(seconds)

    def cancel(self, handle: Handle, *, kill: bool) -> None:
        worker = self._at_work.get(handle)
        if worker is None or worker.life is None:
            return
        if kill:
            _kill(worker.life)
        else:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.life.terminate()


def _is_alive(process: psutil.Process | None) -> bool:
    """Whether it is at work, and is not another process that was given its number."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _kill(process: psutil.Process) -> None:
    """Kill a process after those that it has started: data loaders, a pool."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def end_server(*, alone: bool = False) -> None:
    """Kill the server; a later run starts another.

    Unless `alone`, the workers that it has forked are killed too, of which one is not known to us where its start was
    interrupted.
    """
    server: Any = vars(forkserver)["_forkserver"]
    if server._forkserver_pid is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(server._forkserver_pid)
        process.suspend()  # from here on it forks no more
        process.kill() if alone else _kill(process)
    server._stop()  # forgets it, and waits until it has gone


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
            with _signals_kept_from_the_server():
                forkserver.ensure_running()
            process.start()
    except (EOFError, OSError) as error:
        message = "the process that starts the workers has died; what it said stands above"
        raise ClipbenchError(message, remedy=f"try: python -c 'import {WORKER}'") from error


def _slots(need: Need) -> list[Slot]:
    kind, _, index = need.device.partition(":")
    if kind == "cpu":
        return [("cpu", cpus) for cpus in cpu_sets(need.threads * need.processes)]
    if kind == "cuda":
        gpus = [int(index)] if index else gpu_ids()
        n = need.processes
        own = [gpus[i : i + n] for i in range(0, len(gpus) - n + 1, n)]
        return [(",".join(f"cuda:{gpu}" for gpu in each), ()) for _ in range(need.together) for each in own]
    return [(need.device, ())]


def _enter(folder: Path, code: str, device: str, cpus: tuple[int, ...], side_by_side: int) -> None:
    """The first thing the new process runs: its own log, its own cores, and the worker by its module name."""
    log = store.open_log(folder)
    for stream in (1, 2):
        os.dup2(log, stream)
    search(code)
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    stopping = _Stopping()
    stopping.hear()
    seen = see_only(device)
    work = import_module(WORKER).work
    if not _has_its_turn(log, stopping):
        _leave(STOPPED)
    asked = stopping.asked
    _leave(work(folder, device=seen, named=device, side_by_side=side_by_side, stop=asked, give_up=asked))


def _leave(code: int) -> NoReturn:
    """End this process, though a thread that somebody has left behind goes on."""
    last = threading.Timer(LEAVE_SECONDS, os._exit, (code,))
    last.daemon = True
    last.start()
    sys.exit(code)


class _Stopping:
    """Whether this worker should stop: it was told to, or the supervisor that started it is gone.

    What it was told is in a queue: a trial puts back the attributes of all that its loss reaches, and the loss asks
    here, so that a flag would be forgotten. A signal may interrupt whoever puts something into this kind of queue.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()

    def asked(self) -> bool:
        return not self._told.empty()

    def hear(self) -> None:
        """Listen from here on; what was said while the process began has waited until now."""
        threading.Thread(target=self._outlive, daemon=True).start()  # it hears no signals, which are blocked as yet
        # Ctrl-C reaches every process of the terminal: the supervisor decides what it means and asks with SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._tell)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(signal.SIGHUP, self._tell)
        _let_forks_end()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)

    def _tell(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the shape of a signal handler
        self._told.put(None)

    def _outlive(self) -> None:
        """Wait until the supervisor is gone; a step that goes on for long after that is cut off."""
        parent = multiprocessing.parent_process()
        if parent is not None:
            connection.wait([parent.sentinel])
            self._told.put(None)
            time.sleep(STOP_SECONDS)
            _kill(psutil.Process())


def _let_forks_end() -> None:
    """A fork of the worker ends when it is told to, from its first moment on: a pool waits until its processes have."""
    kept = threading.local()

    def wait_with_signals() -> None:
        kept.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept.mask)

    def go_on_as_any_process() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        go_on()

    os.register_at_fork(before=wait_with_signals, after_in_parent=go_on, after_in_child=go_on_as_any_process)


def _has_its_turn(log: int, stopping: _Stopping) -> bool:
    """Wait while the worker of a command that was killed is still in a step of this run; False if asked to stop.

    A lock of this kind belongs to the process alone: neither its forks nor who writes to its log keep it.
    """
    while not stopping.asked():
        try:
            fcntl.lockf(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            time.sleep(TURN_SECONDS)
        except OSError:  # a file system without locks
            return True
        else:
            return True
    return False


@contextlib.contextmanager
def _signals_kept_from_the_server() -> Iterator[None]:
    """What is started inside inherits blocked signals: to stop is asked of us and of the workers, never of the server.

    It ends when we and the workers have. The resource tracker, which outlives them, is started before it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)  # when the tracker starts, it unblocks some of them
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
