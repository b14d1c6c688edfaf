"""An audit of fairness in any format, and the one line that stands under a table."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from clipbench.judging.checks.audit import Answer, Audit, Verdict
from clipbench.judging.checks.evidence import Check
from clipbench.judging.words import listing
from clipbench.report import latex, markdown
from clipbench.report.raw import to_csv, to_json
from clipbench.report.text import text_of

MARKS: dict[Verdict, str] = {"pass": "+", "warn": "~", "fail": "x", "not applicable": ""}
COUNTED: tuple[Verdict, ...] = ("pass", "warn", "fail")
_STYLES: dict[Verdict, str] = {"pass": "green", "warn": "yellow", "fail": "bold red", "not applicable": "dim"}
_HEADINGS = ("", "rule", "verdict", "finding")
_COLUMNS = ("spec", "rule", "verdict", "finding", "runs", "demand")


def summary(audit: Audit) -> str:
    """The audit in one line: `audit: 9 pass, 2 warn, 1 fail`. What failed stands in its table, or in the caveats."""
    return f"audit: {', '.join(f'{len(audit.of(verdict))} {verdict}' for verdict in COUNTED)}"


def as_table(audits: Sequence[Audit], *, explain: bool = False) -> RenderableType:
    """For the terminal: a table of rules for each spec, and its line beneath; names are never read as markup."""
    parts: list[RenderableType] = []
    for audit in audits:
        table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
        for heading in _HEADINGS:
            table.add_column(heading, overflow="fold", no_wrap=heading != "finding")
        for (_, finding), cells in zip(audit.findings, _rows(audit, explain=explain), strict=True):
            table.add_row(*map(text_of, cells), style=_STYLES[finding.verdict])
        parts += [text_of(audit.spec, style="bold"), table, text_of(summary(audit)), text_of()]
    return Group(*parts[:-1])


def as_markdown(audits: Sequence[Audit], *, explain: bool = False) -> str:
    parts = []
    for audit in audits:
        table = markdown.table(_HEADINGS, _rows(audit, explain=explain))
        parts += [f"**{markdown.escaped(audit.spec)}**", table, markdown.escaped(summary(audit))]
    return "\n\n".join(parts)


def as_latex(audits: Sequence[Audit], *, explain: bool = False) -> str:
    layout = r"lllp{0.5\textwidth}"  # sentences are longer than a line
    tables = [
        latex.table(_HEADINGS, _rows(audit, explain=explain), caption=f"{audit.spec}: {summary(audit)}", layout=layout)
        for audit in audits
    ]
    return "\n\n".join(tables)


def as_csv(audits: Sequence[Audit]) -> str:
    """One line for each rule; several runs at fault are joined by semicolons."""
    rows = [
        (audit.spec, rule.name, finding.verdict, finding.what, ";".join(finding.runs), rule.demand)
        for audit in audits
        for rule, finding in audit.findings
    ]
    return to_csv(_COLUMNS, (dict(zip(_COLUMNS, row, strict=True)) for row in rows))


def as_json(audits: Sequence[Audit]) -> str:
    """A list of audits, one for each spec, with every run that a rule names."""
    return to_json(
        [
            {
                "spec": audit.spec,
                "pass": len(audit.of("pass")),
                "warn": len(audit.of("warn")),
                "fail": len(audit.of("fail")),
                "rules": [
                    {
                        "rule": rule.name,
                        "demand": rule.demand,
                        "verdict": finding.verdict,
                        "finding": finding.what,
                        "runs": finding.runs,
                    }
                    for rule, finding in audit.findings
                ],
            }
            for audit in audits
        ]
    )


def render(audits: Sequence[Audit], fmt: str, *, explain: bool = False) -> RenderableType:
    """The audits as they are to be printed; CSV and JSON always have the demand of each rule beside its finding."""
    if fmt == "table":
        return as_table(audits, explain=explain)
    if fmt in ("markdown", "latex"):
        return (as_markdown if fmt == "markdown" else as_latex)(audits, explain=explain)
    return as_csv(audits) if fmt == "csv" else as_json(audits)


def _rows(audit: Audit, *, explain: bool) -> list[tuple[str, ...]]:
    return [
        (MARKS[finding.verdict], rule.name, finding.verdict, _said(rule, finding, explain=explain))
        for rule, finding in audit.findings
    ]


def _said(rule: Check, finding: Answer, *, explain: bool) -> str:
    runs = f" [{listing(finding.runs, limit=4)}]" if finding.runs else ""
    said = f"{finding.what}{runs}"
    return f"{rule.demand} Found: {said}" if explain and finding.what != rule.demand else said
