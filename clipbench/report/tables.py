"""A comparison in the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clipbench.judging.comparison import Comparison, Row, Verdict
from clipbench.report.columns import LEGEND, Column, columns, task_line, twin_line
from clipbench.report.tuning import tuning_tables

_STYLES: dict[Verdict, str] = {
    "baseline": "bold",
    "better": "green",
    "worse": "red",
    "equal": "yellow",
    "undecided": "",
    "broken": "bold red",
}


def as_table(comparison: Comparison) -> RenderableType:
    """The question, a table per task, the clip section, and the caveats beneath. Names are never read as markup."""
    shown = columns(comparison)
    parts: list[RenderableType] = [Text(comparison.question, style="bold")]
    for head in comparison.tasks:
        parts += [Text(), Text(task_line(head, comparison), style="italic")]
        parts.append(_Fitted(shown, comparison.of_task(head.name)))
    parts.append(Text(LEGEND, style="dim"))
    if comparison.twins:
        parts += [Text(), Text("What the clip does", style="bold")]
    for twin in comparison.twins:
        parts += [Text(twin_line(twin)), _bullets(twin.answers)]
    parts += tuning_tables(comparison.tunings)
    if comparison.caveats:
        parts += [Text(), Text("Caveats", style="bold"), _bullets(comparison.caveats)]
    return Group(*parts)


@dataclass(frozen=True)
class _Fitted:
    """The rows as wide as the console allows: on one line each, under stacked headings if need be, else with errors
    and counts beneath their numbers, else as one block per arm. Rich would cut what does not fit, and a number cut
    is another number."""

    shown: Sequence[Column]
    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        roomy = options.update(width=10_000)
        stacked = self._table("\n", "\n", padding=0)
        for one_line in (self._table(" ", " "), self._table("\n", " "), self._table("\n", " ", padding=0)):
            if Measurement.get(console, roomy, one_line).maximum <= options.max_width:
                yield one_line
                return
        fits = Measurement.get(console, roomy, stacked).minimum <= options.max_width
        yield stacked if fits else self._blocks()

    def _table(self, in_heading: str, in_cell: str, *, padding: int = 1) -> Table:
        """The table with its pieces joined by a space or a line break."""
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, padding),
            collapse_padding=True,
            pad_edge=False,
            show_edge=False,
        )
        longest = max((len(word) for row in self.rows for word in row.arm.split()), default=0)
        for column in self.shown:
            is_arm = column.heading == "arm"
            table.add_column(
                Text("\n".join(column.stacked) if in_heading == "\n" else column.heading),
                justify="right" if column.right else "left",
                no_wrap=not is_arm,
                overflow="fold",
                min_width=min(longest, 12) if is_arm else None,
            )
        for row in self.rows:
            cells = (Text(in_cell.join(column.cell(row))) for column in self.shown)
            table.add_row(*cells, style=_STYLES[row.verdict])
        return table

    def _blocks(self) -> RenderableType:
        blocks: list[RenderableType] = []
        mark, arm, *numbers = self.shown
        for row in self.rows:
            title = f"{mark.cell(row)[0] or ' '} {arm.cell(row)[0]}"
            grid = Table.grid(padding=(0, 1))
            grid.add_column(overflow="fold")
            grid.add_column(overflow="fold")
            for column in numbers:
                grid.add_row(Text(column.heading), Text(" ".join(column.cell(row))))
            blocks += [Text(title, style=_STYLES[row.verdict]), Padding(grid, (0, 0, 0, 2))]
        return Group(*blocks)


def _bullets(sentences: Sequence[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    for sentence in sentences:
        grid.add_row("-", Text(sentence))
    return Padding(grid, (0, 0, 0, 2))
