"""A document for programs: CSV and JSON, with every digit."""

import csv
import io
import json
import math
from typing import Any

from clipbench.harmless import as_cell, in_json
from clipbench.report.table import AnyTable, Document


def as_csv(document: Document) -> str:
    """A line a row under the names of the columns; infinity is `inf`, an undefined number `nan`."""
    return "\n".join(map(_csv, document.tables))


def as_json(document: Document) -> str:
    """What the document holds for programs; by default the rows of its table, each as name → value.

    JSON has no NaN and no infinity: an undefined number is null, infinity the text "inf", minus infinity "-inf".
    """
    if document.data is not None:
        return to_json(document.data())
    rows = [table.records() for table in document.tables]
    return to_json(rows[0] if len(rows) == 1 else rows)


def to_json(value: object) -> str:
    """Plain data as JSON text, with null and "inf" for the numbers that JSON lacks."""
    return in_json(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def to_json_line(value: object) -> str:
    """The same on one line."""
    return in_json(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))


def plain(value: object) -> Any:
    """Nested data with NaN as None and infinities as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def _csv(table: AnyTable) -> str:
    """A text that a spreadsheet would take for a formula (=1+1, @x) stands behind an apostrophe; numbers stay.

    So does the heading of a quantity whose name is somebody's.
    """
    stream = io.StringIO()
    names = [column.name for column in table.named]
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writerow({name: as_cell(name) for name in names})
    writer.writerows({name: _cell(value) for name, value in record.items()} for record in table.records())
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        value = ";".join(map(str, value))
    return as_cell(value) if isinstance(value, str) else value
