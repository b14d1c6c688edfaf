"""Lists: the entries of a shelf, the runs of a results folder, what columns mean. As tables and as JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from clipbench.harmless import on_one_line
from clipbench.judging.metrics import status
from clipbench.judging.words import number
from clipbench.quantities import final_loss
from clipbench.records import Record, Value
from clipbench.report.fields import Field
from clipbench.report.numbers import NONE, seconds
from clipbench.report.raw import to_json
from clipbench.report.text import lines_of, text_of

ListFormat = Literal["table", "json"]


class Option(Protocol):
    """An option of an entry; `default` means nothing where it is `required`."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def default(self) -> Value: ...


class Entry(Protocol):
    """A task, an optimizer or a probe that a spec may use; `broken` says why it cannot be used, if so."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def options(self) -> Sequence[Option]: ...
    @property
    def broken(self) -> str: ...


def shelf(entries: Sequence[Entry], *, fmt: ListFormat = "table") -> RenderableType:
    """The entries of a shelf with their options; an option without a default must be given in the spec."""
    if fmt == "json":
        return to_json([_entry(entry) for entry in entries])
    table = list_table(["name", "what it is", "options"], numbers=[])
    for entry in entries:
        summary = f"{entry.summary} [cannot be used: {entry.broken}]" if entry.broken else entry.summary
        options = [on_one_line(_option(option)) for option in entry.options] or [NONE]
        add_row(table, entry.name, summary, lines_of("\n".join(options)))
    return table


def runs(records: Sequence[Record], *, fmt: ListFormat = "table") -> RenderableType:
    """The runs there are: how each ended, where, at what loss, and how long it trained."""
    if fmt == "json":
        return to_json([_described(record) for record in records])
    table = list_table(["run", "status", "folder"], numbers=["final loss", "steps", "trained"])
    for record in records:
        ended, loss = record.outcome, final_loss(record)
        add_row(
            table,
            str(record.run),
            status(record),
            record.folder or NONE,
            number(loss, 4) if ended and not math.isnan(loss) else NONE,
            str(ended.steps) if ended else NONE,
            seconds(ended.train_seconds) if ended else NONE,
        )
    return table


def columns(tables: Mapping[str, Sequence[Field]], *, fmt: ListFormat = "table") -> RenderableType:
    """What the columns of each table mean, under their names in CSV and JSON."""
    found = [(name, field) for name, fields in tables.items() for field in fields]
    if fmt == "json":
        return to_json([{"table": name, "column": field.name, "meaning": field.meaning} for name, field in found])
    table = list_table(["table", "column", "meaning"], numbers=[])
    for name, field in found:
        add_row(table, name, field.name, field.meaning)
    return table


def _option(option: Option) -> str:
    typed = f"{option.name}: {option.type}"
    return typed if option.required else f"{typed} = {option.default!r}"


def _entry(entry: Entry) -> dict[str, object]:
    options = [
        {"name": option.name, "type": option.type, "required": option.required, "default": option.default}
        for option in entry.options
    ]
    return {"name": entry.name, "summary": entry.summary, "broken": entry.broken, "options": options}


def _described(record: Record) -> dict[str, object]:
    ended = record.outcome
    return {
        "task": record.run.task.name,
        "arm": record.run.arm.name,
        "trial_of": record.run.trial_of,
        "seed": record.run.seed,
        "key": record.identity,
        "status": status(record),
        "reason": ended.reason if ended else None,
        "final_loss": final_loss(record),
        "steps": ended.steps if ended else None,
        "train_seconds": ended.train_seconds if ended else None,
        "folder": record.folder,
    }


def list_table(words: Sequence[str], *, numbers: Sequence[str]) -> Table:
    """A plain table: the columns of words fold, those of numbers do not."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, collapse_padding=True)
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def add_row(table: Table, *cells: str | Text) -> None:
    """Add a row of plain text: a name with brackets must not be read as markup."""
    table.add_row(*(text_of(cell) if isinstance(cell, str) else cell for cell in cells))
