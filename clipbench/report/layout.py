"""A table as wide as the terminal allows, in which no number is ever cut: a number cut is another number.

Laid out here and not by Rich, whose tables take 10 ms a row: a comparison of thousands of runs has a thousand rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from textwrap import TextWrapper
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from clipbench.harmless import on_one_line
from clipbench.report.columns import Column
from clipbench.report.numbers import Parts

_NAME_WIDTH = 12  # a name longer than this may be broken between its words where there is little room

_Lines = list[str]  # of one cell


def _unstyled(_: Any) -> str:
    return ""


@dataclass(frozen=True)
class Fitted:
    """The rows on one line each; under stacked headings if need be; else with errors and counts beneath their
    numbers; else as one block a row. `style` is Rich's name for how a row looks."""

    columns: Sequence[Column]
    rows: Sequence[Any]
    style: Callable[[Any], str] = _unstyled

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[tuple(map(on_one_line, c.cell(row))) for c in self.columns] for row in self.rows]
        styles = [self.style(row) for row in self.rows]
        for line, style in self._lines(cells, styles, options.max_width):
            yield Segment(line, Style.parse(style) if style else None)
            yield Segment.line()

    def _lines(self, cells: Sequence[Sequence[Parts]], styles: Sequence[str], width: int) -> Iterator[tuple[str, str]]:
        one_line = [[[" ".join(parts)] for parts in row] for row in cells]
        long = [[_heading(c)] for c in self.columns]
        stacked = [list(map(on_one_line, c.stacked)) for c in self.columns]
        beneath = [[self._beneath(*each) for each in zip(self.columns, row, strict=True)] for row in cells]
        for headings, body, gap in (
            (long, one_line, 2),
            (stacked, one_line, 2),
            (stacked, one_line, 1),
            (stacked, beneath, 1),
        ):
            widths = [
                max(map(cell_len, _of_column(headings, body, place)), default=0) for place in range(len(self.columns))
            ]
            if sum(widths) + gap * (len(widths) - 1) <= width:
                return self._table(headings, body, styles, widths=widths, gap=" " * gap)
        return self._blocks(cells, styles, width)

    def _beneath(self, column: Column, parts: Parts) -> _Lines:
        return list(parts) if column.right else _broken(" ".join(parts))

    def _table(
        self,
        headings: Sequence[_Lines],
        body: Sequence[Sequence[_Lines]],
        styles: Sequence[str],
        *,
        widths: Sequence[int],
        gap: str,
    ) -> Iterator[tuple[str, str]]:
        for line in self._row(headings, widths, gap, bottom=True):
            yield line, "bold"
        yield "─" * (sum(widths) + len(gap) * (len(widths) - 1)), "dim"
        for row, style in zip(body, styles, strict=True):
            for line in self._row(row, widths, gap):
                yield line, style

    def _row(self, cells: Sequence[_Lines], widths: Sequence[int], gap: str, *, bottom: bool = False) -> Iterator[str]:
        height = max(map(len, cells))
        if bottom:
            cells = [[*[""] * (height - len(cell)), *cell] for cell in cells]
        for line in zip_longest(*cells, fillvalue=""):
            padded = (
                _padded(text, width, column.right)
                for text, width, column in zip(line, widths, self.columns, strict=True)
            )
            yield gap.join(padded).rstrip()

    def _blocks(self, cells: Sequence[Sequence[Parts]], styles: Sequence[str], width: int) -> Iterator[tuple[str, str]]:
        """Under the names of a row, which are what is not a number, a line for each number."""
        margin = max((cell_len(_heading(column)) for column in self.columns if column.right), default=0)
        for row, style in zip(cells, styles, strict=True):
            title = " ".join(" ".join(parts) or " " for parts, c in zip(row, self.columns, strict=True) if not c.right)
            yield from ((line, style) for line in _folded(title, width))
            for parts, column in zip(row, self.columns, strict=True):
                if column.right:
                    line = f"  {_padded(_heading(column), margin, False)} {' '.join(parts)}"
                    lines = (
                        [line]
                        if cell_len(line) <= width
                        else [f"  {_heading(column)}", *(f"    {part}" for part in parts)]
                    )
                    yield from ((piece, "") for line in lines for piece in _folded(line, width))


@dataclass(frozen=True)
class Bullets:
    """Sentences, each behind a dash."""

    sentences: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wrapper = TextWrapper(
            width=options.max_width, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
        )
        for sentence in map(on_one_line, self.sentences):
            fits = len(sentence) + len(wrapper.initial_indent) <= options.max_width
            for line in [wrapper.initial_indent + sentence] if fits else wrapper.wrap(sentence):
                yield Segment(line)
                yield Segment.line()


def _heading(column: Column) -> str:
    """It may name the baseline."""
    return on_one_line(column.heading)


def _of_column(headings: Sequence[_Lines], body: Sequence[Sequence[_Lines]], place: int) -> Iterator[str]:
    yield from headings[place]
    for row in body:
        yield from row[place]


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
