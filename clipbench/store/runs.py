"""One run's folder: what is to be run, what was measured, and how it ended."""

import csv
import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json

from clipbench.errors import StoreError
from clipbench.measurements import NOTHING, Layout, Measurement, Measurements
from clipbench.records import FORMAT, Environment, Outcome, Record, Run
from clipbench.store import forks
from clipbench.store.atomic import make_folder, replace_content

READABLE = (1, FORMAT)
RUN, MEASUREMENTS, CHECKPOINT, HEARTBEAT, LOG = (
    "run.json",
    "measurements.csv",
    "checkpoint.pt",
    "heartbeat.json",
    "log.txt",
)
COLUMNS = ("step", "seconds", "direction", "quantity", "value")
HEADING = ",".join(COLUMNS)
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

    @property
    def is_done(self) -> bool:
        """Whether this is a planned run's result: ended, not by a crash, and of the format that is written today."""
        return self.format == FORMAT and self.outcome is not None and self.outcome.status != "failed"


_RUN_FILE = TypeAdapter(RunFile)


def describe(run: Run, folder: Path) -> None:
    """Write what is to be run, as it is planned: an interrupted run goes on from its checkpoint, by its plan's word."""
    make_folder(folder)
    there = read_run_file(folder) if (folder / RUN).exists() else None
    if there is None or there.outcome is not None or there.format != FORMAT:
        for stale in (MEASUREMENTS, CHECKPOINT, HEARTBEAT, LOG):
            (folder / stale).unlink(missing_ok=True)
    if there is None or there != RunFile(FORMAT, run.key, run):
        replace_content(folder / RUN, _dumped(RunFile(FORMAT, run.key, run)))


def finish(folder: Path, outcome: Outcome, environment: Environment | None) -> None:
    """Give the run its outcome and its digest, in one atomic step; what was only needed to resume it goes.

    Raises:
        StoreError: the file cannot be written, or this process is a fork of the worker that makes the run.
    """
    forks.refuse_in_a_fork(folder)
    ended = replace(read_run_file(folder), outcome=outcome, environment=environment)
    digest = digest_of(_dumped(ended), _recorded(folder))
    replace_content(folder / RUN, _dumped(replace(ended, digest=digest)))
    for leftover in (CHECKPOINT, HEARTBEAT):
        (folder / leftover).unlink(missing_ok=True)
    log = folder / LOG
    if log.exists() and log.stat().st_size == 0:
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
    content = json.loads(described)
    ended = {name: content.get(name) for name in ("outcome", "environment")}
    ended["measurements"] = hashlib.sha256(recorded).hexdigest()
    return hashlib.sha256(json.dumps(ended, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def relabelled(described: bytes, run: Run) -> bytes:
    """The content of run.json with the names of an equal run, and all else as it is; on the device it was made on."""
    content = json.loads(described)
    planned = json.loads(_dumped(RunFile(FORMAT, run.key, run)))["run"]
    content["run"] = planned | {"device": content["run"].get("device", planned["device"])}
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def read(folder: Path | str) -> Record:
    """A run's folder as a Record; StoreError names the file at fault."""
    content = read_run_file(folder)
    whole = content.outcome is not None and content.outcome.status != "failed"
    rows = _read_measurements(f"{folder}/{MEASUREMENTS}", whole=whole)
    return Record(content.run, content.environment, content.outcome, rows, str(folder), content.key, content.format)


def _dumped(content: RunFile) -> bytes:
    return _RUN_FILE.dump_json(content, indent=2)


def _recorded(folder: Path) -> bytes:
    try:
        return _bytes(f"{folder}/{MEASUREMENTS}")
    except FileNotFoundError:  # a run that crashed before it measured anything
        return b""
    except OSError as error:
        path = str(folder / MEASUREMENTS)
        raise StoreError(f"cannot read this file ({error.strerror})", where=path, remedy=ANEW) from error


def read_run_file(folder: Path | str) -> RunFile:
    """What run.json says.

    Raises:
        StoreError: it cannot be read, or is no run of a format that is known.
    """
    path = f"{folder}/{RUN}"  # as text: a Path takes half as long to make as the file to read
    try:
        raw = _bytes(path)
    except OSError as error:
        raise StoreError(f"cannot read this file ({error.strerror})", where=path, remedy=ANEW) from error
    return parsed(raw, path)


def parsed(raw: bytes, path: str) -> RunFile:
    """The content of a run.json; StoreError names its `path`."""
    try:
        content = _RUN_FILE.validate_json(raw)
    except ValidationError:
        raise _not_a_run(raw, path) from None
    if content.format not in READABLE:
        raise _not_a_run(raw, path)
    return content


def _bytes(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)  # Path.read_bytes and open() ask the system twice as much
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _not_a_run(raw: bytes, path: str) -> StoreError:
    """Why this is no run; read once more, slowly, with words for people."""
    try:
        content: Any = json.loads(raw)
        if isinstance(content, dict) and content.get("format") not in READABLE:
            known = " and ".join(map(str, READABLE))
            found = f"this run has format {content.get('format')!r}; this clipbench reads formats {known}"
            return StoreError(found, where=path, remedy="read it with the clipbench that wrote it")
        _RUN_FILE.validate_python(content)
    except (ValueError, ValidationError) as error:
        return StoreError(f"this is not a run ({first_fault(error)})", where=path, remedy=ANEW)
    return StoreError("this is not a run", where=path, remedy=ANEW)


def _read_measurements(path: str, *, whole: bool) -> Measurements:
    """The rows of a file; a `whole` one, whose run is done, may not end in half a row: half a number is a number."""
    try:
        text = _bytes(path).decode(errors="replace")  # a broken byte makes a row that is no measurement
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not whole:
            return NOTHING
        raise StoreError(f"cannot read this file ({error.strerror})", where=path, remedy=ANEW) from error
    if not text.endswith("\n"):
        if whole:
            raise StoreError("the last row is cut short", where=f"{path}:{len(text.splitlines())}", remedy=ANEW)
        text = text[: text.rfind("\n") + 1]  # but for the row being written when the process died or the disk was full
    if text.startswith(HEADING) and '"' not in text:
        with suppress(ValueError):
            return _by_columns(text.removeprefix(HEADING))
    return Measurements.of(_by_rows(text.splitlines(), path))


def _by_columns(text: str) -> Measurements:
    """What follows the heading, without quotes, a column at a time: several times as fast as a row at a time.

    Raises:
        ValueError: a row is odd in any way.
    """
    # Each line's end becomes a field, the first of the row after it; a row too long or too short displaces the next.
    before, *fields = text.removesuffix("\n").replace("\n", ",\n,").split(",")
    width = 1 + len(COLUMNS)
    ends, step, seconds, direction, quantity, value = (fields[column::width] for column in range(width))
    if before or ends.count("\n") != len(ends):
        raise ValueError("a row has too many fields or too few")
    layout = _layout(",".join((*step, *direction, *quantity)))
    numbers = _floats(seconds + value)
    return Measurements(layout, numbers[: len(seconds)], numbers[len(seconds) :])


@lru_cache(maxsize=1000)  # of thousands of runs, most were measured at the same steps
def _layout(fields: str) -> Layout:
    """The steps, then the directions, then the quantities of a file's rows.

    Raises:
        ValueError: a step is no number, or is there twice.
    """
    columns = fields.split(",") if fields else []
    rows = len(columns) // 3
    step, direction, quantity = columns[:rows], columns[rows : 2 * rows], columns[2 * rows :]
    layout = Layout(tuple(map(int, step)), tuple(direction), tuple(quantity))
    if len(set(zip(layout.steps, direction, quantity, strict=True))) < rows:  # looked for once for all runs of a layout
        raise ValueError("a step is there twice")
    return layout


def _floats(texts: Sequence[str]) -> "array[float]":
    """Each text as `float` reads it; by way of JSON, which is three times as fast, where all are plain numbers.

    An array has a third of a list's memory, and is freed at once and not number by number.
    """
    joined = ",".join(texts)
    if "true" not in joined and "false" not in joined:  # which would become 1 and 0
        with suppress(ValueError, TypeError, OverflowError):
            return array("d", from_json(f"[{joined}]"))
    return array("d", map(float, texts))


def _by_rows(lines: Sequence[str], path: str) -> Iterator[Measurement]:
    """A row at a time, so that the one at fault can be named."""
    there: dict[tuple[int, str, str], int] = {}
    for number, row in enumerate(csv.reader(lines), start=1):
        if number == 1 and tuple(row) == COLUMNS:
            continue
        found = _measurement(row, where=f"{path}:{number}")
        first = there.setdefault((found.step, found.direction, found.quantity), number)
        if first != number:
            reason = f"{measured(found)} is there twice, first in line {first}"
            raise StoreError(reason, where=f"{path}:{number}", remedy=ANEW)
        yield found


def measured(row: Measurement) -> str:
    """What a row is of: `slope of own at step 4`."""
    return f"{row.quantity}{f' of {row.direction}' if row.direction else ''} at step {row.step}"


def _measurement(row: Sequence[str], *, where: str) -> Measurement:
    try:
        step, seconds, direction, quantity, value = row
        return Measurement(int(step), float(seconds), direction, quantity, float(value))
    except ValueError as error:
        raise StoreError(f"this is not a measurement ({','.join(row)!r})", where=where, remedy=ANEW) from error


def first_fault(error: Exception) -> str:
    """The first thing that is wrong with a file, in one line."""
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        return f"{where}: {fault['msg']}" if where else fault["msg"]
    return str(error)
