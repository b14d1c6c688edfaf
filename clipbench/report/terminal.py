"""A document in the terminal, as wide as it allows. No number is ever cut: a number cut is another number.

Tables are laid out here and not by Rich, whose tables take 10 ms a row: a comparison of thousands of runs has a
thousand rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style

from clipbench.harmless import on_one_line
from clipbench.report.numbers import Parts
from clipbench.report.table import AnyTable, Bullets, Document, Paragraph, Part
from clipbench.report.text import lines_of, text_of

_NAME_WIDTH = 12  # a name longer than this may be broken between its words where there is little room
_SENTENCE_WIDTH = 28  # with less room than this, sentences stand beneath their row

_Lines = list[str]  # of a cell
_Styled = tuple[str, str]  # a line, and Rich's name for how it looks
_Wrap = Callable[[str, int], _Lines]


def as_terminal(document: Document) -> RenderableType:
    """Something that a Rich console fits to its width. Names are never read as markup."""
    return _Drawn(document)


@dataclass(frozen=True)
class _Drawn:
    document: Document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def wrap(text: str, width: int) -> _Lines:
            if len(text) <= width and text.isascii():
                return [text]
            return [line.plain.rstrip() for line in text_of(text).wrap(console, width, overflow="fold")]

        for number, part in enumerate(self.document.parts):
            if number:
                yield Segment.line()
            for line, style in _part(part, options.max_width, wrap):
                yield Segment(line, Style.parse(style) if style else None)
                yield Segment.line()


def _part(part: Part, width: int, wrap: _Wrap) -> Iterator[_Styled]:
    if part.title:
        style = "bold" if isinstance(part, Paragraph | Bullets) else part.title_style
        yield from ((line, style) for line in wrap(part.title, width))
    if isinstance(part, Bullets):
        for sentence in part.sentences:
            yield from ((line, "") for line in _hanging(wrap(sentence, width - 4), "  - "))
    elif isinstance(part, Paragraph):
        lines = lines_of(part.text).plain.split("\n") if part.preformatted else [part.text]
        for line in lines:
            yield from ((" " * part.indent + piece, part.style) for piece in wrap(line, width - part.indent))
    else:
        for line, style in _Sheet(part, width - part.indent, wrap).lines():
            yield " " * part.indent + line, style
        if part.note:
            yield from ((line, "dim") for line in wrap(part.note, width))


class _Sheet:
    """A table with its cells made harmless, and the room that it has."""

    def __init__(self, table: AnyTable, width: int, wrap: _Wrap) -> None:
        self.columns = table.visible
        self.cells = [[tuple(map(on_one_line, parts)) for parts in row] for row in table.cells()]
        self.styles = table.styles()
        self.headings = [on_one_line(column.heading or "") for column in self.columns]  # it may name the baseline
        self.width = width
        self.wrap = wrap

    def lines(self) -> Iterator[_Styled]:
        """The rows on one line each; under stacked headings if need be; else with errors and counts beneath their
        numbers. Sentences are wrapped in the room that is left, or stand beneath their row. Where nothing else fits,
        a block a row."""
        for inside in (True, False) if any(column.wraps for column in self.columns) else (True,):
            kept = [place for place, column in enumerate(self.columns) if inside or not column.wraps]
            for headings, body, gap in self._layouts(kept):
                widths = self._widths(kept, headings, body, self.width - gap * (len(kept) - 1))
                if widths:
                    return self._drawn(kept, headings, self._wrapped(kept, body, widths), widths, gap)
        return self._blocks()

    def _layouts(self, kept: Sequence[int]) -> Iterator[tuple[list[_Lines], list[list[_Lines]], int]]:
        """Headings, the lines of every cell, and the gap between two columns, from the widest to the narrowest."""
        columns = [self.columns[place] for place in kept]
        long = [[self.headings[place]] for place in kept]
        stacked = [
            heading if column.wraps else list(map(on_one_line, column.stacked)) or heading[0].split(" ")
            for heading, column in zip(long, columns, strict=True)
        ]
        one_line = [
            [list(row[place]) if self.columns[place].wraps else [" ".join(row[place])] for place in kept]
            for row in self.cells
        ]
        yield long, one_line, 2
        yield stacked, one_line, 2
        yield stacked, one_line, 1
        if any(column.wraps for column in columns):  # it is better to have its sentences beneath a row than to break it
            return
        beneath = [
            [
                list(row[place]) if column.right else _broken(" ".join(row[place]))
                for place, column in zip(kept, columns, strict=True)
            ]
            for row in self.cells
        ]
        yield stacked, beneath, 1

    def _widths(
        self, kept: Sequence[int], headings: Sequence[_Lines], body: Sequence[Sequence[_Lines]], room: int
    ) -> list[int]:
        """How wide each column is; empty where they do not fit."""
        widths = [max(map(cell_len, _of_column(headings, body, at)), default=0) for at in range(len(kept))]
        if sum(widths) <= room:
            return widths
        sentences = sorted((at for at, place in enumerate(kept) if self.columns[place].wraps), key=widths.__getitem__)
        left = room - sum(width for at, width in enumerate(widths) if at not in sentences)
        if not sentences or left < sum(min(widths[at], _SENTENCE_WIDTH) for at in sentences):
            return []
        for done, at in enumerate(sentences):  # the short ones first: what they leave is for the long ones
            widths[at] = min(widths[at], left // (len(sentences) - done))
            left -= widths[at]
        return widths

    def _wrapped(self, kept: Sequence[int], body: list[list[_Lines]], widths: Sequence[int]) -> list[list[_Lines]]:
        wide = [at for at, place in enumerate(kept) if self.columns[place].wraps]
        for row in body:
            for at in wide:
                row[at] = [piece for line in row[at] for piece in self.wrap(line, widths[at])]
        return body

    def _drawn(
        self,
        kept: Sequence[int],
        headings: Sequence[_Lines],
        body: Sequence[Sequence[_Lines]],
        widths: Sequence[int],
        gap: int,
    ) -> Iterator[_Styled]:
        def joined(cells: Sequence[_Lines]) -> Iterator[str]:
            for line in zip_longest(*cells, fillvalue=""):
                padded = (
                    _padded(text, width, self.columns[place].right)
                    for text, width, place in zip(line, widths, kept, strict=True)
                )
                yield (" " * gap).join(padded).rstrip()

        if any(map(any, headings)):
            height = max(map(len, headings))
            yield from ((line, "bold") for line in joined([[*[""] * (height - len(h)), *h] for h in headings]))
            yield "─" * (sum(widths) + gap * (len(widths) - 1)), "dim"
        for row, cells, style in zip(body, self.cells, self.styles, strict=True):
            yield from ((line, style) for line in joined(row))
            if len(kept) < len(self.columns):
                yield from self._sentences(cells)

    def _sentences(self, cells: Sequence[Parts]) -> Iterator[_Styled]:
        """What stands beneath its row, set in."""
        for parts, column in zip(cells, self.columns, strict=True):
            if column.wraps:
                yield from ((f"    {piece}", "") for part in parts if part for piece in self.wrap(part, self.width - 4))

    def _blocks(self) -> Iterator[_Styled]:
        """Under the names of a row, which are what is not a number, a line for each number."""
        margin = max(
            (cell_len(h) for h, column in zip(self.headings, self.columns, strict=True) if column.right), default=0
        )
        for row, style in zip(self.cells, self.styles, strict=True):
            names = [
                " ".join(parts) or " "
                for parts, column in zip(row, self.columns, strict=True)
                if not (column.right or column.wraps)
            ]
            yield from ((line, style) for line in _folded(" ".join(names), self.width))
            for heading, parts, column in zip(self.headings, row, self.columns, strict=True):
                if column.right:
                    line = f"  {_padded(heading, margin, False)} {' '.join(parts)}"
                    fits = cell_len(line) <= self.width
                    lines = [line] if fits else [f"  {heading}", *(f"    {part}" for part in parts)]
                    yield from ((piece, "") for line in lines for piece in _folded(line, self.width))
            yield from self._sentences(row)


def _hanging(lines: Sequence[str], lead: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield (" " * len(lead) if number else lead) + line


def _of_column(headings: Sequence[_Lines], body: Sequence[Sequence[_Lines]], at: int) -> Iterator[str]:
    yield from headings[at]
    for row in body:
        yield from row[at]


def _padded(text: str, width: int, right: bool) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def _broken(name: str) -> _Lines:
    """A name in lines of at most `_NAME_WIDTH`, or as wide as its longest word."""
    lines = [""]
    for word in name.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and cell_len(longer) > _NAME_WIDTH:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _folded(line: str, width: int) -> list[str]:
    return [line[start : start + width] for start in range(0, max(1, len(line)), width)]
