"""Before the first run is made, every arm takes a step: a fault is found at once, and not when its turn comes.

One process a task, forked by the server that forks the workers, so that it costs no import of torch; this process has
no torch. It builds the problem once, and tries an arm as its worker will: by the check of life and by a step. An arm
that fails where others were tried before it is tried again in a new process, alone: it must not fail by what they left
behind.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import TracebackType
from typing import Literal, Self

from clipbench.errors import ClipbenchError
from clipbench.records import Measure, Run
from clipbench.running.devices import see_only
from clipbench.running.engines import LOST, Need
from clipbench.running.engines.local import LocalEngine
from clipbench.running.forking import context, end_server, start
from clipbench.running.signals import hear_nothing
from clipbench.sources.modules import search

FIRST_STEPS = "clipbench.running.first_steps"
LIMIT = 600.0  # seconds for an arm: a large model that torch compiles takes minutes for its first steps
BUILD_LIMIT = 3600.0  # seconds for a task, which may fetch its data
END_SECONDS = 5.0  # for a process to end by itself


@dataclass(frozen=True)
class FirstStepFault:
    """Why something cannot run, in one line, and what to do about it, where that is known.

    `log` has the traceback where it raised; `ended` says how its process was lost.
    """

    reason: str
    log: str = ""
    ended: Literal["raised", "died", "hung"] = "raised"
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class _ServerLostError(Exception):
    """The server that forks has died, and its child with it: that says nothing of arms."""


class _NoProblemError(Exception):
    def __init__(self, fault: FirstStepFault) -> None:
        self.fault = fault
        super().__init__(fault.reason)


@dataclass(frozen=True)
class Tried:
    """What trying a task has shown: why it cannot be built; else what is wrong with arms and with probes, by name.

    `groups` has the names of the parameters that each group of an arm takes, by the arm's name.
    `contract`: the promises that the task breaks, where they were to be proved. `recorded`: what the task's evaluations
    record beside the loss.
    """

    task: FirstStepFault | None = None
    contract: tuple[FirstStepFault, ...] = ()
    arms: Mapping[str, FirstStepFault] = field(default_factory=dict)
    probes: Mapping[str, FirstStepFault] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    recorded: tuple[str, ...] = ()


def to_try(runs: Sequence[Run]) -> list[Run]:
    """Of each arm's runs on a task the first; of a tuned arm the first of its first trial and of its last.

    Args:
        runs: those that are to be made, of one task.
    """
    points: dict[str, dict[str, Run]] = {}
    for run in runs:
        points.setdefault(run.trial_of or run.arm.name, {}).setdefault(run.arm.name, run)
    return [run for of_arm in points.values() for run in [*of_arm.values()][:: max(1, len(of_arm) - 1)]]


def tried(
    runs: Sequence[Run], measure: Measure, *, timeout: float | None = None, code: str = "", prove: bool = False
) -> Tried:
    """Let every arm take a step, and every probe of `measure` look at one.

    A fault of a probe is said only where it fails with every arm.

    Args:
        runs: of one task, one for each arm; the problem is built with the first one's seed.
        measure: of the runs to report: trials have no probes.
        timeout: the wall seconds that a run may take, which its first steps may not exceed either.
        code: as `Need` has it.
        prove: first prove the contract of the task.
    """
    try:
        return _tried(runs, measure, _Processes(runs[0], timeout, code), prove=prove)
    except _ServerLostError:  # somebody killed it: another may do better
        return _tried(runs, measure, _Processes(runs[0], timeout, code, again=True), prove=prove)


def _tried(runs: Sequence[Run], measure: Measure, trying: "_Processes", *, prove: bool) -> Tried:
    arms: dict[str, FirstStepFault] = {}
    groups: dict[str, Mapping[str, tuple[str, ...]]] = {}
    broken: list[FirstStepFault] = []
    with trying as processes:
        try:
            if prove:
                broken += processes.prove("contract", runs[0])
            for run in runs:
                if fault := processes.step(run):
                    arms[run.arm.name] = fault
                elif run.arm.groups:
                    groups[run.arm.name] = processes.taken
            sound = [run for run in runs if run.arm.name not in arms]
            if prove and sound and measure.probes:
                broken += processes.prove("trace", replace(sound[0], measure=measure))
            probes = _of_probes(sound, measure, processes)
            return Tried(None, tuple(broken), arms, probes, groups, processes.recorded)
        except _NoProblemError as error:
            return Tried(task=error.fault)


def _of_probes(runs: Sequence[Run], measure: Measure, processes: "_Processes") -> dict[str, FirstStepFault]:
    """The faults of the probes that fail with every arm; one that takes its process along is not tried again."""
    left = measure.probes
    faults: dict[str, FirstStepFault] = {}
    for run in runs:
        if not left:
            break
        by_probe = processes.look(replace(run, measure=replace(measure, probes=left)))
        fault = by_probe.get("")
        if fault is None:
            left, faults = tuple(probe for probe in left if probe.name in by_probe), by_probe
        elif fault.ended != "raised":
            return {probe.name: fault for probe in left}
    return faults


class _Processes:
    """A process that tries a task's arms as it is asked; a new one where the last was lost or is no longer trusted."""

    def __init__(self, run: Run, timeout: float | None, code: str, *, again: bool = False) -> None:
        self._run, self._timeout, self._code, self._again = run, timeout, code, again
        need = Need(run.device, run.threads, processes=run.training.processes)
        self._engine = LocalEngine(need, jobs=1)  # whose device and server are the runs' own
        self._device = self._engine.first[0]
        self._process: ForkServerProcess | None = None
        self._fresh = True
        self.taken: Mapping[str, tuple[str, ...]] = {}  # by the groups of the arm that was tried last
        self.recorded: tuple[str, ...] = ()  # by the task's evaluations, beside the loss

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(kill=kind is not None)
        self._engine.__exit__(kind, error, at)

    def step(self, run: Run) -> FirstStepFault | None:
        """What is wrong with the run's arm."""
        bare = replace(run, measure=replace(run.measure, probes=(), ghosts=()))
        first = self._process is None or self._fresh
        fault = self._ask("step", bare).get("")
        if fault is None or first or fault.ended == "hung":
            return fault
        self._end()
        return self._ask("step", bare).get("")

    def look(self, run: Run) -> dict[str, FirstStepFault]:
        """Which of the run's probes fail, by name; under "" why they could not look."""
        return self._ask("probes", run)

    def prove(self, what: Literal["contract", "trace"], run: Run) -> list[FirstStepFault]:
        """Which promises the run's task breaks: its own, or that the run's probes leave no trace."""
        return [*self._ask(what, run).values()]

    def _ask(self, what: Literal["contract", "step", "probes", "trace"], run: Run) -> dict[str, FirstStepFault]:
        if self._process is None:
            self._begin()
        self._fresh = False
        with contextlib.suppress(OSError):  # it is gone; what follows says how
            self._talk.send((what, run))
        return self._answer(LIMIT)

    def _begin(self) -> None:
        served = context()
        self._talk, theirs = served.Pipe()
        with theirs:
            self._process = served.Process(target=_enter, args=(theirs, self._run, self._device, self._code))
            try:
                start(self._process)
            except ClipbenchError:
                if self._again:
                    raise
                raise _ServerLostError from None
        self._fresh = True
        if answer := self._answer(BUILD_LIMIT):
            raise _NoProblemError(answer[""])

    def _answer(self, limit: float) -> dict[str, FirstStepFault]:
        assert self._process is not None
        limit = min(limit, self._timeout or limit)
        ready = wait([self._talk, self._process.sentinel], limit)
        with contextlib.suppress(EOFError, OSError):
            if self._talk in ready:
                faults, self.taken, self.recorded = self._talk.recv()
                return {name: FirstStepFault(*fields) for name, fields in faults.items()}
        code = self._end(kill=not ready)
        if not ready:
            return {"": FirstStepFault(f"timed out after {limit:g} s", ended="hung")}
        if code == LOST:
            end_server(alone=True)  # it hangs up before it counts as dead, and what is asked next needs another
            if not self._again:
                raise _ServerLostError
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return {"": FirstStepFault(f"the worker {how}", ended="died")}

    def _end(self, *, kill: bool = False) -> int:
        """Let the process end and all that it has started, by force if need be; its exit code."""
        process, self._process = self._process, None
        if process is None or process.pid is None:
            return 0
        self._talk.close()
        if not kill:
            process.join(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
        return process.exitcode or 0


def _enter(talk: Connection, run: Run, device: str, code: str) -> None:
    """The first thing the new process runs: in a group of its own, heard by nobody, deaf to all but its parent."""
    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    search(code)
    hear_nothing()  # whoever sends a signal to the group means the parent
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    import_module(FIRST_STEPS).serve(run, see_only(device), talk)


def _end_with_the_parent() -> None:
    """A step may take for ever, so a thread of its own waits."""
    if (parent := parent_process()) is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
