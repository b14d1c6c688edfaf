"""A comparison as Markdown, for a README, an issue or a step summary."""

import re
from collections.abc import Sequence

from tabulate import tabulate

from clipbench.judging.comparison import Comparison
from clipbench.report.columns import LEGEND, Column, columns, twin_line
from clipbench.report.grouping import groups
from clipbench.report.sections import Section, sections
from clipbench.report.tuning import tables_of_tuning


def as_markdown(comparison: Comparison) -> str:
    """The question, a table per task, the sections, the twins' answers and the caveats."""
    parts = [f"**{escaped(comparison.question)}**"]
    shown = columns(comparison)
    for group in groups(comparison):
        parts += [escaped(group.line), _table(shown, group.rows)]
    parts.append(escaped(LEGEND))
    parts += [section_as_markdown(section) for section in sections(comparison)]
    for twin in comparison.twins:
        answers = "\n".join(f"- {escaped(answer)}" for answer in twin.answers)
        parts.append(f"{escaped(twin_line(twin))}:\n\n{answers}")
    for section in tables_of_tuning(comparison.tunings):
        cells = [[escaped(cell) for cell in row] for row in section.rows]
        table = tabulate(cells, headers=list(section.headings), tablefmt="pipe", disable_numparse=True)
        parts += [f"**{section.title}**", table, escaped(section.note)]
    if comparison.caveats:
        parts.append("Caveats:\n\n" + "\n".join(f"- {escaped(caveat)}" for caveat in comparison.caveats))
    return "\n\n".join(parts)


def section_as_markdown(section: Section) -> str:
    """A heading, the table, and what its columns mean."""
    return f"**{escaped(section.title)}**\n\n{_table(section.columns, section.rows)}\n\n{escaped(section.legend)}"


def _table(shown: Sequence[Column], rows: Sequence[object]) -> str:
    return tabulate(
        [[escaped(" ".join(column.cell(row))) for column in shown] for row in rows],
        headers=[escaped(column.heading) for column in shown],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["right" if column.right else "left" for column in shown] if rows else None,
    )


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside a word is no mark and stays."""
    return re.sub(r"[\\`*|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
