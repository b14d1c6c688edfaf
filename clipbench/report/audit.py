"""An audit of fairness as a document, and the one line that stands under a table."""

from collections.abc import Sequence

from clipbench.judging.checks.audit import Audit, AuditVerdict, CheckAnswer
from clipbench.judging.checks.evidence import Check
from clipbench.judging.words import listing
from clipbench.report.numbers import Parts
from clipbench.report.table import Column, Document, DocumentPart, Paragraph, Table, text_column

MARKS: dict[AuditVerdict, str] = {"pass": "+", "warn": "~", "fail": "x", "not applicable": ""}
COUNTED_VERDICTS: tuple[AuditVerdict, ...] = ("pass", "warn", "fail")
_STYLES: dict[AuditVerdict, str] = {"pass": "green", "warn": "yellow", "fail": "bold red", "not applicable": "dim"}

_Row = tuple[Audit, Check, CheckAnswer]


def summary(audit: Audit) -> str:
    """The audit in one line: `audit: 9 pass, 2 warn, 1 fail`. What failed stands in its table, or in the caveats."""
    return f"audit: {', '.join(f'{len(audit.of(verdict))} {verdict}' for verdict in COUNTED_VERDICTS)}"


def document(audits: Sequence[Audit], *, explain: bool = False) -> Document:
    """A table of rules for each spec, and its line beneath; with `explain`, what each rule demands.

    CSV and JSON always have the demand of a rule beside its finding.
    """
    parts: list[DocumentPart] = []
    for audit in audits:
        caption = f"{audit.spec}: {summary(audit)}"
        parts += [_table([audit], explain=explain, caption=caption), Paragraph(summary(audit), captioned=True)]
    return Document(parts, lines=_table(audits), data=lambda: [_data(audit) for audit in audits])


def _table(audits: Sequence[Audit], *, explain: bool = False, caption: str = "") -> Table[_Row]:
    def finding(row: _Row) -> Parts:
        _, rule, finding = row
        runs = f" [{listing(finding.runs, limit=4)}]" if finding.runs else ""
        what = f"{finding.what}{runs}"
        return (f"{rule.demand} Found: {what}" if explain and finding.what != rule.demand else what,)

    return Table(
        name="audit",
        title=listing(audit.spec for audit in audits),
        caption=caption,
        columns=(
            Column("mark", shown=lambda row: (MARKS[row[2].verdict],), heading="", right=False),
            Column("spec", "the spec's name", lambda row: row[0].spec),
            text_column("rule", "the rule's name", lambda row: row[1].name),
            text_column("verdict", "pass, warn, fail or not applicable", lambda row: row[2].verdict),
            text_column("finding", "what was found", lambda row: row[2].what, shown=finding, wraps=True),
            Column("runs", "the runs at fault", lambda row: row[2].runs),
            Column("demand", "what the rule demands", lambda row: row[1].demand),
        ),
        rows=[(audit, rule, finding) for audit in audits for rule, finding in audit.findings],
        style=lambda row: _STYLES[row[2].verdict],
    )


def _data(audit: Audit) -> dict[str, object]:
    """An audit with every run that a rule names."""
    rules = [{name: value for name, value in record.items() if name != "spec"} for record in _table([audit]).records()]
    counts: dict[str, int] = {verdict: len(audit.of(verdict)) for verdict in COUNTED_VERDICTS}
    return {"spec": audit.spec, **counts, "rules": rules}
