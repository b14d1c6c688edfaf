"""A folder of results: where its runs lie, which are missing, what they were made to answer."""

import math
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import TypeAdapter

from clipbench import fast
from clipbench.errors import StoreError
from clipbench.questions import Question, Target
from clipbench.records import Record, Run
from clipbench.store import opening
from clipbench.store.atomic import ELSEWHERE, make_folder, replace_content
from clipbench.store.planned import there
from clipbench.store.runs import RUN, first_fault, read, shortened

QUESTION = "question.json"
_QUESTION = TypeAdapter(Question)


def folder_of_spec(name: str, results: Path) -> Path:
    """Where the runs of a spec of this name lie."""
    return results / _safe(name)


def folder_of(run: Run, results: Path) -> Path:
    """Where a run lies: its names for people, its seed and key for the machine."""
    return results / f"{_safe(run.spec)}/{_safe(run.task.name)}/{_safe(run.arm.name)}/{run.seed}-{run.key}"


def place_of(folder: Path) -> tuple[str, str, str]:
    """The spec, task and arm that a run's folder lies under, whether or not the run can be read."""
    spec, task, arm, _ = ("", "", "", *map(unquote, folder.resolve().parts[1:]))[-4:]
    return spec, task, arm


@lru_cache(maxsize=1000)  # of ten thousand runs a few names: 0.4 s less in each look at all of them
def _safe(name: str) -> str:
    """A folder name that keeps what people write (sgd+clip, adam[lr=0.1]) and escapes what a path cannot hold."""
    return quote(name, safe=" +,=[]()@") if name.strip(".") else name.replace(".", "%2E")


def missing(runs: Iterable[Run], results: Path) -> list[Run]:
    """The runs that are not done yet, in their order.

    A diverged run is done; a failed one is not, nor is one of an earlier format, or whatever else lies in its place.
    """
    return [run for run in runs if not there(run, folder_of(run, results)).is_done]


def write_question(question: Question, results: Path) -> None:
    """Write what the runs of a spec are made to answer beside them.

    Raises:
        StoreError: it cannot be written, or a link lies in its place.
    """
    folder = folder_of_spec(question.spec, results)
    opening.refuse_a_link(folder)
    make_folder(folder)
    # What is empty is left out, so that the file of a spec without any stays what it was.
    optional = ("targets", "quantities", "command")
    without: dict[str, Any] = {name: True for name in optional if not getattr(question, name)}
    if question.targets:
        without["targets"] = {task: _unsaid(target) for task, target in question.targets.items()}
    if question.tuning and question.tuning.better == "lower":
        without["tuning"] = {"better"}
    replace_content(folder / QUESTION, _QUESTION.dump_json(question, indent=2, exclude=without))


def _unsaid(target: Target) -> set[str]:
    return {name for name in ("loss", "quantity", "at_least", "at_most") if getattr(target, name) in (None, "")}


def read_question(folder: Path) -> Question | None:
    """What the runs in and below `folder` were made to answer, or None where nothing says so.

    Raises:
        StoreError: there is a file that cannot be read, or is no question.
    """
    path = folder / QUESTION
    try:
        return _sound(_QUESTION.validate_json(opening.content(path, opening.MOST_JSON)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_fault(error)
        message = f"this is not a question file ({reason})"
        remedy = "delete it and run the spec again: that writes it anew, and no run is lost"
        raise StoreError(message, where=str(path), remedy=remedy) from error


def _sound(question: Question) -> Question:
    """The question; ValueError where it has numbers that no spec can have."""
    if question.target is not None and not math.isfinite(question.target):
        raise ValueError("target: it is no finite number")
    for target in question.targets.values():
        if len(target.bounds) != 1 or (target.loss is None) != bool(target.quantity):
            raise ValueError("targets: one is neither a loss nor a quantity with one bound")
        if not math.isfinite(target.bound):
            raise ValueError("targets: one is no finite number")
    in_a_row = [question.consecutive, *(target.consecutive for target in question.targets.values())]
    if not all(1 <= consecutive < opening.MOST_JSON for consecutive in in_a_row):
        raise ValueError("consecutive: it is not above 0, or too large")
    if not (math.isfinite(question.diverged) and question.diverged >= 0):
        raise ValueError("diverged: it is no share")
    if question.effect is not None and not (math.isfinite(question.effect) and question.effect > 0):
        raise ValueError("effect: it is no number above 0")
    for tuned in question.tuning.arms if question.tuning else ():
        among = [trial.settings for trial in tuned.trials] + ([tuned.selected] if tuned.selected is not None else [])
        if not all(space.setting in settings for space in tuned.spaces for settings in among):
            raise ValueError("tuning: a trial lacks a setting that was searched")
    return question


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a spec's results while its runs are made: a second `clipbench run` there is refused, not interleaved.

    `.lock` says who holds them. A file system that keeps no locks holds nothing.
    """
    opening.refuse_a_link(folder)
    make_folder(folder)
    lock = folder / ".lock"
    try:
        descriptor = opening.opened(lock, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise StoreError(f"cannot write this file ({error.strerror})", where=str(lock), remedy=ELSEWHERE) from error
    try:
        if not opening.locked(descriptor):
            holder = shortened(os.pread(descriptor, 200, 0).decode(errors="replace")).strip()
            remedy = "wait for it, or choose another results folder with -o"
            message = f"another `clipbench run` is at work here{f' ({holder})' if holder else ''}"
            raise StoreError(message, where=str(folder), remedy=remedy)
        with suppress(OSError):  # a disk may be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def read_all(folder: Path) -> tuple[list[Record], list[StoreError]]:
    """Every run in and below a folder, in the order of their paths, and an error for each that cannot be read."""
    if not os.path.lexists(folder):
        raise StoreError("there is no such folder", where=str(folder), remedy="runs are made by `clipbench run`")
    if not folder.is_dir():
        raise StoreError("this is a file; results are a folder", where=str(folder))
    records, errors = [], []
    with fast.uncollected():
        for path in _run_folders(str(folder)):
            try:
                records.append(read(path))
            except StoreError as error:
                errors.append(error)
    return records, errors


def run_folders(folder: Path) -> list[Path]:
    """Every run's folder in and below a folder, in the order of their paths."""
    return list(map(Path, _run_folders(str(folder))))


def _run_folders(top: str) -> Iterator[str]:
    """As text: thousands of Paths take as long to make as their folders to look into.

    A folder that may not be looked into comes too, for it may hide a run: reading it says so. Links are not followed.
    """
    waiting = [top]
    while waiting:  # a stranger may nest folders deeper than Python calls functions
        folder = waiting.pop()
        within = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        within.append(entry.name)
                    elif entry.name == RUN:
                        yield folder
        except PermissionError:
            yield folder
        except OSError:  # gone since, or nested too deep to be reached by its name
            continue
        waiting += [f"{folder}/{name}" for name in sorted(within, reverse=True) if not opening.is_set_aside(name)]


def find(name: str, results: Path) -> Path:
    """The folder of a run, given as a path, or by the beginning of its key or its folder's name."""
    if os.path.lexists(f"{name}/{RUN}"):
        return Path(name)
    folders = [
        folder
        for folder in run_folders(results)
        if folder.name.startswith(name) or folder.name.partition("-")[2].startswith(name)
    ]
    if len(folders) != 1:
        several = f": {', '.join(map(str, folders[:5]))}" if folders else ""
        remedy = "`clipbench list runs` shows what there is"
        raise StoreError(f"'{shortened(name)}' fits {len(folders)} runs{several}", where=str(results), remedy=remedy)
    return folders[0]
