"""A comparison as Markdown, for a README, an issue or a step summary."""

import re

from tabulate import tabulate

from clipbench.judging.comparison import Comparison
from clipbench.report.columns import LEGEND, columns, task_line, twin_line
from clipbench.report.tuning import sections


def as_markdown(comparison: Comparison) -> str:
    """The question, a table per task, the twins' answers and the caveats."""
    parts = [f"**{escaped(comparison.question)}**"]
    shown = columns(comparison)
    for head in comparison.tasks:
        cells = [[escaped(" ".join(column.cell(row))) for column in shown] for row in comparison.of_task(head.name)]
        table = tabulate(
            cells,
            headers=[escaped(column.heading) for column in shown],
            tablefmt="pipe",
            disable_numparse=True,
            colalign=["right" if column.right else "left" for column in shown],
        )
        parts += [escaped(task_line(head, comparison)), table]
    parts.append(escaped(LEGEND))
    for twin in comparison.twins:
        answers = "\n".join(f"- {escaped(answer)}" for answer in twin.answers)
        parts.append(f"{escaped(twin_line(twin))}:\n\n{answers}")
    for section in sections(comparison.tunings):
        cells = [[escaped(cell) for cell in row] for row in section.rows]
        table = tabulate(cells, headers=list(section.headings), tablefmt="pipe", disable_numparse=True)
        parts += [f"**{section.title}**", table, escaped(section.note)]
    if comparison.caveats:
        parts.append("Caveats:\n\n" + "\n".join(f"- {escaped(caveat)}" for caveat in comparison.caveats))
    return "\n\n".join(parts)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside a word is no mark and stays."""
    return re.sub(r"[\\`*|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
