"""A comparison as LaTeX: a table per task, then the twins' answers and the caveats as lists."""

import re

from tabulate import tabulate

from clipbench.judging.comparison import Comparison
from clipbench.report.columns import LEGEND, columns, task_line, twin_line
from clipbench.report.tuning import sections

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
    "–": "--",
    "→": r"$\to$",
    "…": r"\ldots{}",
}
_PATTERN = re.compile("|".join(map(re.escape, _SPECIAL)))


def as_latex(comparison: Comparison) -> str:
    """Plain LaTeX without packages; the question and each task's line are the captions."""
    shown = columns(comparison)
    parts = []
    for head in comparison.tasks:
        # escaped here, not by tabulate: it knows & and %, but not ± and ∞
        tabular = tabulate(
            [[escaped(" ".join(column.cell(row))) for column in shown] for row in comparison.of_task(head.name)],
            headers=[escaped(column.heading) for column in shown],
            tablefmt="latex_raw",
            disable_numparse=True,
            colalign=["right" if column.right else "left" for column in shown],
        )
        caption = escaped(f"{comparison.question} {task_line(head, comparison)}. {LEGEND}")
        parts.append(f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{tabular}\n\\end{{table}}")
    for twin in comparison.twins:
        parts.append(f"{escaped(twin_line(twin))}:\n{_items(twin.answers)}")
    for section in sections(comparison.tunings):
        tabular = tabulate(
            [[escaped(cell) for cell in row] for row in section.rows],
            headers=[escaped(heading) for heading in section.headings],
            tablefmt="latex_raw",
            disable_numparse=True,
        )
        caption = escaped(f"{section.title}. {section.note}")
        parts.append(f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{tabular}\n\\end{{table}}")
    if comparison.caveats:
        parts.append(f"Caveats:\n{_items(comparison.caveats)}")
    return "\n\n".join(parts)


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is, with mathematical signs in math mode."""
    return _PATTERN.sub(lambda found: _SPECIAL[found.group()], text)


def _items(sentences: tuple[str, ...]) -> str:
    lines = "\n".join(f"\\item {escaped(sentence)}" for sentence in sentences)
    return f"\\begin{{itemize}}\n{lines}\n\\end{{itemize}}"
