"""The gate's verdicts as a document."""

from collections.abc import Sequence

from rich.console import RenderableType

from clipbench.judging.gate.report import GateReport, GateRow
from clipbench.judging.gate.rules import GateVerdict
from clipbench.report import markdown
from clipbench.report.render import render as rendered
from clipbench.report.table import Bullets, Column, Document, DocumentPart, Paragraph, Table, text_column

_STYLES: dict[GateVerdict, str] = {
    "regressed": "bold red",
    "changed": "red",
    "undecided": "yellow",
    "improved": "green",
    "ok": "green",
}

_Rows = Sequence[GateRow]  # shown to people as a single row


def render(report: GateReport, fmt: str = "table") -> RenderableType:
    """The report as it is to be printed.

    Raises:
        ClipbenchError: there is no such format.
    """
    return rendered(document(report), fmt)


def as_markdown(report: GateReport) -> str:
    """The report as Markdown."""
    return markdown.as_markdown(document(report))


def document(report: GateReport) -> Document:
    """The verdict, its rows and the caveats; for programs, a row for each metric."""
    lines = Table("check", _columns(report), report.rows)
    parts: list[DocumentPart] = [Paragraph(report.sentence, style="bold", captioned=bool(report.rows))]
    if report.rows:
        parts.append(_table(report))
    if report.caveats:
        parts.append(Bullets(report.caveats, title="Caveats"))
    return Document(
        parts,
        lines=lines,
        data=lambda: {
            "exit_code": report.exit_code,
            "sentence": report.sentence,
            "rows": lines.records(),
            "caveats": report.caveats,
        },
    )


def _table(report: GateReport) -> Table[_Rows]:
    """The table for people: ok and advice share a row per arm, other verdicts have a row each."""
    several = len({row.spec for row in report.rows}) > 1

    def verdict(rows: _Rows) -> str:
        first = rows[0]
        return f"{first.verdict} (fails)" if report.fails(first) and first.verdict != "regressed" else first.verdict

    def metric(rows: _Rows) -> str:
        return rows[0].metric if len(rows) == 1 else f"{len(rows)} metrics"

    def detail(rows: _Rows) -> str:
        return rows[0].detail if len(rows) == 1 else "; ".join(f"{row.metric}: {row.detail}" for row in rows)

    return Table(
        name="check",
        columns=(
            text_column("verdict", "verdict of the gate", verdict),
            text_column(
                "task", "the task's name", lambda rows: f"{rows[0].spec}/{rows[0].task}" if several else rows[0].task
            ),
            text_column("arm", "the arm's name", lambda rows: rows[0].arm),
            text_column("metric", "what was compared", metric),
            text_column("detail", "the numbers behind the verdict", detail, heading="what was found", wraps=True),
        ),
        rows=_grouped(report),
        caption=f"{report.sentence}.",
        style=lambda rows: _STYLES.get(rows[0].verdict, ""),
    )


def _grouped(report: GateReport) -> list[_Rows]:
    groups: dict[tuple[object, ...], list[GateRow]] = {}
    for row in report.rows:
        alone = () if row.verdict in ("ok", "advice") else (row.metric,)
        groups.setdefault((row.verdict, *row.place, *alone), []).append(row)
    return list(groups.values())


def _columns(report: GateReport) -> tuple[Column[GateRow], ...]:
    return (
        Column("spec", "the spec's name", lambda row: row.spec),
        Column("task", "the task's name", lambda row: row.task),
        Column("arm", "the arm's name", lambda row: row.arm),
        Column("metric", "what was compared", lambda row: row.metric),
        Column("verdict", "verdict of the gate", lambda row: row.verdict),
        Column("fails", "whether this row fails the gate", report.fails),
        Column("change", "change from the baseline; above 0 is worse", lambda row: row.change),
        Column("low", "lower confidence bound of the change, at the corrected level", lambda row: row.low),
        Column("high", "upper confidence bound of the change", lambda row: row.high),
        Column("tolerance", "how much worse the metric may be", lambda row: row.tolerance),
        Column("seeds", "number of paired seeds", lambda row: row.seeds),
        Column("seeds_needed", "seeds that would decide an undecided row", lambda row: row.seeds_needed),
        Column("detail", "the numbers behind the verdict", lambda row: row.detail),
    )
