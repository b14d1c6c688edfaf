"""One run's folder: what is to be run, what was measured, and how it ended."""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from clipbench import fast
from clipbench.errors import StoreError
from clipbench.measurements import NOTHING, Layout, Measurement, Measurements
from clipbench.records import FORMAT, Environment, Outcome, Record, Run
from clipbench.store import forks
from clipbench.store.atomic import replace_content
from clipbench.store.opening import MOST_JSON, content
from clipbench.store.sound import LARGEST, unsound

READABLE = (1, FORMAT)
RUN, MEASUREMENTS, CHECKPOINT, HEARTBEAT, LOG, JOB = (
    "run.json",
    "measurements.csv",
    "checkpoint.pt",
    "heartbeat.json",
    "log.txt",
    "job.json",
)
COLUMNS = ("step", "seconds", "direction", "quantity", "value")
HEADING = ",".join(COLUMNS)
LONGEST = 200  # characters of a damaged file that are shown
ANEW = "restore the file, or delete the run's folder and run the spec again: only this run is made anew"


@with_config(ConfigDict(ser_json_inf_nan="constants", extra="forbid"))
@dataclass(frozen=True)
class RunFile:
    """What run.json says; `digest` is that of an ended run, empty in files of format 1."""

    format: int
    key: str
    run: Run
    environment: Environment | None = None
    outcome: Outcome | None = None
    digest: str = ""

    def dumped(self) -> bytes:
        """As run.json has it."""
        return _RUN_FILE.dump_json(self, indent=2)

    @property
    def is_done(self) -> bool:
        """Whether this is a planned run's result: ended, not by a crash, and of the format that is written today."""
        return self.format == FORMAT and self.outcome is not None and self.outcome.status != "failed"


_RUN_FILE = TypeAdapter(RunFile)


def finish(folder: Path, outcome: Outcome, environment: Environment | None) -> None:
    """Give the run its outcome and its digest, in one atomic step; what was only needed to resume it goes.

    Raises:
        StoreError: the file cannot be written, or this process is a fork of the worker that makes the run.
    """
    forks.refuse_in_a_fork(folder)
    ended = replace(read_run_file(folder), outcome=outcome, environment=environment)
    digest = digest_of(ended.dumped(), recorded_in(folder))
    replace_content(folder / RUN, replace(ended, digest=digest).dumped())
    for leftover in (CHECKPOINT, HEARTBEAT, JOB):
        (folder / leftover).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        log = folder / LOG
        if log.lstat().st_size == 0:
            log.unlink()


def read_outcome(folder: Path) -> Outcome | None:
    """How the run in a folder ended; None while it has not."""
    return read_run_file(folder).outcome


def digest_of(described: bytes, recorded: bytes) -> str:
    """What an ended run's file has as its digest: hex SHA-256 over its measurements, its outcome and its environment.

    Names are not in it, so that a run which is renamed keeps it. The outcome is taken as the file has it, in canonical
    JSON (keys in order, no spaces): fields that a later clipbench adds change no digest.

    Args:
        described: the content of run.json.
        recorded: the content of measurements.csv.
    """
    file = json.loads(described)
    ended = {name: file.get(name) for name in ("outcome", "environment")}
    ended["measurements"] = hashlib.sha256(recorded).hexdigest()
    return hashlib.sha256(json.dumps(ended, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def relabelled(described: bytes, run: Run) -> bytes:
    """The content of run.json with the names of an equal run, and all else as it is; on the device it was made on."""
    file = json.loads(described)
    planned = json.loads(RunFile(FORMAT, run.key, run).dumped())["run"]
    file["run"] = planned | {"device": file["run"].get("device", planned["device"])}
    return json.dumps(file, indent=2, ensure_ascii=False).encode()


def read(folder: Path | str) -> Record:
    """A run's folder as a Record; StoreError names the file at fault."""
    file = read_run_file(folder)
    whole = file.outcome is not None and file.outcome.status != "failed"
    rows = _read_measurements(f"{folder}/{MEASUREMENTS}", whole=whole)
    return Record(file.run, file.environment, file.outcome, rows, str(folder), file.key, file.format)


def recorded_in(folder: Path) -> bytes:
    """The content of measurements.csv; empty where there is none, for a run that crashed before it measured anything.

    Raises:
        StoreError: it cannot be read.
    """
    path = str(folder / MEASUREMENTS)
    try:
        return content(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"cannot read this file ({error.strerror})", where=path, remedy=ANEW) from error


def described_by(folder: Path | str) -> bytes:
    """The content of run.json; StoreError where it cannot be read."""
    path = f"{folder}/{RUN}"  # as text: a Path takes half as long to make as the file to read
    try:
        return content(path, MOST_JSON)
    except OSError as error:
        raise StoreError(f"cannot read this file ({error.strerror})", where=path, remedy=ANEW) from error


def read_run_file(folder: Path | str) -> RunFile:
    """What run.json says.

    Raises:
        StoreError: it cannot be read, or is no run of a format that is known.
    """
    return parsed(described_by(folder), f"{folder}/{RUN}")


def parsed(raw: bytes, path: str) -> RunFile:
    """The content of a run.json; StoreError names its `path`."""
    try:
        file = _RUN_FILE.validate_json(raw)
    except ValidationError as error:
        raise _not_a_run(raw, error, path) from None
    if file.format not in READABLE:
        raise _of_another_format(file.format, path)
    if fault := unsound(file.run, file.outcome, file.environment):
        raise StoreError(f"this is not a run ({fault})", where=path, remedy=ANEW)
    return file


def _not_a_run(raw: bytes, error: Exception, path: str) -> StoreError:
    """Why this is no run; read once more, slowly, with words for people."""
    try:
        content: Any = json.loads(raw)
        if isinstance(content, dict) and content.get("format") not in READABLE:
            return _of_another_format(content.get("format"), path)
        _RUN_FILE.validate_python(content)
    except ValueError as fault:
        error = fault
    except RecursionError:  # nested deeper than Python calls, which the first reading has found, too
        pass
    return StoreError(f"this is not a run ({first_fault(error)})", where=path, remedy=ANEW)


def _of_another_format(version: object, path: str) -> StoreError:
    known = " and ".join(map(str, READABLE))
    reason = f"this run has format {shortened(repr(version))}; this clipbench reads formats {known}"
    return StoreError(reason, where=path, remedy="read it with the clipbench that wrote it")


def _read_measurements(path: str, *, whole: bool) -> Measurements:
    """The rows of a file; a `whole` one, whose run is done, may not end in half a row: half a number is a number."""
    try:
        text = content(path).decode(errors="replace")  # a broken byte makes a row that is no measurement
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not whole:
            return NOTHING
        raise StoreError(f"cannot read this file ({error.strerror})", where=path, remedy=ANEW) from error
    lines = text.count("\n")
    if not text.endswith("\n"):
        if whole:
            raise StoreError("the last row is cut short", where=f"{path}:{lines + 1}", remedy=ANEW)
        text = text[: text.rfind("\n") + 1]  # but for the row being written when the process died or the disk was full
    if text.startswith(f"{HEADING}\n") and '"' not in text and text.count(",") == (len(COLUMNS) - 1) * lines:
        with suppress(ValueError):
            return _by_columns(text)
    return Measurements.of(_by_rows(text, path))


def _by_columns(text: str) -> Measurements:
    """The rows of a text without quotes, several times as fast as a row at a time.

    Raises:
        ValueError: a row is odd in any way.
    """
    columns = fast.columns(text, len(COLUMNS))
    steps, seconds, directions, quantities, values = (column[1:] for column in columns)
    numbers = fast.floats(seconds + values)
    layout = _layout(tuple(steps), tuple(directions), tuple(quantities))
    return Measurements(layout, numbers[: len(seconds)], numbers[len(seconds) :])


@lru_cache(maxsize=1000)  # most of thousands of runs were measured at the same steps: 0.3 s less
def _layout(steps: tuple[str, ...], directions: tuple[str, ...], quantities: tuple[str, ...]) -> Layout:
    """What was measured when, by the texts of three columns.

    Raises:
        ValueError: a step is no number, or is there twice.
    """
    layout = Layout(tuple(map(_step, map(int, steps))), directions, quantities)
    if len(set(zip(layout.steps, directions, quantities, strict=True))) < len(steps):
        raise ValueError("a step is there twice")
    return layout


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends. Lines of a file that ends in none are not kept all at once, however many they are."""
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        yield text[at:end]
        at = end


def _rows(text: str, path: str) -> Iterator[list[str]]:
    rows = csv.reader(_lines(text))
    try:
        yield from rows
    except csv.Error as error:  # a field of megabytes, or a stray carriage return
        reason = f"this is not a measurement ({error})"
        raise StoreError(reason, where=f"{path}:{rows.line_num}", remedy=ANEW) from error


def _by_rows(text: str, path: str) -> Iterator[Measurement]:
    """A row at a time, so that the one at fault can be named."""
    there: dict[tuple[int, str, str], int] = {}
    for number, row in enumerate(_rows(text, path), start=1):
        if number == 1 and tuple(row) == COLUMNS:
            continue
        measurement = _measurement(row, where=f"{path}:{number}")
        first = there.setdefault((measurement.step, measurement.direction, measurement.quantity), number)
        if first != number:
            reason = f"{measured(measurement)} is there twice, first in line {first}"
            raise StoreError(reason, where=f"{path}:{number}", remedy=ANEW)
        yield measurement


def _step(number: int) -> int:
    """Raises ValueError where this can be no step."""
    if not 0 <= number < LARGEST:
        raise ValueError("a step is not below 0, nor beyond what a machine counts to")
    return number


def measured(row: Measurement) -> str:
    """What a row is of: `slope of own at step 4`."""
    return f"{row.quantity}{f' of {row.direction}' if row.direction else ''} at step {row.step}"


def _measurement(row: Sequence[str], *, where: str) -> Measurement:
    try:
        step, seconds, direction, quantity, value = row
        return Measurement(_step(int(step)), float(seconds), direction, quantity, float(value))
    except ValueError as error:
        raise StoreError(
            f"this is not a measurement ({shortened(repr(','.join(row)))})", where=where, remedy=ANEW
        ) from error


def first_fault(error: Exception) -> str:
    """The first thing that is wrong with a file, in one line."""
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        return shortened(f"{where}: {fault['msg']}" if where else fault["msg"])
    return shortened(str(error))


def shortened(text: str) -> str:
    """A text of a stranger's as a message has it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
