"""Runs, in order, on whatever engine there is: what starts, what is tried again, what a lost worker means."""

import contextlib
import math
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

from clipbench import store
from clipbench.errors import DONE, LOST_PROCESS, STOPPED, StoreError
from clipbench.judging.endings import ended
from clipbench.quantities import final_loss
from clipbench.questions import DIVERGED
from clipbench.records import Outcome, Run
from clipbench.running import logs
from clipbench.running.engines import GONE, LOST, STOP_SECONDS, Engine, Handle
from clipbench.running.signals import ASKING

POLL_SECONDS = 0.05  # how seldom running workers are looked after; one that ends is noticed at once
LOOK_SECONDS = 0.005  # for each run at work, from one look at its files to the next: 200 looks a second for all of them
LOSSES = 3  # how often a run that was lost with its machine and got no further there is started again
# Well below what any watcher keeps silent for: how seldom to speak is the watcher's affair, and two clocks of a
# minute, one behind the other, would leave up to two minutes of silence.
HEARTBEAT_SECONDS = 1.0
FULL = 1 << 20  # bytes: with fewer left no record can be written
QUIET_SECONDS = 60.0  # without a step for so long, the watcher is told so
QUIET_STEP = 15.0  # seconds from the first time that it is told so to the next


class Watcher(Protocol):
    """Who is told what happens, as it happens."""

    def started(self, run: Run) -> None:
        """A run has begun."""

    def advanced(self, run: Run, progress: float, text: str) -> None:
        """A run has spent this fraction of its budget; `text` says where it is."""

    def finished(self, run: Run, outcome: Outcome) -> None:
        """A run has ended."""

    def heartbeat(self) -> None:
        """Time has passed."""

    def log(self, text: str) -> None:
        """Something else that a person should know."""


@dataclass(frozen=True)
class Policy:
    """`timeout` is wall seconds a try, `retries` how often a crashed run is tried again (a diverged one never).

    `diverged` is the share by which the watcher is told that a run has risen too far; it decides nothing else.
    """

    timeout: float | None = None
    retries: int = 0
    diverged: float = DIVERGED


@dataclass(frozen=True)
class _Waiting:
    """A run to start: how often it has crashed, and how often in a row it was lost and had got no further."""

    run: Run
    crashes: int = 0
    losses: int = 0


@dataclass
class _Job:
    waited: _Waiting
    folder: Path
    handle: Handle
    # When the last sign of life and the last checkpoint were written: at first, those of an earlier try.
    beat: int
    checkpoint: int = 0
    prepared: bool = False
    started: float | None = None  # when its worker was seen to have started; it may wait in a queue before
    heard: float = field(default_factory=time.monotonic)  # when the last sign of life was seen
    looked: float = -math.inf  # when its files were last looked at
    timed_out: bool = False

    @property
    def run(self) -> Run:
        return self.waited.run


class InterruptedRunsError(Exception):
    """This process was asked to stop: the runs at work were stopped, or killed; the rest were not started."""


def supervise(
    runs: Iterable[Run], results: Path, *, engine: Engine, watcher: Watcher, policy: Policy | None = None
) -> list[tuple[Run, Outcome]]:
    """Make the runs in their order and return how each ended.

    A run that crashed is an outcome like any other. Raises InterruptedRunsError on Ctrl-C, SIGTERM and SIGHUP, after
    every worker at work has left a checkpoint and gone, or was killed: for being late, or because it was asked again.
    """
    return _Supervision(results, engine, watcher, policy or Policy()).carry_out(runs)


class _Supervision:
    def __init__(self, results: Path, engine: Engine, watcher: Watcher, policy: Policy) -> None:
        self._results, self._engine, self._watcher, self._policy = results, engine, watcher, policy
        self._waiting: deque[_Waiting] = deque()
        self._jobs: list[_Job] = []
        self._ended: list[tuple[Run, Outcome]] = []
        self._seconds: dict[tuple[str, str], float] = {}  # what the last run of an arm on a task took
        self._asked = 0  # how often this process was asked to stop

    def carry_out(self, runs: Iterable[Run]) -> list[tuple[Run, Outcome]]:
        self._waiting.extend(map(_Waiting, runs))
        with self._listening():
            with contextlib.suppress(KeyboardInterrupt):
                self._make_all()
            if self._asked:
                self._stop_all()
                raise InterruptedRunsError
        return self._ended

    def _make_all(self) -> None:
        beat_at = time.monotonic()
        while (self._waiting or self._jobs) and not self._asked:
            while self._waiting and self._engine.capacity() > 0 and not self._asked:
                self._start(self._next())
            self._engine.wait(max(POLL_SECONDS, LOOK_SECONDS / 10 * len(self._jobs)))
            for job in list(self._jobs):
                self._look_after(job)
            if time.monotonic() - beat_at >= HEARTBEAT_SECONDS:
                beat_at = time.monotonic()
                self._watcher.heartbeat()

    def _next(self) -> _Waiting:
        """The next run in order; of the last ones, the longest first, so that no slot waits long for another.

        How long a run takes is known from those of the same arm and task that have ended. Of others nothing is known:
        they are taken for long.
        """
        if len(self._waiting) > len(self._jobs) + self._engine.capacity():
            return self._waiting.popleft()
        longest = max(self._waiting, key=lambda waited: self._seconds.get(_kind(waited.run), math.inf))
        self._waiting.remove(longest)
        return longest

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Count what asks this process to stop; what it was set to ignore, as by `nohup`, it goes on to ignore."""
        before = {number: signal.getsignal(number) for number in ASKING}
        heard = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
        for number in heard:
            signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, before[number])

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the shape of a signal handler
        """With workers at work nothing is broken off: a worker that is just being started would be forgotten."""
        self._asked += 1
        if not self._jobs:
            raise KeyboardInterrupt

    def _start(self, waited: _Waiting) -> None:
        run = waited.run
        folder = store.folder_of(run, self._results)
        self._watcher.started(run)
        try:
            store.describe(run, folder)
        except StoreError as error:  # one folder that cannot be written must not keep the other runs from being made
            self._tell(run, Outcome("failed", reason=f"{error.where}: {error.message}"))
            return
        beat, checkpoint = (store.written_at(folder / name) for name in (store.HEARTBEAT, store.CHECKPOINT))
        self._jobs.append(_Job(waited, folder, self._engine.submit(folder), beat, checkpoint))

    def _look_after(self, job: _Job) -> None:
        code = self._engine.poll(job.handle)
        if code is not None:
            self._jobs.remove(job)
            self._end(job, code)
            return
        if job.started is None and self._engine.begun(job.handle):
            job.started = job.heard = time.monotonic()
        if time.monotonic() - job.looked >= LOOK_SECONDS * len(self._jobs):
            job.looked = time.monotonic()
            self._tell_how_far(job)
            logs.bound(job.folder)
        timeout, since = self._policy.timeout, job.started
        if timeout is not None and since is not None and not job.timed_out and time.monotonic() - since > timeout:
            job.timed_out = True
            self._engine.cancel(job.handle, kill=True)

    def _tell_how_far(self, job: _Job) -> None:
        if (written := store.written_at(job.folder / store.HEARTBEAT)) != job.beat:
            job.beat, job.heard, job.prepared = written, time.monotonic(), True
        beat = store.read_heartbeat(job.folder)
        quiet = time.monotonic() - job.heard
        seconds = f"{quiet // QUIET_STEP * QUIET_STEP:.0f} s" if quiet >= QUIET_SECONDS else ""
        if job.started is None:
            text = "queued"
        elif not job.prepared or beat is None:
            text = f"preparing for {seconds}" if seconds else "preparing"
        else:
            loss = "" if math.isnan(beat["loss"]) else f", loss {beat['loss']:.4g}"
            text = f"step {beat['step']:g}{loss}{f'; no step for {seconds}' if seconds else ''}"
        self._watcher.advanced(job.run, beat["progress"] if beat else 0.0, text)

    def _end(self, job: _Job, code: int) -> None:
        logs.bound(job.folder, slack=0)
        written = store.read_outcome(job.folder) if code in (DONE, LOST, GONE) else None
        outcome = written or Outcome("failed", reason=_sentence(job, code, self._policy), steps=_steps(job))
        if again := self._again(job, code, outcome):
            self._waiting.appendleft(again)
            return
        if written is None and not _goes_on(job, code):
            # A disk that is full must not take the other runs along: this one then stays unfinished on disk.
            with contextlib.suppress(StoreError):
                store.finish(job.folder, outcome, None)
        if outcome.status == "finished":  # the last sign of life may be from long before the end
            with contextlib.suppress(StoreError):
                self._watcher.advanced(job.run, 1.0, f"loss {final_loss(store.read(job.folder)):.4g}")
        self._tell(job.run, outcome)

    def _again(self, job: _Job, code: int, outcome: Outcome) -> _Waiting | None:
        """The run as it is to be started once more; None where it has ended."""
        if outcome.status != "failed" or job.timed_out:
            return None
        if code == GONE:
            # A run that gets on from one machine to the next, as within a short time limit, is started again for ever.
            got_on = store.written_at(job.folder / store.CHECKPOINT) != job.checkpoint
            losses = 0 if got_on else job.waited.losses
            if losses < LOSSES:
                self._watcher.log(
                    f"{job.run} was lost with its machine, and is started again, from its checkpoint if it left one"
                )
                return replace(job.waited, losses=losses + 1)
        if code != GONE and job.waited.crashes < self._policy.retries:
            self._watcher.log(f"{job.run} is tried again: {outcome.reason}")
            return replace(job.waited, crashes=job.waited.crashes + 1)
        return None

    def _tell(self, run: Run, outcome: Outcome) -> None:
        self._ended.append((run, outcome))
        self._seconds[_kind(run)] = outcome.wall_seconds
        self._watcher.finished(run, ended(outcome, self._policy.diverged))

    def _stop_all(self) -> None:
        """Wait until every worker is gone, and kill those that are late; all at once where it was asked again."""
        for job in self._jobs:
            self._engine.cancel(job.handle, kill=False)
        asked, deadline = self._asked, time.monotonic() + STOP_SECONDS
        if self._jobs:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._watcher.log(f"stopping: runs at work have {STOP_SECONDS:g} s to leave a checkpoint; again: kill")
        while any(self._engine.poll(job.handle) is None for job in self._jobs):
            if self._asked > asked or time.monotonic() > deadline:
                for job in self._jobs:
                    self._engine.cancel(job.handle, kill=True)
            for job in self._jobs:
                logs.bound(job.folder)
            self._engine.wait(POLL_SECONDS)
        for job in self._jobs:
            logs.bound(job.folder, slack=0)


def _kind(run: Run) -> tuple[str, str]:
    return run.task.name, run.arm.name


def _steps(job: _Job) -> int:
    """How far a worker that left no outcome had come, by its last sign of life; one of an earlier try says nothing."""
    is_its_own = job.prepared or store.written_at(job.folder / store.HEARTBEAT) != job.beat
    beat = store.read_heartbeat(job.folder) if is_its_own else None
    return int(beat["step"]) if beat else 0


def _was_stopping(job: _Job) -> bool:
    """Whether a worker that says by its exit code that it was asked to stop really was: any code may end so."""
    beat = store.read_heartbeat(job.folder)
    return beat is not None and bool(beat.get("stopping"))


def _goes_on(job: _Job, code: int) -> bool:
    """Whether a run without an outcome stays unfinished, with its checkpoint: this may be no failure of its own.

    Of a worker that was killed nobody knows. Where it came as far as a checkpoint it goes on there; where it did not,
    its run has failed: a run that always needs too much memory comes to an end.
    """
    checkpoint = store.written_at(job.folder / store.CHECKPOINT)
    if code == -signal.SIGKILL and not job.timed_out:
        return checkpoint != job.checkpoint
    if code == os.EX_IOERR:  # with which any code may end
        return checkpoint > 0 or bool(_why_not(job.folder))
    return code == GONE or (code in (STOPPED, LOST) and _was_stopping(job))


def _why_not(folder: Path) -> str:
    """What keeps a result from being written into a folder; empty where nothing seems to."""
    if not folder.is_dir():
        return "the folder was removed while it was at work"
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"the disk cannot be asked ({error.strerror})"
    return "the disk is full" if free < FULL else ""


def _sentence(job: _Job, code: int, policy: Policy) -> str:
    if job.timed_out:
        return f"timed out after {policy.timeout:g} s"
    if code == GONE:
        return "it was lost with its machine; run the spec again: it goes on from its last checkpoint"
    if code in (STOPPED, LOST) and _was_stopping(job):
        return "the worker was told to stop from outside; run the spec again to make it"
    if code == os.EX_IOERR:
        log = f"its log says why, if it was not its code that ended Python so: {job.folder / store.LOG}"
        again = "; once it can, run the spec again" if job.folder.is_dir() else ""
        return f"the worker could not write its result into {job.folder}: {_why_not(job.folder) or log}{again}"
    if code == -signal.SIGKILL:
        again = "; run the spec again: it goes on from its last checkpoint" if _goes_on(job, code) else ""
        return f"the worker was killed by signal 9, as when memory runs out: the kernel's log says so then{again}"
    if code < 0:
        return f"the worker was killed by signal {-code}"
    if code == LOST_PROCESS:
        return f"a process of the run was lost; which and how, the end of its log says: {job.folder / store.LOG}"
    if code == LOST:
        return f"the worker ended with exit code {LOST}, or nobody saw how; its log is {job.folder / store.LOG}"
    return f"the worker ended with exit code {code}; its log is {job.folder / store.LOG}"
