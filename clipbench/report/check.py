"""The gate's verdicts as a table in every format."""

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from clipbench.errors import ClipbenchError
from clipbench.judging.gate.report import GateReport, GateRow
from clipbench.judging.gate.rules import Verdict
from clipbench.report import latex, markdown
from clipbench.report.layout import Bullets
from clipbench.report.raw import to_csv, to_json
from clipbench.report.text import text_of

FORMATS = ("table", "markdown", "latex", "csv", "json")
HEADINGS = ("verdict", "task", "arm", "metric", "what was found")
FIELDS = (
    *("spec", "task", "arm", "metric", "verdict", "fails", "change", "low", "high"),
    *("tolerance", "seeds", "seeds_needed", "detail"),
)

_STYLES: dict[Verdict, str] = {
    "regressed": "bold red",
    "changed": "red",
    "undecided": "yellow",
    "improved": "green",
    "ok": "green",
}


def render(report: GateReport, fmt: str = "table") -> RenderableType:
    """The report as it is to be printed: something for a Rich console for `table`, text for every other format.

    Raises:
        ClipbenchError: there is no such format.
    """
    if fmt not in FORMATS:
        raise ClipbenchError(f"there is no format {fmt!r}", remedy=f"choose one of: {', '.join(FORMATS)}")
    if fmt == "table":
        return _table(report)
    return {"markdown": as_markdown, "latex": _latex, "csv": _csv, "json": _json}[fmt](report)


def as_markdown(report: GateReport) -> str:
    cells = [row for _, row in _cells(report)]
    parts = [f"**{markdown.escaped(report.sentence)}**"]
    if cells:
        parts.append(markdown.table(HEADINGS, cells))
    if report.caveats:
        parts.append(f"Caveats:\n\n{markdown.bullets(report.caveats)}")
    return "\n\n".join(parts)


def _cells(report: GateReport) -> Iterator[tuple[Verdict, tuple[str, ...]]]:
    """The rows for people: what calls for no action is one row for each arm, everything else a row of its own."""
    several = len({row.spec for row in report.rows}) > 1
    for rows in _grouped(report):
        first = rows[0]
        verdict = f"{first.verdict} (fails)" if report.fails(first) and first.verdict != "regressed" else first.verdict
        task = f"{first.spec}/{first.task}" if several else first.task
        metric = first.metric if len(rows) == 1 else f"{len(rows)} metrics"
        found = first.detail if len(rows) == 1 else "; ".join(f"{row.metric}: {row.detail}" for row in rows)
        yield first.verdict, (verdict, task, first.arm, metric, found)


def _grouped(report: GateReport) -> list[list[GateRow]]:
    groups: dict[tuple[object, ...], list[GateRow]] = {}
    for row in report.rows:
        alone = () if row.verdict in ("ok", "advice") else (row.metric,)
        groups.setdefault((row.verdict, *row.place, *alone), []).append(row)
    return list(groups.values())


def _table(report: GateReport) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold", no_wrap=heading == "metric")
    for verdict, cells in _cells(report):
        table.add_row(*map(text_of, cells), style=_STYLES.get(verdict, ""))
    parts: list[RenderableType] = [table, text_of(), text_of(report.sentence, style="bold")]
    if report.caveats:
        parts += [text_of(), text_of("Caveats", style="bold"), Bullets(report.caveats)]
    return Group(*parts)


def _latex(report: GateReport) -> str:
    caption = " ".join((f"{report.sentence}.", *report.caveats))
    return latex.table(HEADINGS, [row for _, row in _cells(report)], caption=caption)


def _flat(row: GateRow, report: GateReport) -> dict[str, object]:
    values = vars(row) | {"fails": report.fails(row)}
    return {name: values[name] for name in FIELDS}


def _csv(report: GateReport) -> str:
    return to_csv(FIELDS, (_flat(row, report) for row in report.rows))


def _json(report: GateReport) -> str:
    return to_json(
        {
            "exit_code": report.exit_code,
            "sentence": report.sentence,
            "rows": [_flat(row, report) for row in report.rows],
            "caveats": report.caveats,
        }
    )
