"""A document in the terminal, fitted to its width. Numbers are never cut, since a cut number reads as a wrong number.

Tables are laid out here and not by Rich, whose tables take 10 ms a row: a comparison of thousands of runs has a
thousand rows.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style

from clipbench.harmless import ENDLESS, on_one_line
from clipbench.report.numbers import Parts
from clipbench.report.table import AnyColumn, AnyTable, Bullets, Document, DocumentPart, Paragraph, Table

_PROSE = 100  # the least width of sentences where there is no end of the line
_LEAST_WIDTH = 10  # of a terminal
_NAME_WIDTHS = (48, 36, 24, 18, 12)  # where names are broken, into lines as long as there is room for
_IN_A_NAME = re.compile(r"(?<=[ ,/])|(?<=\.)(?=[^\W\d])|(?=\[)")  # where: `sam`, `[wrap.`, `sam.`, `rho=0.1]`
_SENTENCE_WIDTH = 28  # with less room than this, sentences stand beneath their row

_PLAIN = {  # signs that an encoding may lack
    "━": "=",
    "┄": "-",
    "●": "o",
    "┼": "+",
    "│": "|",
    "█": "#",
    "░": ".",
    "─": "-",
    "←": "<",
    "→": ">",
    "–": "-",
    "…": "...",
    "·": "|",
    "±": "+-",
    "×": "x",
    "÷": "/",
    "∞": "inf",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
}

_Lines = list[str]  # of a cell
_Styled = tuple[str, str]  # a line, and Rich's name for how it looks


def as_terminal(document: Document) -> RenderableType:
    """Something that a Rich console fits to its width. Names are never read as markup."""
    return _Drawn(document)


Clean = Callable[[str], str]  # makes a text harmless, and writes it in the characters that the stream has


@dataclass(frozen=True)
class _Drawn:
    document: Document

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        width, clean = max(options.max_width, _LEAST_WIDTH), _for(options.encoding)
        parts = [
            part.fitted(width) if isinstance(part, Table) and part.fitted else part for part in self.document.parts
        ]
        sheets = {at: _sheet(part, width, clean) for at, part in enumerate(parts) if isinstance(part, Table)}
        if width >= ENDLESS:
            width = max([_PROSE, *(cell_len(line) for lines in sheets.values() for line, _ in lines)])
        for at, part in enumerate(parts):
            if at and not (isinstance(part, Paragraph) and part.close):
                yield Segment.line()
            for line, style in _part(part, sheets.get(at, ()), width, clean):
                yield Segment(clean(line), Style.parse(style) if style else None)
                yield Segment.line()


def _for(encoding: str) -> Clean:
    """How a text is written in an encoding that may lack signs: `>=` for ≥."""
    lacking = {}
    for sign, plain in _PLAIN.items():
        try:
            sign.encode(encoding)
        except UnicodeError:
            lacking[ord(sign)] = plain
    return lambda text: on_one_line(text).translate(lacking)


def _sheet(table: AnyTable, width: int, clean: Clean) -> list[_Styled]:
    return [(" " * table.indent + line, style) for line, style in _Sheet(table, width - table.indent, clean).lines()]


def _part(part: DocumentPart, sheet: Sequence[_Styled], width: int, clean: Clean) -> Iterator[_Styled]:
    if part.title:
        style = "bold" if isinstance(part, Paragraph | Bullets) else part.title_style
        yield from ((line, style) for line in _wrapped(clean(part.title), width))
    if isinstance(part, Bullets):
        for sentence in part.sentences:
            first, *others = _wrapped(clean(sentence), width - 4)
            yield f"  - {first}", ""
            yield from ((f"    {line}", "") for line in others)
    elif isinstance(part, Paragraph):
        texts = part.text.expandtabs().split("\n") if part.preformatted else [part.text]
        room = ENDLESS if part.whole else width - part.indent
        lines = [line for text in texts for line in _wrapped(clean(text), room)]
        most = round(part.most * max(1.0, _PROSE / width))
        if most and len(lines) > most:
            lines = [*lines[: most - 1], _ended(lines[most - 1], width - part.indent)]
        yield from ((" " * part.indent + line, part.style) for line in lines)
    else:
        yield from sheet
        if part.note:
            yield from ((line, "dim") for line in _wrapped(clean(part.note), width))


def _ended(line: str, width: int) -> str:
    """A line after which more was to come."""
    return f"{_cut(line, width - 1)[0]}…"


class _Sheet:
    """A table with its cells made harmless, and the room that it has."""

    def __init__(self, table: AnyTable, width: int, clean: Clean) -> None:
        self.table = table
        self.columns = table.visible
        self.cells = [[tuple(map(clean, parts)) for parts in row] for row in table.cells()]
        self.styles = table.styles()
        self.headings = [clean(column.heading or "") for column in self.columns]  # it may name the baseline
        self.stacked = [list(map(clean, column.stacked)) for column in self.columns]
        self.width = width

    def lines(self) -> Iterator[_Styled]:
        """The rows on one line each, where they fit.

        Under stacked headings if need be; else with errors and counts beneath their numbers. Sentences are wrapped in
        the room that is left, or stand beneath their row. Where nothing else fits, the last columns are left out.
        """
        every = list(range(len(self.columns)))
        for inside in (True, False) if any(column.wraps for column in self.columns) else (True,):
            kept = [place for place in every if inside or not self.columns[place].wraps]
            for layout in self._layouts(kept):
                if widths := layout.widths(self.width):
                    return self._drawn(layout, widths, inside)
        return self._without_the_last()

    def _without_the_last(self) -> Iterator[_Styled]:
        """As many columns as fit, the spare ones and then the last ones left out; and which these are."""
        kept = [place for place, column in enumerate(self.columns) if not column.wraps]
        numbers = sorted((at for at in kept if self.columns[at].right), key=lambda at: (self.columns[at].spare, at))
        left_out: list[int] = []
        while True:
            layouts = [*self._layouts(kept, cut=True)]
            fitting = next((layout for layout in layouts if layout.widths(self.width)), None)
            if fitting or len(numbers) < 2:
                break
            left_out.append(numbers.pop())
            kept.remove(left_out[-1])
        layout = fitting or layouts[-1]
        yield from self._drawn(
            layout, layout.widths(self.width) or layout.natural(), not any(column.wraps for column in self.columns)
        )
        if left_out:
            names = ", ".join(self.headings[at] for at in sorted(left_out))
            yield from ((line, "dim") for line in _wrapped(f"no room for: {names}", self.width))

    def _layouts(self, kept: Sequence[int], *, cut: bool = False) -> Iterator["_Layout"]:
        """Layouts of some columns from wide to narrow; in the last, `cut` lets names be cut."""
        columns = [self.columns[place] for place in kept]
        cells = [[row[place] for place in kept] for row in self.cells]
        long = [[self.headings[place]] for place in kept]
        stacked = [
            heading if column.wraps else self.stacked[place] or heading[0].split(" ")
            for heading, column, place in zip(long, columns, kept, strict=True)
        ]
        one_line = [
            [list(parts) if column.wraps else [" ".join(parts)] for parts, column in zip(row, columns, strict=True)]
            for row in cells
        ]
        yield _Layout(columns, long, one_line, 2, self.table.ruled)
        yield _Layout(columns, stacked, one_line, 2, self.table.ruled)
        yield _Layout(columns, stacked, one_line, 1, self.table.ruled)
        if any(column.wraps for column in columns):  # rather move sentences beneath their row than break the row
            return
        for width in _NAME_WIDTHS:
            beneath = [
                [
                    list(parts) if column.right else _name(" ".join(parts), width, cut=cut)
                    for parts, column in zip(row, columns, strict=True)
                ]
                for row in cells
            ]
            yield _Layout(columns, stacked, beneath, 1, self.table.ruled)

    def _drawn(self, layout: "_Layout", widths: Sequence[int], inside: bool) -> Iterator[_Styled]:
        yield from layout.head(widths)
        for lines, cells, style in zip(layout.rows(widths), self.cells, self.styles, strict=True):
            yield from ((line, style) for line in lines)
            if not inside:
                yield from self._sentences(cells)

    def _sentences(self, cells: Sequence[Parts]) -> Iterator[_Styled]:
        """The sentences of a row, indented beneath it."""
        for parts, column in zip(cells, self.columns, strict=True):
            if column.wraps:
                yield from ((f"    {piece}", "") for part in parts if part for piece in _wrapped(part, self.width - 4))


@dataclass(frozen=True)
class _Layout:
    """Headings and cells, each in lines, with a gap between two columns."""

    columns: Sequence[AnyColumn]
    headings: Sequence[_Lines]
    body: Sequence[Sequence[_Lines]]
    gap: int
    ruled: bool

    def natural(self) -> list[int]:
        """How wide each column would be."""
        return [max(map(cell_len, self._column(place)), default=0) for place in range(len(self.columns))]

    def widths(self, width: int) -> list[int]:
        """How wide each column is; empty where they do not fit."""
        widths = self.natural()
        room = width - self.gap * (len(widths) - 1)
        if sum(widths) <= room:
            return widths
        sentences = sorted((at for at, column in enumerate(self.columns) if column.wraps), key=widths.__getitem__)
        left = room - sum(width for at, width in enumerate(widths) if at not in sentences)
        if not sentences or left < sum(min(widths[at], _SENTENCE_WIDTH) for at in sentences):
            return []
        for done, at in enumerate(sentences):  # short sentences first, so that long sentences get the rest of the width
            widths[at] = min(widths[at], left // (len(sentences) - done))
            left -= widths[at]
        return widths

    def head(self, widths: Sequence[int]) -> Iterator[_Styled]:
        """The headings over a rule; nothing where there are none."""
        if any(map(any, self.headings)):
            height = max(map(len, self.headings))
            lowered = [[*[""] * (height - len(heading)), *heading] for heading in self.headings]
            yield from ((line, "bold") for line in self._joined(lowered, widths))
            if self.ruled:
                yield "─" * (sum(widths) + self.gap * (len(widths) - 1)), "dim"

    def rows(self, widths: Sequence[int]) -> Iterator[list[str]]:
        for row in self.body:
            cells = [
                [piece for line in lines for piece in _wrapped(line, width)] if column.wraps else lines
                for lines, width, column in zip(row, widths, self.columns, strict=True)
            ]
            yield self._joined(cells, widths)

    def _joined(self, cells: Sequence[_Lines], widths: Sequence[int]) -> list[str]:
        lines = []
        for line in zip_longest(*cells, fillvalue=""):
            padded = (
                _padded(text, width, column.right)
                for text, width, column in zip(line, widths, self.columns, strict=True)
            )
            lines.append((" " * self.gap).join(padded).rstrip())
        return lines

    def _column(self, place: int) -> Iterator[str]:
        yield from self.headings[place]
        for row in self.body:
            yield from row[place]


def _padded(text: str, width: int, right: bool) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def _name(text: str, width: int, *, cut: bool) -> _Lines:
    """A name in lines of a width, broken between words and the parts of a setting; a longer part may be cut."""
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for part in _IN_A_NAME.split(text):
        for piece in _cut(part, width) if cut else [part]:
            if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return [line.strip() for line in lines]


def _wrapped(text: str, width: int) -> _Lines:
    """The words of a text in lines of at most `width`; a word that is longer is cut."""
    text = on_one_line(text)
    if cell_len(text) <= width:
        return [text]
    lines, used = [""], 0
    for word in text.split(" "):
        for piece in _cut(word, width):
            size = cell_len(piece)
            if lines[-1] and used + 1 + size > width:
                lines.append("")
                used = 0
            used += size + (1 if lines[-1] else 0)
            lines[-1] += f" {piece}" if lines[-1] else piece
    return lines


def _cut(line: str, width: int) -> _Lines:
    return [line] if cell_len(line) <= width else chop_cells(line, width)
