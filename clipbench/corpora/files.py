"""Records of files on disk: JSON lines, Parquet, or texts, each of which is a record."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from clipbench.errors import ClipbenchError

FileRecord = Mapping[str, Any]

_JSON_LINES = (".jsonl", ".json", ".ndjson")


def files_of(folder: Path, pattern: str = "") -> list[Path]:
    """The file itself, or the files of a folder whose path from there fits the pattern, in their alphabetical order.

    Without a pattern all that are not hidden.

    Raises:
        ClipbenchError: none fits.
    """
    if folder.is_file():
        return [folder]
    fitting = [
        file
        for file in sorted(folder.glob(pattern or "**/*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not fitting:
        message = f"no file fits the pattern {pattern!r}" if pattern else "there is no file"
        raise ClipbenchError(
            message, where=str(folder), remedy="mend `data`, or `files`, a pattern such as en-fr/*.parquet"
        )
    return fitting


def records(files: list[Path], most: int | None = None) -> Iterator[FileRecord]:
    """The records of the files one after the other, the first `most` of them.

    A line of JSON and a row of Parquet are a record. Any other file is one, {"text": its content}.

    Raises:
        ClipbenchError: a file cannot be read as what its name says.
    """
    return islice((record for file in files for record in _of(file)), most)


def text_in(record: FileRecord, field: str) -> str:
    """The text or the whole number in a field, as a text; dots lead into a mapping: translation.en.

    Raises:
        ClipbenchError: the record has no such field, or something else in it.
    """
    value: Any = record
    for part in field.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = ", ".join(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise ClipbenchError(f"a record has no field {field!r}", remedy=f"name one of its fields: {known}")
        value = value[part]
    if not isinstance(value, str | int):
        raise ClipbenchError(f"the field {field!r} of a record is of type {type(value).__name__}, not a text")
    return str(value)


def _of(file: Path) -> Iterator[FileRecord]:
    if file.suffix in _JSON_LINES:
        return _json_lines(file)
    if file.suffix == ".parquet":
        return _parquet(file)
    return iter([{"text": file.read_text(encoding="utf-8", errors="replace")}])


def _json_lines(file: Path) -> Iterator[FileRecord]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                remedy = "give a JSON object a line, or name the files that have them with `files`"
                raise ClipbenchError(f"not JSON: {error}", where=f"{file}:{number}", remedy=remedy) from error
            if not isinstance(record, dict):
                raise ClipbenchError(
                    f"a {type(record).__name__}, not a JSON object",
                    where=f"{file}:{number}",
                    remedy="write {...} a line",
                )
            yield record


def _parquet(file: Path) -> Iterator[FileRecord]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise ClipbenchError(
            "Parquet needs the package 'pyarrow', which is not installed",
            where=str(file),
            remedy="pip install pyarrow, or give the records as JSON lines",
        ) from error
    try:
        table = parquet.ParquetFile(file)
    except ArrowInvalid as error:
        raise ClipbenchError(f"not Parquet: {error}", where=str(file), remedy="fetch it again") from error
    return (record for batch in table.iter_batches() for record in batch.to_pylist())
