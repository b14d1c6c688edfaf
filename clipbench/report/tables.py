"""A comparison in the terminal."""

from rich.console import Group, RenderableType
from rich.text import Text

from clipbench.judging.comparison import Comparison, Row, Verdict
from clipbench.report.columns import columns, legend, twin_line
from clipbench.report.grouping import groups
from clipbench.report.layout import Bullets, Fitted
from clipbench.report.sections import Section, sections

_STYLES: dict[Verdict, str] = {
    "baseline": "bold",
    "better": "green",
    "worse": "red",
    "equal": "yellow",
    "within": "yellow",
    "undecided": "",
    "broken": "bold red",
}


def as_table(comparison: Comparison) -> RenderableType:
    """The question, a table per task, the sections, and the caveats beneath. Names are never read as markup."""
    shown = columns(comparison)
    parts: list[RenderableType] = [Text(comparison.question, style="bold")]
    for group in groups(comparison):
        parts += [Text(), Text(group.line, style="italic")]
        parts.append(Fitted(shown, group.rows, _style))
    parts.append(Text(legend(comparison), style="dim"))
    for section in sections(comparison):
        parts += [Text(), section_as_table(section)]
    if comparison.twins:
        parts += [Text(), Text("What the clip does", style="bold")]
    for twin in comparison.twins:
        parts += [Text(twin_line(twin)), Bullets(twin.answers)]
    if comparison.caveats:
        parts += [Text(), Text("Caveats", style="bold"), Bullets(comparison.caveats)]
    return Group(*parts)


def section_as_table(section: Section) -> RenderableType:
    """A heading, the table, and what its columns mean."""
    table = Fitted(section.columns, section.rows)
    return Group(Text(section.title, style="bold"), table, Text(section.legend, style="dim"))


def _style(row: Row) -> str:
    return _STYLES[row.verdict]
