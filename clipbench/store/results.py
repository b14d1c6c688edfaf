"""A folder of results: where its runs lie, which are missing, what they were made to answer."""

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from clipbench.errors import StoreError
from clipbench.questions import Question
from clipbench.records import Record, Run
from clipbench.store.atomic import ELSEWHERE, make_folder, replace_content
from clipbench.store.runs import RUN, first_fault, read, read_run_file

QUESTION = "question.json"
_QUESTION = TypeAdapter(Question)


def folder_of_spec(name: str, results: Path) -> Path:
    return results / _safe(name)


def folder_of(run: Run, results: Path) -> Path:
    """Where a run lies: its names for people, its seed and key for the machine."""
    return folder_of_spec(run.spec, results) / _safe(run.task.name) / _safe(run.arm.name) / f"{run.seed}-{run.key}"


def place_of(folder: Path) -> tuple[str, str, str]:
    """The spec, task and arm that a run's folder lies under, whether or not the run can be read."""
    spec, task, arm, _ = ("", "", "", *map(unquote, folder.resolve().parts[1:]))[-4:]
    return spec, task, arm


def _safe(name: str) -> str:
    """A folder name that keeps what people write (sgd+clip, adam[lr=0.1]) and escapes what a path cannot hold."""
    return quote(name, safe=" +,=[]()@") if name.strip(".") else name.replace(".", "%2E")


def missing(runs: Iterable[Run], results: Path) -> list[Run]:
    """The runs that are not done yet, in their order.

    A diverged run is done; a failed one is not, nor is one of an earlier format.
    """
    return [run for run in runs if not _is_done(folder_of(run, results))]


def _is_done(folder: Path) -> bool:
    return (folder / RUN).exists() and read_run_file(folder).is_done


def write_question(question: Question, results: Path) -> None:
    folder = folder_of_spec(question.spec, results)
    make_folder(folder)
    replace_content(folder / QUESTION, _QUESTION.dump_json(question, indent=2))


def read_question(folder: Path) -> Question | None:
    """What the runs in and below `folder` were made to answer, or None where nothing says so."""
    path = folder / QUESTION
    if not path.exists():
        return None
    try:
        return _QUESTION.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error.strerror
        found = f"this is not a question file ({reason})"
        remedy = "delete it and run the spec again: that writes it anew, and no run is lost"
        raise StoreError(found, where=str(path), remedy=remedy) from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a spec's results while its runs are made: a second `clipbench run` there is refused, not interleaved."""
    make_folder(folder)
    # Released by the system when the process dies, however it dies; the file itself stays.
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        remedy = "wait for it, or choose another results folder with -o"
        raise StoreError("another `clipbench run` is at work here", where=str(folder), remedy=remedy) from error
    except OSError as error:
        raise StoreError(f"cannot write here ({error.strerror})", where=str(folder), remedy=ELSEWHERE) from error
    with lock:
        yield


def read_all(folder: Path) -> tuple[list[Record], list[StoreError]]:
    """Every run in and below a folder, in the order of their paths, and an error for each that cannot be read."""
    if not folder.exists():
        raise StoreError("there is no such folder", where=str(folder), remedy="runs are made by `clipbench run`")
    if not folder.is_dir():
        raise StoreError("this is a file; results are a folder", where=str(folder))
    records, errors = [], []
    with _uncollected():
        for path in _run_folders(str(folder)):
            try:
                records.append(read(path))
            except StoreError as error:
                errors.append(error)
    return records, errors


def run_folders(folder: Path) -> list[Path]:
    """Every run's folder in and below a folder, in the order of their paths."""
    return list(map(Path, _run_folders(str(folder))))


def _run_folders(folder: str) -> Iterator[str]:
    """As text: thousands of Paths take as long to make as their folders to look into."""
    within = []
    with suppress(OSError), os.scandir(folder) as entries:  # a folder that may not be looked into has no runs
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                within.append(entry.name)
            elif entry.name == RUN:
                yield folder
    for name in sorted(within):
        yield from _run_folders(f"{folder}/{name}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Read without the garbage collector: records refer to nothing in a circle, and it would look at each again and
    again, which doubles the time of reading many."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def find(name: str, results: Path) -> Path:
    """The folder of a run, given as a path, or by the beginning of its key or its folder's name."""
    if (Path(name) / RUN).exists():
        return Path(name)
    found = [
        path.parent
        for path in sorted(results.rglob(RUN))
        if path.parent.name.startswith(name) or path.parent.name.partition("-")[2].startswith(name)
    ]
    if len(found) != 1:
        several = f": {', '.join(map(str, found[:5]))}" if found else ""
        remedy = "`clipbench list runs` shows what there is"
        raise StoreError(f"'{name}' fits {len(found)} runs{several}", where=str(results), remedy=remedy)
    return found[0]
