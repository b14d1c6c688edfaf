"""Documents as the tests read them: drawn, as cells, and as a program's rows."""

import csv
import io
import json
from typing import Any

from rich.console import Console

from clipbench.report.render import Format, render
from clipbench.report.table import AnyTable, Document


def text(document: Document, fmt: Format = "table", width: int = 200) -> str:
    """The document in any format; for the terminal, drawn without colours."""
    if fmt != "table":
        return str(render(document, fmt))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(document, fmt), crop=False)  # as clipbench.console does
    return capture.get()


def drawn(document: Document, width: int = 200) -> str:
    return text(document, "table", width)


def cells(table: AnyTable) -> list[list[str]]:
    """What people read, row by row."""
    return [[" ".join(parts) for parts in row] for row in table.cells()]


def headings(table: AnyTable) -> list[str | None]:
    return [column.heading for column in table.visible]


def all_told(table: AnyTable, shown: str) -> bool:
    """Whether every piece of every cell was shown whole, or its column was named as one without room."""
    words = set(shown.split())
    without = shown.partition("no room for: ")[2].replace("\n", " ")
    return all(
        (column.heading or "") in without or all(word in words for part in parts for word in part.split())
        for row in table.cells()
        for column, parts in zip(table.visible, row, strict=True)
    )


def lines(document: Document) -> list[dict[str, str]]:
    """The rows of the CSV."""
    return list(csv.DictReader(io.StringIO(text(document, "csv"))))


def data(document: Document) -> Any:
    """What the JSON holds."""
    return json.loads(text(document, "json"))
