"""A comparison as LaTeX: a table per task, then the twins' answers and the caveats as lists."""

import re
from collections.abc import Collection, Sequence

from tabulate import tabulate

from clipbench.harmless import on_one_line
from clipbench.judging.comparison import Comparison
from clipbench.report.columns import Column, columns, legend, twin_line
from clipbench.report.grouping import groups
from clipbench.report.sections import Section, sections

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "∞": r"$\infty$",
    "≤": r"$\le$",
    "·": r"$\cdot$",
    "η": r"$\eta$",
    "–": "--",
    "→": r"$\to$",
    "…": r"\ldots{}",
}
_PATTERN = re.compile("|".join(map(re.escape, _SPECIAL)))


def as_latex(comparison: Comparison) -> str:
    """Plain LaTeX without packages; the question and each task's line are the captions."""
    shown = columns(comparison)
    parts = [
        _table(shown, group.rows, caption=f"{comparison.question} {group.line}. {legend(comparison)}")
        for group in groups(comparison)
    ]
    parts += [section_as_latex(section) for section in sections(comparison)]
    for twin in comparison.twins:
        parts.append(f"{escaped(twin_line(twin))}:\n{_items(twin.answers)}")
    if comparison.caveats:
        parts.append(f"Caveats:\n{_items(comparison.caveats)}")
    return "\n\n".join(parts)


def section_as_latex(section: Section) -> str:
    """A table with its title and what its columns mean as the caption."""
    return _table(section.columns, section.rows, caption=f"{section.title}. {section.legend}")


def _table(shown: Sequence[Column], rows: Sequence[object], *, caption: str) -> str:
    cells = [[" ".join(column.cell(row)) for column in shown] for row in rows]
    right = [column.heading for column in shown if column.right]
    return table([column.heading for column in shown], cells, caption=caption, right=right)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    right: Collection[str] = (),
    layout: str = "",
) -> str:
    """Plain text as a table with its caption.

    Args:
        headings, rows: what it says.
        caption: what stands above it.
        right: the headings of the columns that are set to the right.
        layout: LaTeX's own column letters, in place of those that follow from `right`.
    """
    # escaped here, not by tabulate: it knows & and %, but not ± and ∞
    tabular = tabulate(
        [[escaped(cell) for cell in row] for row in rows],
        headers=[escaped(heading) for heading in headings],
        tablefmt="latex_raw",
        disable_numparse=True,
        colalign=["right" if heading in right else "left" for heading in headings] if rows else None,
    )
    if layout:
        plain = "".join("r" if heading in right else "l" for heading in headings)
        tabular = tabular.replace(f"{{{plain}}}", f"{{{layout}}}", 1)
    return f"\\begin{{table}}\n\\centering\n\\caption{{{escaped(caption)}}}\n{tabular}\n\\end{{table}}"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is, with mathematical signs in math mode."""
    shown = _PATTERN.sub(lambda found: _SPECIAL[found.group()], on_one_line(text))
    # After the end of a row or \\item, a bracket would begin an argument of it, and a star be its own.
    return f"{{}}{shown}" if shown.startswith(("[", "*")) else shown


def _items(sentences: tuple[str, ...]) -> str:
    lines = "\n".join(f"\\item {escaped(sentence)}" for sentence in sentences)
    return f"\\begin{{itemize}}\n{lines}\n\\end{{itemize}}"
