"""A run's folder on disk: append-only while it runs, finished by an atomic rename, readable at any moment.

    results/<spec>/question.json                          what the spec asks; decides no number
    results/<spec>/<task>/<arm>/<seed>-<key>/
        run.json            the resolved run and, once it has ended, its outcome and environment
        measurements.csv    step,seconds,direction,quantity,value: one number a row
        checkpoint.pt, heartbeat.json      only while unfinished;    log.txt     only if the run printed something

A run counts as done when run.json says so. run.json is only ever replaced whole, after measurements.csv has reached
the disk, so a crash at any point leaves a run that is done or a run that is not, and nothing in between.
"""

import csv
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from filelock import FileLock, Timeout
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from clipbench.errors import StoreError
from clipbench.records import Environment, Measurement, Outcome, Question, Record, Run

FORMAT = 1
RUN, MEASUREMENTS, CHECKPOINT, HEARTBEAT, LOG, QUESTION = (
    "run.json",
    "measurements.csv",
    "checkpoint.pt",
    "heartbeat.json",
    "log.txt",
    "question.json",
)
_ELSEWHERE = "choose another results folder with -o, or make this one writable"
_ANEW = "restore the file, or delete the run's folder and run the spec again: only this run is made anew"
COLUMNS = ("step", "seconds", "direction", "quantity", "value")


@with_config(ConfigDict(ser_json_inf_nan="constants", extra="forbid"))
@dataclass(frozen=True)
class _RunFile:
    format: int
    key: str
    run: Run
    environment: Environment | None = None
    outcome: Outcome | None = None


_RUN_FILE = TypeAdapter(_RunFile)
_QUESTION = TypeAdapter(Question)


def folder_of_spec(name: str, results: Path) -> Path:
    return results / _safe(name)


def folder_of(run: Run, results: Path) -> Path:
    """Where a run lies: its names for people, its seed and key for the machine."""
    return folder_of_spec(run.spec, results) / _safe(run.task.name) / _safe(run.arm.name) / f"{run.seed}-{run.key}"


def _safe(name: str) -> str:
    """A folder name that keeps what people write (sgd+clip, adam[lr=0.1]) and escapes what a path cannot hold."""
    return quote(name, safe=" +,=[]()@") if name.strip(".") else name.replace(".", "%2E")


def missing(runs: Iterable[Run], results: Path) -> list[Run]:
    """The runs that are not done yet, in their order. A diverged run is done; a failed one is not."""
    return [run for run in runs if not _is_done(folder_of(run, results))]


def _is_done(folder: Path) -> bool:
    if not (folder / RUN).exists():
        return False
    outcome = _read_run_file(folder).outcome
    return outcome is not None and outcome.status != "failed"


def write_question(question: Question, results: Path) -> None:
    folder = folder_of_spec(question.spec, results)
    make_folder(folder)
    _replace(folder / QUESTION, _QUESTION.dump_json(question, indent=2))


def read_question(folder: Path) -> Question | None:
    """What the runs in and below `folder` were made to answer, or None where nothing says so."""
    path = folder / QUESTION
    if not path.exists():
        return None
    try:
        return _QUESTION.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        found = (
            f"this is not a question file ({_first(error) if isinstance(error, ValidationError) else error.strerror})"
        )
        remedy = "delete it and run the spec again: that writes it anew, and no run is lost"
        raise StoreError(found, where=str(path), remedy=remedy) from error


def question_of(folder: Path) -> Question | None:
    """The question that the run in `folder` was made to answer."""
    return read_question(folder.parents[2])


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a spec's results while its runs are made: a second `clipbench run` there is refused, not interleaved."""
    make_folder(folder)
    try:
        # Released by the system when the process dies, however it dies; the file itself stays.
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        remedy = "wait for it, or choose another results folder with -o"
        raise StoreError("another `clipbench run` is at work here", where=str(folder), remedy=remedy) from error
    except OSError as error:
        raise StoreError(f"cannot write here ({error.strerror})", where=str(folder), remedy=_ELSEWHERE) from error


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make this folder ({error.strerror})",
            where=str(folder),
            remedy=_ELSEWHERE,
        ) from error


def describe(run: Run, folder: Path) -> None:
    """Write what is to be run, unless the folder already says it (then an interrupted run goes on)."""
    make_folder(folder)
    if not (folder / RUN).exists() or _read_run_file(folder).outcome is not None:
        for stale in (MEASUREMENTS, CHECKPOINT, HEARTBEAT, LOG):
            (folder / stale).unlink(missing_ok=True)
        _write_run_file(folder, _RunFile(FORMAT, run.key, run))


def read_outcome(folder: Path) -> Outcome | None:
    """How the run in a folder ended; None while it has not."""
    return _read_run_file(folder).outcome


def finish(folder: Path, outcome: Outcome, environment: Environment | None) -> None:
    """Give the run its outcome, in one atomic step; what was only needed to resume it goes."""
    _write_run_file(folder, replace(_read_run_file(folder), outcome=outcome, environment=environment))
    for leftover in (CHECKPOINT, HEARTBEAT):
        (folder / leftover).unlink(missing_ok=True)
    log = folder / LOG
    if log.exists() and log.stat().st_size == 0:
        log.unlink()


class Writer:
    """The append-only writer of one run's measurements; it holds the run's lock while it is open.

    `kept` is the length in bytes of what a checkpoint vouches for: rows written after it are taken again, so they
    are cut off. A second writer on the same run is refused.
    """

    def __init__(self, folder: Path, *, kept: int = 0) -> None:
        self._path = folder / MEASUREMENTS
        self._file: TextIO = self._path.open("a+", newline="", encoding="utf-8")
        try:
            # Released by the system when the process dies, however it dies.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StoreError("another process is making this run", where=str(folder)) from error
        self._file.truncate(kept)
        self.unsynced = False
        self._rows = csv.writer(self._file, lineterminator="\n")
        if kept == 0:
            self._rows.writerow(COLUMNS)

    def __call__(self, row: Measurement) -> None:
        self._rows.writerow((row.step, repr(row.seconds), row.direction, row.quantity, repr(row.value)))
        self.unsynced = True

    def sync(self) -> int:
        """Bring every row so far to the disk and return the length of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.unsynced = False
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


def read(folder: Path) -> Record:
    """A run's folder as a Record; StoreError names the file at fault."""
    content = _read_run_file(folder)
    whole = content.outcome is not None and content.outcome.status != "failed"
    rows = tuple(_read_measurements(folder / MEASUREMENTS, whole=whole))
    return Record(content.run, content.environment, content.outcome, rows, str(folder))


def read_all(folder: Path) -> tuple[list[Record], list[StoreError]]:
    """Every run in and below a folder, in the order of their paths, and an error for each that cannot be read."""
    if not folder.exists():
        raise StoreError("there is no such folder", where=str(folder), remedy="runs are made by `clipbench run`")
    if not folder.is_dir():
        raise StoreError("this is a file; results are a folder", where=str(folder))
    records, errors = [], []
    for path in sorted(folder.rglob(RUN)):
        try:
            records.append(read(path.parent))
        except StoreError as error:
            errors.append(error)
    return records, errors


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


def read_log(folder: Path) -> str:
    path = folder / LOG
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def write_heartbeat(folder: Path, *, progress: float, step: int, loss: float) -> None:
    """A sign of life for the supervisor: the latest of these, not a history; never worth an fsync."""
    path = folder / f".{HEARTBEAT}"
    path.write_text(json.dumps({"progress": progress, "step": step, "loss": loss}))
    path.replace(folder / HEARTBEAT)


def read_heartbeat(folder: Path) -> dict[str, float] | None:
    with suppress(OSError, ValueError):
        content: dict[str, float] = json.loads((folder / HEARTBEAT).read_text())
        return content
    return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: fill the path given, and it takes the place of `path` at the end."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as draft:
            draft.write_bytes(content + b"\n")
    except OSError as error:
        raise StoreError(f"cannot write this file ({error.strerror})", where=str(path)) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_run_file(folder: Path, content: _RunFile) -> None:
    _replace(folder / RUN, _RUN_FILE.dump_json(content, indent=2))


def _read_run_file(folder: Path) -> _RunFile:
    path = folder / RUN
    try:
        raw: Any = json.loads(path.read_bytes())
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            found = f"this run has format {raw.get('format')!r}; this clipbench reads format {FORMAT}"
            raise StoreError(found, where=str(path), remedy="read it with the clipbench that wrote it")
        return _RUN_FILE.validate_python(raw)
    except OSError as error:
        raise StoreError(f"cannot read this file ({error.strerror})", where=str(path), remedy=_ANEW) from error
    except (ValueError, ValidationError) as error:
        raise StoreError(f"this is not a run ({_first(error)})", where=str(path), remedy=_ANEW) from error


def _read_measurements(path: Path, *, whole: bool) -> Iterator[Measurement]:
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")  # a broken byte makes a row that is no measurement
    lines = text.splitlines()
    if not text.endswith("\n") and not whole:
        del lines[-1:]  # the row that was being written when the process died or the disk was full
    for number, row in enumerate(csv.reader(lines), start=1):
        if number == 1 and tuple(row) == COLUMNS:
            continue
        yield _measurement(row, where=f"{path}:{number}")


def _measurement(row: Sequence[str], *, where: str) -> Measurement:
    try:
        step, seconds, direction, quantity, value = row
        return Measurement(int(step), float(seconds), direction, quantity, float(value))
    except ValueError as error:
        raise StoreError(f"this is not a measurement ({','.join(row)!r})", where=where, remedy=_ANEW) from error


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        return f"{where}: {fault['msg']}" if where else fault["msg"]
    return str(error)
