"""The recorded curves as tidy rows: one row for each recorded value."""

import csv
import io
from collections.abc import Iterable, Iterator
from functools import cache

from clipbench.harmless import as_cell
from clipbench.records import Record

COLUMNS = ("spec", "task", "arm", "seed", "step", "seconds", "direction", "quantity", "value")

CurveRow = tuple[str, str, str, int, int, float, str, str, float]  # the values of COLUMNS


def rows(record: Record) -> Iterator[CurveRow]:
    """A run's values in the order written.

    `seconds` is training time; `direction` is empty for a quantity without one, `own` for the arm's own update, and
    the arm's name for a ghost's.
    """
    run = record.run
    for step, seconds, direction, quantity, value in record.measurements:
        yield run.spec, run.task.name, run.arm.name, run.seed, step, seconds, direction, quantity, value


def csv_texts(records: Iterable[Record]) -> Iterator[str]:
    """CSV in parts: the names of the columns, then the rows of each run that has any.

    Numbers have every digit; infinity is `inf`, an undefined number `nan`. A text that a spreadsheet would take for a
    formula (=1+1, @x) stands behind an apostrophe, and control characters are shown by their codes.
    """
    cell = cache(as_cell)  # few texts in many rows
    yield _csv([COLUMNS])
    for record in records:
        if len(record.measurements):
            yield _csv([cell(each) if isinstance(each, str) else each for each in row] for row in rows(record))


def _csv(lines: Iterable[Iterable[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()
