"""Ray: runs on the machines of a cluster, each with CPU cores or GPUs that Ray has set apart for it.

A slot is an actor, a process that Ray starts where there is room and that stays there. It makes one run at a time as
the local engine does, in a process forked for that run: a task of Ray's for each run would import torch each time.
Where the actor dies, with its machine or alone, its worker leaves a checkpoint, and the run can go on elsewhere.

Where the actor sees the folder of a run, both machines share a file system. Where it does not, the run's files are sent
to a folder of the actor's, and come back as they change.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clipbench import store
from clipbench.errors import ClipbenchError, in_one_line
from clipbench.harmless import on_one_line, shortened
from clipbench.running.engines import GONE, STOP_SECONDS, Answer, Asked, Handle, Need
from clipbench.running.seats import Seat, Seen, content, mark, put_in_place
from clipbench.running.signals import ASKING

LOOK_SECONDS = 1.0  # how long an actor waits for its run to end, from one answer to the next
UNITS_SECONDS = 2.0  # how seldom the cluster is asked for its machines
STARTS = 3  # how often a slot that died before its run began is replaced

_KINDS = ("CPU", "GPU")


@dataclass(frozen=True)
class Options:
    """`address` is the cluster's, as `ray.init` takes it.

    Empty for that in RAY_ADDRESS, else the cluster that this machine belongs to, else a new one on this machine alone.
    """

    address: str = ""


def resolve(device: str, options: Options) -> str:
    """`auto` is a GPU where a machine of the cluster has one; Ray chooses which."""
    kind, _, index = device.partition(":")
    if index or kind == "mps":
        raise ClipbenchError(f"device '{device}': Ray chooses the device itself", remedy="use cpu, cuda or auto")
    gpus = connected(options).cluster_resources().get("GPU", 0.0)
    if kind == "cuda" and not gpus:
        raise ClipbenchError("device 'cuda': no machine of the Ray cluster has a GPU", remedy="use device: cpu")
    return ("cuda" if gpus else "cpu") if kind == "auto" else kind


def build(need: Need, options: Options, jobs: int | None) -> "RayEngine":
    """The engine of a cluster.

    Raises:
        ClipbenchError: Ray is not installed, there is no such cluster, or no machine has what a run needs.
    """
    return RayEngine(need, connected(options), jobs=jobs)


@dataclass
class _Job:
    """A run at work. `asked` is what its actor was asked last, `begun` whether its worker has started."""

    number: int
    folder: Path
    seat: Any
    asked: Any
    begun: bool = False
    starts: int = 1
    stops: int = 0  # 1: it was asked to stop, 2: killed
    unwritable: bool = False  # this machine could not write what came of it


class RayEngine:
    """As many actors as the cluster has room for; at most `jobs`."""

    def __init__(self, need: Need, ray: Any, *, jobs: int | None = None) -> None:
        self._need, self._ray, self._jobs = need, ray, jobs
        share = need.processes / need.together if need.device == "cuda" else 0
        self._resources: dict[str, Any] = {"num_cpus": need.threads * need.processes, "num_gpus": share}
        self._idle: list[Any] = []
        self._at_work: dict[int, _Job] = {}
        self._exit_codes: dict[int, int] = {}
        self._submitted = 0
        self._rooms, self._asked_at = self._rooms_now(), time.monotonic()
        if not any(self._rooms):
            has = ", ".join(f"{node['Resources'].get(kind, 0):g} {kind}" for node in self._nodes() for kind in _KINDS)
            wants = f"{need.threads * need.processes} CPU" + (f" and {share:g} GPU" if share else "")
            message = f"no machine of the Ray cluster has what a run needs: {wants}"
            raise ClipbenchError(message, remedy=f"its machines have {has}")

    @property
    def about(self) -> str:
        machines = sum(map(bool, self._rooms))
        address = self._ray.get_runtime_context().gcs_address
        return f"{self._most()} at a time on Ray at {address}, {machines} machine{'s' if machines != 1 else ''}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for job in list(self._at_work.values()):
            self.cancel(Handle(job.number, job.folder), kill=True)
        deadline = time.monotonic() + STOP_SECONDS
        while self._at_work and time.monotonic() < deadline:
            self.wait(1.0)
            for number, job in list(self._at_work.items()):
                self.poll(Handle(number, job.folder))
        for seat in [*self._idle, *(job.seat for job in self._at_work.values())]:
            self._ray.kill(seat)

    def capacity(self) -> int:
        if time.monotonic() - self._asked_at > UNITS_SECONDS:
            self._rooms, self._asked_at = self._rooms_now(), time.monotonic()
        return max(0, self._most() - len(self._at_work))

    def submit(self, folder: Path) -> Handle:
        self._submitted += 1
        folder = folder.absolute()
        seat = self._idle.pop() if self._idle else self._new_seat()
        self._at_work[self._submitted] = _Job(self._submitted, folder, seat, self._begin(seat, folder))
        return Handle(self._submitted, folder)

    def begun(self, handle: Handle) -> bool:
        job = self._at_work.get(handle.number)
        return job is None or job.begun

    def poll(self, handle: Handle) -> int | None:
        job = self._at_work.get(handle.number)
        while job is not None and job.number in self._at_work and self._has_answered(job):
            self._hear(job)
        return self._exit_codes.get(handle.number)

    def wait(self, seconds: float) -> None:
        if asked := [job.asked for job in self._at_work.values()]:
            self._ray.wait(asked, num_returns=1, timeout=seconds, fetch_local=False)
        else:
            time.sleep(seconds)

    def cancel(self, handle: Handle, *, kill: bool) -> None:
        self.poll(handle)  # hears whether its worker has started
        job = self._at_work.get(handle.number)
        stops = 2 if kill else 1
        if job is None or job.stops >= stops:
            return
        job.stops = stops
        if job.begun:
            job.seat.cancel.remote(kill=kill)
        else:  # its actor may wait for room for as long as another command has it
            self._ray.kill(job.seat)

    def call(self, function: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        seat = self._new_seat()
        try:
            answer: Answer = self._ray.get(seat.call.remote(function, args, kwargs))
            return answer
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, ClipbenchError):
                raise cause from None
            message = f"the arms could not be tried on a machine of the Ray cluster ({in_one_line(cause)})"
            remedy = "its machines need the same clipbench and torch as this one"
            raise ClipbenchError(shortened(on_one_line(message), 400), remedy=remedy) from error
        finally:
            self._ray.kill(seat)

    def _most(self) -> int:
        return min(sum(self._rooms), self._jobs or sum(self._rooms))

    def _nodes(self) -> list[Any]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _rooms_now(self) -> list[int]:
        """How many runs fit on each machine."""
        needs = {"CPU": self._resources["num_cpus"], "GPU": self._resources["num_gpus"]}
        resources = [node["Resources"] for node in self._nodes()]
        return [min(int(has.get(kind, 0) / part) for kind, part in needs.items() if part) for has in resources]

    def _new_seat(self) -> Any:
        options = {"max_restarts": 0, "max_concurrency": 4, "scheduling_strategy": "SPREAD", **self._resources}
        actor = self._ray.remote(Seat).options(**options)
        return actor.remote(self._need, min(max(self._rooms), self._most()), str(Path.cwd()), sys.path)

    def _begin(self, seat: Any, folder: Path, *, files: Mapping[str, bytes] | None = None) -> Any:
        return seat.begin.remote(str(folder), mark(folder), files)

    def _has_answered(self, job: _Job) -> bool:
        return bool(self._ray.wait([job.asked], timeout=0, fetch_local=False)[0])

    def _hear(self, job: _Job) -> None:
        """Take the answer of a run's actor, and ask again."""
        try:
            answer = self._ray.get(job.asked)
            if answer is False:  # the actor does not see the folder
                job.asked = self._begin(job.seat, job.folder, files=content(job.folder))
            elif answer is True:
                job.begun = True
                job.asked = job.seat.look.remote(LOOK_SECONDS)
            else:
                self._take(job, answer)
        except self._ray.exceptions.RayActorError:
            if job.begun or job.starts == STARTS or job.stops:
                self._end(job, GONE, seat_lives=False)
            else:
                job.starts, job.seat = job.starts + 1, self._new_seat()
                job.asked = self._begin(job.seat, job.folder)
        except self._ray.exceptions.RayError as error:  # what an actor does raised
            _log(job.folder, error)
            self._ray.kill(job.seat)
            self._end(job, 1, seat_lives=False)
        except OSError:  # the folder cannot be read on this machine
            self._ray.kill(job.seat)
            self._end(job, os.EX_IOERR, seat_lives=False)

    def _take(self, job: _Job, seen: Seen) -> None:
        """Write what has come of a run; where this machine's disk refuses it, the run is killed."""
        try:
            if not job.unwritable:
                put_in_place(job.folder, seen)
        except OSError:
            job.unwritable = True
            job.seat.cancel.remote(kill=True)
        if seen.code is None:
            job.asked = job.seat.look.remote(LOOK_SECONDS)
        else:
            self._end(job, os.EX_IOERR if job.unwritable else seen.code)

    def _end(self, job: _Job, code: int, *, seat_lives: bool = True) -> None:
        del self._at_work[job.number]
        self._exit_codes[job.number] = code
        if seat_lives:
            self._idle.append(job.seat)


def connected(options: Options) -> Any:
    """Ray, connected to the cluster; what it set for signals is put back."""
    if find_spec("ray") is None:
        raise ClipbenchError("the engine ray needs a package", remedy="pip install 'clipbench[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if not ray.is_initialized():
        address = options.address or os.environ.get("RAY_ADDRESS", "")
        try:
            _require_an_answer(address)
            with _own_signals():
                ray.init(
                    address=address or None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    include_dashboard=False,
                )
        except (OSError, ValueError, RuntimeError) as error:
            message = f"no Ray cluster answers{f' at {address}' if address else ''} ({in_one_line(error)})"
            remedy = "start one with `ray start --head`, or name it: --engine-opt address=HOST:PORT"
            raise ClipbenchError(shortened(on_one_line(message), 400), remedy=remedy) from None
    return ray


def _require_an_answer(address: str) -> None:
    """Ray itself waits for a minute, and says what it waits for; raises OSError where nobody listens."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ASKING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log(folder: Path, error: Exception) -> None:
    with contextlib.suppress(OSError, ClipbenchError):
        log = store.open_log(folder)
        os.write(log, f"{error}\n".encode())
        os.close(log)
