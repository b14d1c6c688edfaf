"""A report before it is written: paragraphs, lists and tables, the same for every format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clipbench.report.numbers import NONE, Parts

CellScalar = str | int | float | None
CellValue = (
    CellScalar | Sequence[CellScalar]
)  # what a program gets: in JSON a list is a list, in CSV its values with ; between

RowT = TypeVar("RowT")
Row_contra = TypeVar("Row_contra", contravariant=True)


@dataclass(frozen=True)
class Column(Generic[Row_contra]):
    """One property of a row, for programs and for people.

    Attributes:
        name: its key in CSV and JSON.
        meaning: what it is, in words.
        value: what programs get; None where the column is for people only.
        heading: what stands above it; None where the column is for programs only.
        shown: what people read, in pieces that may stand beneath each other; the value as text by default.
        stacked: the heading in several lines, for narrow columns; its words by default.
        right: set to the right, and never broken: a number.
        wraps: sentences or paths, each piece on lines of its own.
        spare: left out first where a terminal lacks room.
        beside: more numbers of the same quantity for programs, such as its error.
    """

    name: str
    meaning: str = ""
    value: Callable[[Row_contra], CellValue] | None = None
    heading: str | None = None
    shown: Callable[[Row_contra], Parts] | None = None
    stacked: Parts = ()
    right: bool = True
    wraps: bool = False
    spare: bool = False
    beside: Sequence["Column[Row_contra]"] = ()

    def cell(self, row: Row_contra) -> Parts:
        """What people read of a row."""
        if self.shown is not None:
            return self.shown(row)
        value = self.value(row) if self.value is not None else None
        return (NONE if value is None else str(value),)


def text_column(
    name: str,
    meaning: str,
    value: Callable[[RowT], str],
    heading: str | None = None,
    shown: Callable[[RowT], Parts] | None = None,
    *,
    wraps: bool = False,
) -> Column[RowT]:
    """A column of names or sentences, under its own name by default."""
    return Column(name, meaning, value, name if heading is None else heading, shown, right=False, wraps=wraps)


@dataclass(frozen=True)
class Table(Generic[RowT]):
    """Columns over rows.

    Attributes:
        name: for `--section` and JSON.
        columns: in the order of the CSV.
        title: what stands above it; `title_style` is Rich's name of how it looks.
        note: what its columns mean.
        caption: for LaTeX, where a table stands alone; title and note by default.
        order: the names of the columns that people see, in their order; by default all that have a heading.
        style: Rich's name for how a row looks in the terminal.
        indent: by how many characters the terminal sets it in.
        ruled: whether a line stands beneath the headings.
        fitted: the table as a terminal of a width shows it, with drawings in the room that is left.
    """

    name: str
    columns: Sequence[Column[RowT]]
    rows: Sequence[RowT]
    title: str = ""
    note: str = ""
    caption: str = ""
    order: Sequence[str] = ()
    style: Callable[[RowT], str] | None = None
    title_style: str = "bold"
    indent: int = 0
    ruled: bool = True
    fitted: "Callable[[int], Table[RowT]] | None" = None

    @property
    def visible(self) -> list[Column[RowT]]:
        """The columns for people."""
        if not self.order:
            return [column for column in self.columns if column.heading is not None]
        by_name = {column.name: column for column in self.columns}
        return [by_name[name] for name in self.order]

    @property
    def named(self) -> list[Column[RowT]]:
        """The columns for programs."""
        every = [each for column in self.columns for each in (column, *column.beside)]
        return [column for column in every if column.value is not None]

    def cells(self) -> list[list[Parts]]:
        """What people read, row by row."""
        columns = self.visible
        return [[column.cell(row) for column in columns] for row in self.rows]

    def records(self) -> list[dict[str, CellValue]]:
        """What programs get, row by row."""
        getters = [(column.name, column.value) for column in self.named if column.value is not None]
        return [{name: value(row) for name, value in getters} for row in self.rows]

    def styles(self) -> list[str]:
        """How each row is set; empty for a plain one."""
        return ["" if self.style is None else self.style(row) for row in self.rows]


@dataclass(frozen=True)
class Paragraph:
    """A text under its title.

    Attributes:
        captioned: the caption of a table says it too, so that LaTeX leaves it out.
        preformatted: its line ends are kept, as in a log.
        close: no empty line before it in the terminal.
        most: lines in a terminal of 100 columns, and in proportion in a narrower one; 0 for any number.
        whole: not wrapped, as a command that is to be copied.
    """

    text: str
    title: str = ""
    style: str = ""
    indent: int = 0
    captioned: bool = False
    preformatted: bool = False
    close: bool = False
    most: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Bullets:
    """Sentences under their title, each behind a dash."""

    sentences: Sequence[str]
    title: str = ""


AnyColumn = Column[Any]
AnyTable = Table[Any]  # a document holds tables of all kinds of rows, and looks into none of them
DocumentPart = Paragraph | Bullets | AnyTable


@dataclass(frozen=True)
class Document:
    """What a command has to say.

    Attributes:
        parts: for people, in order.
        lines: the rows of the CSV; by default those of its tables.
        data: what JSON holds; by default the rows.
    """

    parts: Sequence[DocumentPart]
    lines: AnyTable | None = None
    data: Callable[[], object] | None = None

    @property
    def tables(self) -> list[AnyTable]:
        """Those for programs."""
        return [self.lines] if self.lines is not None else [part for part in self.parts if isinstance(part, Table)]


def facts(values: Mapping[str, str], *, title: str = "", indent: int = 0) -> Table[tuple[str, str]]:
    """Names with what holds for them, as a table without headings."""
    return Table("facts", _FACTS, list(values.items()), title=title, indent=indent)


_FACTS: tuple[Column[tuple[str, str]], ...] = (
    text_column("name", "what it is", lambda fact: fact[0], ""),
    text_column("value", "what holds for it", lambda fact: fact[1], "", wraps=True),
)
