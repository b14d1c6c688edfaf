"""Arrays of SLURM jobs, by submitit: what is submitted, what a job does, and what it leaves."""

import contextlib
import io
import os
import pickle
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipbench import store
from clipbench.errors import DONE, STOPPED, ClipbenchError
from clipbench.running import queue
from clipbench.running.engines import GONE, Need
from clipbench.running.engines.local import hosted

TOLD_SECONDS = 0.1  # until a job that was told to stop tells its worker
SWEEP_SECONDS = 3600.0
OUTPUT = 20_000  # characters of a job's output that are read


@dataclass(frozen=True)
class Job:
    """A submitted job: its array's name, which no other has, and its id as SLURM's commands take it."""

    name: str
    id: str


@dataclass(frozen=True)
class Returned:
    """What the function of a job has returned, or the traceback of what it raised."""

    value: Any = None
    traceback: str = ""


class Arrays:
    """Each array has a folder of its own, named as it is, which goes with the last of its jobs.

    Args:
        folder: of those folders; all nodes must see it.
        parameters: of submitit's SlurmExecutor.

    Raises:
        ClipbenchError: submitit is not installed, or does not take the parameters.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._folder, self._parameters = folder.expanduser().absolute(), parameters
        self._submitit = _submitit()
        self._executor("", 1)

    def sweep(self, queued: Container[str]) -> None:
        """Remove folders of arrays of jobs that were left to the cluster: not in the queue, and untouched for long."""
        for folder in _listed(self._folder):
            with contextlib.suppress(OSError):
                if folder.name not in queued and time.time() - folder.stat().st_mtime > SWEEP_SECONDS:
                    shutil.rmtree(folder)

    def send(self, name: str, tasks: Sequence[Callable[[], Any]], *, at_once: int) -> list[Job]:
        """Submit functions as one array of which so many jobs are at work at a time.

        Raises:
            ClipbenchError: SLURM does not take it.
        """
        executor = self._executor(name, at_once)
        executor.folder.mkdir(mode=0o700, parents=True)  # what lies there is unpickled
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints there what its error says too
                return [Job(name, each.job_id) for each in executor.submit_array(tasks)]
        except self._submitit.core.utils.FailedJobError as error:
            shutil.rmtree(executor.folder)
            raise ClipbenchError(f"SLURM does not take the jobs: {queue.last_line(str(error))}") from error

    def _executor(self, name: str, at_once: int) -> Any:
        executor = self._submitit.SlurmExecutor(self._folder / name, python=f"exec {shlex.quote(sys.executable)}")
        try:
            executor.update_parameters(
                job_name=name,
                array_parallelism=at_once,
                use_srun=False,  # the shell becomes the process that makes the run, and hears what SLURM sends
                stderr_to_stdout=True,
                wckey=None,
                **self._parameters,
            )
        except ValueError as error:
            raise ClipbenchError(f"submitit does not take these options: {str(error).splitlines()[0]}") from error
        return executor

    def returned(self, jobs: Iterable[Job]) -> dict[Job, Returned]:
        """What those of the jobs have returned that have, by one listing of each array's folder."""
        jobs, found = list(jobs), {}
        there = {path for name in dict.fromkeys(job.name for job in jobs) for path in _listed(self._folder / name)}
        for job in jobs:
            if (path := self._file(job, "result.pkl")) in there:
                with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):  # it is not whole yet
                    status, value = self._submitit.core.utils.pickle_load(path)
                    found[job] = Returned(value) if status == "success" else Returned(traceback=value)
        return found

    def output(self, job: Job) -> str:
        """The end of what a job has printed."""
        try:
            return self._file(job, "log.out").read_text(errors="replace")[-OUTPUT:]
        except OSError:
            return ""

    def clear(self, job: Job) -> None:
        """Remove what submitit has written for a job."""
        folder = self._folder / job.name
        for path in _listed(folder):
            if path.name.startswith(f"{job.id}_"):
                path.unlink(missing_ok=True)
        if not any(path.suffix == ".pkl" for path in _listed(folder)):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _file(self, job: Job, name: str) -> Path:
        return self._folder / job.name / f"{job.id}_0_{name}"


def make(folder: Path, need: Need) -> int:
    """What a job does: make a run as the engine of one machine does.

    Returns its worker's exit code, and GONE where the job was told to stop and the worker has left a checkpoint.
    """
    if store.read_outcome(folder) is not None:  # by another job, while this one was waiting
        return DONE
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))  # by clipbench, or before the time is up
    allotted = max(1, int(os.environ.get("SLURM_CPUS_ON_NODE", need.threads * need.processes)))
    with hosted(need, side_by_side=max(1, (os.cpu_count() or 1) // allotted)) as engine:
        handle = engine.submit(folder)
        while (code := engine.poll(handle)) is None:
            if told:
                engine.cancel(handle, kill=False)
            engine.wait(TOLD_SECONDS)
    return GONE if told and code == STOPPED else code


def answer(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Exception | None, Any]:
    """What a function raises or returns, where a job calls it for the command that has submitted it."""
    try:
        return None, function(*args, **kwargs)
    except Exception as error:
        return error, None


def further(options: str) -> dict[str, str | bool]:
    """Options of sbatch as submitit takes them.

    Raises:
        ClipbenchError: there is something else among them.
    """
    told: dict[str, str | bool] = {}
    for word in shlex.split(options):
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            remedy = "write each in full, as in --reservation=mine --exclusive"
            raise ClipbenchError(f"--engine-opt sbatch: '{word}' is no long option of sbatch", remedy=remedy)
        told[name] = value if equals else True
    return told


def _listed(folder: Path) -> list[Path]:
    try:
        return [*folder.iterdir()]
    except OSError:
        return []


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        remedy = "pip install 'clipbench[slurm]'"
        raise ClipbenchError("the engine slurm needs submitit, which is not installed", remedy=remedy) from None
    return submitit
