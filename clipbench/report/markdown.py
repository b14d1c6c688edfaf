"""A comparison as Markdown, for a README, an issue or a step summary."""

import re
from collections.abc import Collection, Sequence

from tabulate import tabulate

from clipbench.harmless import on_one_line
from clipbench.judging.comparison import Comparison
from clipbench.report.columns import Column, columns, legend, twin_line
from clipbench.report.grouping import groups
from clipbench.report.sections import Section, sections


def as_markdown(comparison: Comparison) -> str:
    """The question, a table per task, the sections, the twins' answers and the caveats."""
    parts = [f"**{escaped(comparison.question)}**"]
    shown = columns(comparison)
    for group in groups(comparison):
        parts += [escaped(group.line), _table(shown, group.rows)]
    parts.append(escaped(legend(comparison)))
    parts += [section_as_markdown(section) for section in sections(comparison)]
    for twin in comparison.twins:
        parts.append(f"{escaped(twin_line(twin))}:\n\n{bullets(twin.answers)}")
    if comparison.caveats:
        parts.append(f"Caveats:\n\n{bullets(comparison.caveats)}")
    return "\n\n".join(parts)


def section_as_markdown(section: Section) -> str:
    """A heading, the table, and what its columns mean."""
    return f"**{escaped(section.title)}**\n\n{_table(section.columns, section.rows)}\n\n{escaped(section.legend)}"


def _table(shown: Sequence[Column], rows: Sequence[object]) -> str:
    cells = [[" ".join(column.cell(row)) for column in shown] for row in rows]
    return table(
        [column.heading for column in shown], cells, right=[column.heading for column in shown if column.right]
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> str:
    """Plain text as a pipe table; the columns whose headings are in `right` are set to the right."""
    return tabulate(
        [[escaped(cell) for cell in row] for row in rows],
        headers=[escaped(heading) for heading in headings],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["right" if heading in right else "left" for heading in headings] if rows else None,
    )


def bullets(sentences: Sequence[str]) -> str:
    """A list of sentences."""
    return "\n".join(f"- {escaped(sentence)}" for sentence in sentences)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside a word is no mark and stays."""
    return re.sub(r"[\\`*|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", on_one_line(text))
