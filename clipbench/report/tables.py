"""A comparison in the terminal."""

from rich.console import Group, RenderableType

from clipbench.judging.comparison import Comparison, Row, Standing
from clipbench.report.columns import columns, legend, twin_line
from clipbench.report.grouping import groups
from clipbench.report.layout import Bullets, Fitted
from clipbench.report.sections import Section, sections
from clipbench.report.text import text_of

_STYLES: dict[Standing, str] = {
    "baseline": "bold",
    "lower": "green",
    "higher": "red",
    "identical": "yellow",
    "equivalent": "yellow",
    "undecided": "",
    "broken": "bold red",
}


def as_table(comparison: Comparison) -> RenderableType:
    """The question, a table per task, the sections, and the caveats beneath. Names are never read as markup."""
    shown = columns(comparison)
    parts: list[RenderableType] = [text_of(comparison.question, style="bold")]
    for group in groups(comparison):
        parts += [text_of(), text_of(group.line, style="italic")]
        parts.append(Fitted(shown, group.rows, _style))
    parts.append(text_of(legend(comparison), style="dim"))
    for section in sections(comparison):
        parts += [text_of(), section_as_table(section)]
    if comparison.twins:
        parts += [text_of(), text_of("What the clip does", style="bold")]
    for twin in comparison.twins:
        parts += [text_of(twin_line(twin)), Bullets(twin.answers)]
    if comparison.caveats:
        parts += [text_of(), text_of("Caveats", style="bold"), Bullets(comparison.caveats)]
    return Group(*parts)


def section_as_table(section: Section) -> RenderableType:
    """A heading, the table, and what its columns mean."""
    table = Fitted(section.columns, section.rows)
    return Group(text_of(section.title, style="bold"), table, text_of(section.legend, style="dim"))


def _style(row: Row) -> str:
    return _STYLES[row.verdict]
