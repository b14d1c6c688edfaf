"""This machine: one fresh process a run, each with a device or a set of CPU cores of its own.

The processes are forked by a server that has torch loaded and no CUDA context, so that a run does not cost an import
of torch. One process per run loses one run to a crash; a pool would lose the batch.
"""

import atexit
import contextlib
import multiprocessing.context
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from clipbench.errors import ClipbenchError
from clipbench.running.devices import cpu_sets, gpu_ids, reserved_cpus, torch_package
from clipbench.running.engines import LOST, Answer, Asked, Handle, Need, Slot
from clipbench.running.entering import enter
from clipbench.running.forking import context, end_server, kill_tree, start


@dataclass(frozen=True)
class Options:
    """None: slots are the cores or GPUs of this machine."""


def build(need: Need, options: Options, jobs: int | None) -> "LocalEngine":  # noqa: ARG001
    """The engine of this machine."""
    return LocalEngine(need, jobs=jobs)


@dataclass(frozen=True)
class _Worker:
    """A process at work; `life` knows it by its number and its birth, and is None where it ended at once."""

    slot: Slot
    process: multiprocessing.context.ForkServerProcess
    life: psutil.Process | None


def hosted(need: Need, *, side_by_side: int, entry: Callable[..., None] = enter) -> "LocalEngine":
    """The engine of one run at a time that a cluster has found room for on this machine.

    It has CPUs that no run of another such engine has, where some are left, and the first GPU that this process sees.

    Args:
        need: of the run.
        side_by_side: how many runs the cluster may make on this machine at a time.
        entry: the first thing that the process of a run does.
    """
    slots = [("cpu", reserved_cpus(need.threads * need.processes))] if need.device == "cpu" else _slots(need)[:1]
    return LocalEngine(need, slots=slots, side_by_side=side_by_side, entry=entry)


class LocalEngine:
    """Slots of CPU cores or GPUs on this machine; at most one run a slot, and `jobs` slots if that is fewer.

    Another engine that makes a run here gives it one of its own `slots`, and says how many runs of its may be made
    `side_by_side` on this machine, and with what the process of a run begins.
    """

    def __init__(
        self,
        need: Need,
        *,
        jobs: int | None = None,
        slots: Sequence[Slot] | None = None,
        side_by_side: int | None = None,
        entry: Callable[..., None] = enter,
    ) -> None:
        torch_package()
        self._code, self._device, self._entry = need.code, need.device, entry
        self.slots: Sequence[Slot] = list(_slots(need) if slots is None else slots)[:jobs]
        self._side_by_side = side_by_side or len(self.slots)
        self._free = list(reversed(self.slots))
        self._at_work: dict[Handle, _Worker] = {}
        self._exit_codes: dict[Handle, int] = {}
        self._number = 0
        self._context = context()
        atexit.unregister(end_server)  # once is enough
        atexit.register(end_server)  # by itself it would take torch apart for seconds after the command has ended

    @property
    def about(self) -> str:
        return f"{len(self.slots)} at a time"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in list(self._at_work):
            self.cancel(handle, kill=True)
        if error is not None:  # nobody is left, not even a worker whose start was interrupted
            end_server()

    def capacity(self) -> int:
        return len(self._free)

    @property
    def first(self) -> Slot:
        """The first slot.

        Raises:
            ClipbenchError: this machine has none.
        """
        if not self.slots:
            raise ClipbenchError(f"the machine {platform.node()} has no usable device '{self._device}'")
        return self.slots[0]

    def submit(self, folder: Path) -> Handle:
        assert self.first
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
        words = (folder, self._code, *slot, self._side_by_side)
        process = self._context.Process(target=self._entry, args=words, name=str(folder))
        start(process)
        try:
            return _Worker(slot, process, psutil.Process(process.pid))
        except psutil.NoSuchProcess:
            return _Worker(slot, process, None)

    def begun(self, handle: Handle) -> bool:  # noqa: ARG002
        return True

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
            kill_tree(worker.life)
        else:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.life.terminate()

    def call(self, function: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return function(*args, **kwargs)


def _is_alive(process: psutil.Process | None) -> bool:
    """Whether it is at work, and is not another process that was given its number."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


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
