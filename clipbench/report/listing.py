"""Lists: the entries of a shelf, the runs of a results folder, what columns mean."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from clipbench.judging.words import number
from clipbench.quantities import ALIASES, Quantity, final_loss
from clipbench.records import Outcome, Record
from clipbench.report.columns import if_any
from clipbench.report.numbers import NONE, Parts, seconds
from clipbench.report.table import AnyColumn, CellValue, Column, Document, Table, text_column
from clipbench.spec.catalogue import Entry, Option


def shelf(entries: Sequence[Entry]) -> Document:
    """The entries of a shelf with their options; an option without a default must be given in the spec."""
    table: Table[Entry] = Table(
        name="shelf",
        columns=(
            text_column("name", "its name in a spec", lambda entry: entry.name),
            text_column("origin", "where it comes from", lambda entry: entry.origin or "clipbench", "from", wraps=True),
            text_column(
                "summary",
                "what it is",
                lambda entry: entry.summary,
                heading="what it is",
                shown=lambda entry: (
                    f"{entry.summary} [cannot be used: {entry.broken}]" if entry.broken else entry.summary,
                ),
                wraps=True,
            ),
            Column(
                "options",
                "its options with their types and defaults",
                shown=lambda entry: tuple(map(_option, entry.options)) or (NONE,),
                heading="options",
                right=False,
                wraps=True,
            ),
        ),
        rows=entries,
    )
    return Document([table], data=lambda: [_entry(entry) for entry in entries])


def runs(records: Sequence[Record]) -> Document:
    """The runs there are: how each ended, where, at what loss, and how long it trained."""
    table: Table[Record] = Table(
        name="runs",
        columns=(
            Column("run", "task, arm and seed", shown=lambda record: (str(record.run),), heading="run", right=False),
            Column("task", "the task's name", lambda record: record.run.task.name),
            Column("arm", "the arm's name", lambda record: record.run.arm.name),
            Column("trial_of", "the tuned arm; empty unless the run is a trial", lambda record: record.run.trial_of),
            Column("seed", "its seed", lambda record: record.run.seed),
            Column("key", "hash of the run's description", lambda record: record.identity),
            text_column("status", "how it ended", lambda record: record.status),
            Column("reason", "why it diverged or failed", _if_ended(lambda outcome: outcome.reason)),
            Column("final_loss", "its last evaluation loss", final_loss, "final loss", _loss),
            Column("steps", "number of steps", _if_ended(lambda outcome: outcome.steps), "steps"),
            Column(
                "train_seconds",
                "training time in seconds",
                _if_ended(lambda outcome: outcome.train_seconds),
                "trained",
                lambda record: (seconds(record.outcome.train_seconds) if record.outcome else NONE,),
            ),
            text_column(
                "folder",
                "the run's folder",
                lambda record: record.folder,
                shown=lambda record: (record.folder or NONE,),
                wraps=True,
            ),
        ),
        rows=records,
        order=("run", "status", "folder", "final_loss", "steps", "train_seconds"),
    )
    return Document([table])


def quantities(known: Iterable[Quantity]) -> Document:
    """The quantities with their meanings; aliases are in brackets."""
    aliases: dict[str, list[str]] = {}
    for alias, name in ALIASES.items():
        aliases.setdefault(name, []).append(alias)

    def called(quantity: Quantity) -> Parts:
        return (
            f"{quantity.name} ({', '.join(aliases[quantity.name])})" if quantity.name in aliases else quantity.name,
        )

    table: Table[Quantity] = Table(
        name="quantities",
        columns=(
            text_column("name", "its name for --metric", lambda quantity: quantity.name, "quantity", called),
            Column("aliases", "short names that --metric also takes", lambda quantity: aliases.get(quantity.name, [])),
            text_column("scale", "log: compared as a ratio; linear: as a difference", lambda quantity: quantity.scale),
            text_column("better", "whether lower or higher is better", lambda quantity: quantity.better),
            text_column(
                "noise",
                "what makes it vary between runs: the seed or the machine",
                lambda quantity: quantity.noise,
                "varies by",
            ),
            text_column("meaning", "what it is", lambda quantity: quantity.meaning, "what it is", wraps=True),
        ),
        rows=list(known),
        note="QUANTITY@ARM: the quantity along the steps of another arm, if the runs have its ghost.",
    )
    return Document([table])


def columns(tables: Mapping[str, Sequence[AnyColumn]]) -> Document:
    """What the columns of each table mean, under their names in CSV and JSON."""
    table: Table[tuple[str, AnyColumn]] = Table(
        name="columns",
        columns=(
            text_column("table", "the table of the column", lambda row: row[0]),
            text_column("column", "its name", lambda row: row[1].name),
            text_column("meaning", "what it means", lambda row: row[1].meaning, wraps=True),
        ),
        rows=[(name, column) for name, of_table in tables.items() for column in of_table],
    )
    return Document([table])


def _if_ended(value: Callable[[Outcome], CellValue]) -> Callable[[Record], CellValue]:
    return if_any(lambda record: record.outcome, value)


def _loss(record: Record) -> Parts:
    loss = final_loss(record)
    return (number(loss, 4) if record.outcome and not math.isnan(loss) else NONE,)


def _option(option: Option) -> str:
    typed = f"{option.name}: {option.type}"
    return typed if option.required else f"{typed} = {option.default!r}"


def _entry(entry: Entry) -> dict[str, object]:
    options = [
        {"name": option.name, "type": option.type, "required": option.required, "default": option.default}
        for option in entry.options
    ]
    return {
        "name": entry.name,
        "summary": entry.summary,
        "origin": entry.origin or "clipbench",
        "broken": entry.broken,
        "options": options,
    }
