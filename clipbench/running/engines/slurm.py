"""A SLURM cluster: one job a run, submitted in arrays; all nodes see the folder of results.

How a job has ended is known by what it leaves: its run's outcome, or its worker's exit code. Accounting is not asked. A
job that the queue has let go and that has left neither was lost, once its sign of life has stood still for long enough.
"""

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import Field

from clipbench import store
from clipbench.errors import DONE, STOPPED, ClipbenchError, StoreError
from clipbench.running import arrays, queue
from clipbench.running.engines import GONE, Answer, Asked, Handle, Need
from clipbench.running.signals import asking_waits

MOST = 1000  # runs in the queue at a time
QUEUE_SECONDS = 2.0  # from one look at the queue to the next
LOOK_SECONDS = 0.1  # from one look at what jobs have left to the next; longer where there are many jobs
RETRY_SECONDS = 15.0  # until jobs that SLURM did not take are submitted again
LEAVE_SECONDS = 10.0  # for the queue to let the last jobs go


@dataclass(frozen=True)
class Options:
    """What `sbatch` is told; what is left out is the cluster's own default.

    - `partition`, `account`, `qos`, `constraint`, `exclude`, `mem`: as of sbatch.
    - `minutes`: the time limit of a job. A run that reaches it goes on from its checkpoint in another job.
    - `gres`: what a run on a GPU asks for, in place of a GPU of any kind for each of its processes.
    - `setup`: a line of shell for a job to begin with, such as `module load cuda`.
    - `sbatch`: further options as sbatch has them, such as `--reservation=mine --nice=100`.
    - `folder`: where submitit keeps its files; all nodes must see it.
    - `grace`: for how many seconds a job that left the queue without a result is waited for.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclude: str = ""
    mem: str = ""
    minutes: Annotated[int | None, Field(ge=1)] = None
    gres: str = ""
    setup: str = ""
    sbatch: str = ""
    folder: Path = Path(".clipbench-slurm")
    grace: Annotated[float, Field(ge=0)] = 30.0


def resolve(device: str, options: Options) -> str:
    """The device of runs: a GPU where the partition has some, else the CPU."""
    if device == "cpu":
        return device
    if device not in ("auto", "cuda"):
        remedy = "use device: cuda, cpu or auto; SLURM chooses the GPU"
        raise ClipbenchError(f"on SLURM no run can ask for device '{device}'", remedy=remedy)
    if queue.has_gpus(options.partition):
        return "cuda"
    if device == "cuda":
        where = f"partition {options.partition}" if options.partition else "the default partition"
        raise ClipbenchError(f"{where} has no GPUs", remedy="choose another: --engine-opt partition=NAME")
    return "cpu"


def build(need: Need, options: Options, jobs: int | None) -> "SlurmEngine":
    """The engine of the cluster that this machine submits jobs to."""
    return SlurmEngine(need, options, jobs)


def leave(folders: Sequence[Path], need: Need, options: Options, jobs: int | None) -> None:
    """Submit runs and leave them to the cluster, but for those whose jobs are in its queue already."""
    engine = SlurmEngine(need, options, jobs, watched=False)
    for folder in folders:
        engine.submit(folder)
    engine.flush(patient=False)


@dataclass(eq=False)
class _Run:
    """A submitted run, or what else a job does.

    - `place`: its array and its index there; `job` and `since`: its job, and when that was submitted.
    - `begun`: whether the queue has had it at work; `missed`: since when the queue has not had it.
    - `beat` and `heard`: its last sign of life, and when that was seen.
    - `cancelled`: its exit code if it leaves none, since it was told to go.
    """

    folder: Path
    does: Callable[[], Any]
    place: queue.Place = ("", 0)
    job: arrays.Job | None = None
    since: float = math.inf
    begun: bool = False
    missed: float | None = None
    beat: int = 0
    heard: float = -math.inf
    cancelled: int | None = None
    code: int | None = None
    returned: arrays.Returned | None = None
    output: str = ""


class SlurmEngine:
    """Jobs of one need. Runs that are submitted one after another go out together, at the next `wait`."""

    def __init__(self, need: Need, options: Options, jobs: int | None, *, watched: bool = True) -> None:
        if need.together > 1:
            message = "on SLURM every run has a GPU of its own"
            raise ClipbenchError(message, remedy="leave out --jobs-per-device")
        self._need, self._grace, self._limit = need, options.grace, jobs
        self._arrays = arrays.Arrays(options.folder, _parameters(need, options, watched=watched))
        self._arrays.sweep({name for name, _ in queue.entries()})
        self._largest = min(queue.largest_array(), MOST)
        self._runs: dict[Handle, _Run] = {}
        self._fresh: list[_Run] = []  # not yet submitted
        self._live: dict[arrays.Job, _Run] = {}
        self._to_cancel: dict[bool, list[str]] = {False: [], True: []}  # by whether they are killed
        self._watch = queue.QueueWatch()
        self._looked = self._refused = -math.inf

    @property
    def about(self) -> str:
        return f"{self._limit} at a time on SLURM" if self._limit else f"{MOST} at a time, as SLURM finds room"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watch.close()
        if ids := {job.id for job in self._live}:
            queue.cancel(ids, kill=True)
            deadline = time.monotonic() + LEAVE_SECONDS
            with contextlib.suppress(ClipbenchError):
                while time.monotonic() < deadline and ids & {each.id for each in queue.entries().values()}:
                    time.sleep(LOOK_SECONDS)
        for job in self._live:
            self._arrays.clear(job)

    def capacity(self) -> int:
        """With a limit there is one array at a time, which keeps to it; beside its last jobs only what is left."""
        most = MOST if self._limit is None else self._limit if self._live else self._largest
        return max(0, most - len(self._live) - len(self._fresh))

    def submit(self, folder: Path) -> Handle:
        handle = Handle(len(self._runs) + 1, folder)
        self._runs[handle] = _Run(folder, partial(arrays.make, folder.absolute(), self._need))
        self._fresh.append(self._runs[handle])
        return handle

    def begun(self, handle: Handle) -> bool:
        return self._runs[handle].begun

    def poll(self, handle: Handle) -> int | None:
        return self._runs[handle].code

    def wait(self, seconds: float) -> None:
        if self._fresh and time.monotonic() - self._refused >= RETRY_SECONDS:
            self.flush()
        deadline, live = time.monotonic() + seconds, len(self._live)
        while (left := deadline - time.monotonic()) > 0 and len(self._live) == live:
            time.sleep(min(left, LOOK_SECONDS))
            self._look()

    def cancel(self, handle: Handle, *, kill: bool) -> None:
        run = self._runs[handle]
        run.cancelled = -signal.SIGKILL if kill else STOPPED
        if run in self._fresh:
            self._fresh.remove(run)
            run.code = run.cancelled
        elif run.code is None and run.job is not None:
            self._to_cancel[kill].append(run.job.id)

    def call(self, function: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        """One job with the need of a run; ClipbenchError with what it has printed where it is lost."""
        name = queue.new_name()
        run = _Run(Path(name), partial(arrays.answer, function, args, kwargs), (name, 0))
        try:
            self._send(name, [run])
            while run.code is None:
                time.sleep(LOOK_SECONDS)
                self._look()
        except BaseException:
            if run.job is not None and run.code is None:
                queue.cancel([run.job.id], kill=True)
                self._end(run, -signal.SIGKILL)
            raise
        if run.returned is None or run.returned.traceback:
            said = run.returned.traceback if run.returned else run.output
            raise ClipbenchError(f"a job of SLURM was lost: {queue.last_line(said)}", remedy="give the command again")
        fault, answer = run.returned.value
        if fault is not None:
            raise fault
        return answer  # type: ignore[no-any-return]

    def flush(self, *, patient: bool = True) -> None:
        """Submit what waits, but for runs whose jobs of an earlier command are in the queue: those are adopted.

        Args:
            patient: where SLURM does not take the jobs now and has others of ours, try again later.

        Raises:
            ClipbenchError: SLURM does not take them.
        """
        try:
            self._adopt()
            while self._fresh:
                part, name = self._fresh[: self._largest], queue.new_name()
                for index, run in enumerate(part):
                    run.place = name, index
                    # First: if this command is killed once SLURM has them, the next one finds the jobs by this.
                    store.write_job(run.folder, *run.place)
                self._send(name, part)
                del self._fresh[: len(part)]
        except ClipbenchError:
            if not (patient and self._live):
                raise
            self._refused = time.monotonic()

    def _adopt(self) -> None:
        known = {run: each for run in self._fresh if (each := store.read_job(run.folder))}
        there = queue.entries() if known else {}
        for run, each in known.items():
            if entry := there.get(place := (each["name"], each["index"])):
                self._fresh.remove(run)
                run.place = place
                self._begin(run, arrays.Job(place[0], entry.id))

    def _send(self, name: str, runs: Sequence[_Run]) -> None:
        at_once = len(runs) if self._limit is None else max(1, self._limit - len(self._live))
        does = [run.does for run in runs]
        with asking_waits():  # no job is submitted unseen
            for run, job in zip(runs, self._arrays.send(name, does, at_once=at_once), strict=True):
                self._begin(run, job)

    def _begin(self, run: _Run, job: arrays.Job) -> None:
        run.job, run.since, run.beat = job, time.monotonic(), store.written_at(run.folder / store.HEARTBEAT)
        self._live[job] = run

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < max(LOOK_SECONDS, len(self._live) / 1000):
            return
        self._looked = now
        for kill, ids in self._to_cancel.items():
            queue.cancel(ids, kill=kill)
            ids.clear()
        for job, returned in self._arrays.returned(self._live).items():
            self._take(self._live[job], returned)
        if self._live and (answer := self._watch.answer(now, QUEUE_SECONDS)):
            self._compare(*answer)
        for run in [run for run in self._live.values() if run.missed is not None]:
            self._settle(run, now)

    def _take(self, run: _Run, returned: arrays.Returned) -> None:
        run.returned = returned
        if returned.traceback:  # of what does not come to the run: its worker keeps its own
            self._log(run, returned.traceback)
            self._end(run, 1)
        elif returned.value == GONE:  # it was told to stop: by the cluster, if it was not by us
            self._end(run, GONE if run.cancelled is None else run.cancelled)
        else:
            self._end(run, returned.value if isinstance(returned.value, int) else DONE)

    def _compare(self, asked_at: float, there: Mapping[queue.Place, queue.Queued]) -> None:
        for run in self._live.values():
            if run.since < asked_at:
                entry = there.get(run.place)
                run.begun = run.begun or (entry is not None and not entry.is_waiting)
                run.missed = None if entry else run.missed or asked_at

    def _settle(self, run: _Run, now: float) -> None:
        """Decide on a run whose job is not in the queue and has returned nothing."""
        assert run.missed is not None
        assert run.job is not None
        if (beat := store.written_at(run.folder / store.HEARTBEAT)) != run.beat:
            run.beat, run.heard = beat, now
        outcome = None
        with contextlib.suppress(StoreError):
            outcome = store.read_outcome(run.folder)
        if outcome is not None:
            self._end(run, DONE)
        elif run.cancelled is not None:
            self._end(run, run.cancelled)
        elif now - max(run.missed, run.heard) >= self._grace:
            run.output = self._arrays.output(run.job)
            if run.heard == -math.inf:  # it may not have come as far as the run
                self._log(run, run.output)
            self._end(run, GONE)

    def _end(self, run: _Run, code: int) -> None:
        assert run.job is not None
        run.code = code
        with contextlib.suppress(OSError):  # the queue may have it for a moment still, and nobody is to adopt it
            (run.folder / store.JOB).unlink(missing_ok=True)
        del self._live[run.job]
        self._arrays.clear(run.job)

    def _log(self, run: _Run, text: str) -> None:
        if run in self._runs.values():
            with contextlib.suppress(StoreError, OSError):
                log = store.open_log(run.folder)
                os.write(log, text.encode())
                os.close(log)


def _parameters(need: Need, options: Options, *, watched: bool) -> dict[str, Any]:
    """What submitit is told of the options, and of what a run needs.

    `watched` jobs of a lost node are submitted again by the supervisor, at once; SLURM waits two minutes before it
    starts them again, as it does with jobs that are left to it.
    """
    named = ("partition", "account", "qos", "constraint", "exclude", "mem", "gres")
    told: dict[str, Any] = {key: value for key in named if (value := getattr(options, key))}
    if need.device.startswith("cuda") and not options.gres:
        told["gpus_per_node"] = need.processes
    if options.setup:
        told["setup"] = [options.setup]
    additional = {"signal": "B:TERM@60", **({"no-requeue": True} if watched else {}), **arrays.further(options.sbatch)}
    cpus = need.threads * need.processes
    return {"time": options.minutes, "cpus_per_task": cpus, "additional_parameters": additional, **told}
