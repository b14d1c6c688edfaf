"""A document as plain LaTeX without packages. Tables float: what stands around a table is in its caption."""

import re

from tabulate import tabulate

from clipbench.harmless import on_one_line
from clipbench.report.table import AnyTable, Bullets, Document, DocumentPart, Paragraph

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
_SENTENCE = r"p{0.4\textwidth}"  # a sentence is longer than a line
_PATTERN = re.compile("|".join(map(re.escape, _SPECIAL)))


def as_latex(document: Document) -> str:
    """The document's parts, without those that the captions already say."""
    return "\n\n".join(filter(None, map(_part, document.parts)))


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is, with mathematical signs in math mode."""
    shown = _PATTERN.sub(lambda match: _SPECIAL[match.group()], on_one_line(text))
    # After the end of a row or \\item, a bracket would begin an argument of it, and a star be its own.
    return f"{{}}{shown}" if shown.startswith(("[", "*")) else shown


def _part(part: DocumentPart) -> str:
    if isinstance(part, Bullets):
        items = "\n".join(f"\\item {escaped(sentence)}" for sentence in part.sentences)
        title = f"{escaped(part.title)}:\n" if part.title else ""
        return f"{title}\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
    if isinstance(part, Paragraph):
        title = f"{escaped(part.title)}: " if part.title else ""
        return "" if part.captioned else title + "\n".join(map(escaped, part.text.split("\n")))
    return _table(part)


def _table(table: AnyTable) -> str:
    columns = table.visible
    # escaped here, not by tabulate: it knows & and %, but not ± and ∞
    tabular = tabulate(
        [[escaped(" ".join(parts)) for parts in row] for row in table.cells()],
        headers=[escaped(column.heading or "") for column in columns],
        tablefmt="latex_raw",
        disable_numparse=True,
        colalign=["right" if column.right else "left" for column in columns] if table.rows else None,
    )
    plain = "".join("r" if column.right else "l" for column in columns)
    layout = "".join(_SENTENCE if column.wraps else "r" if column.right else "l" for column in columns)
    tabular = tabular.replace(f"{{{plain}}}", f"{{{layout}}}", 1)
    caption = table.caption or ". ".join(filter(None, (table.title, table.note)))
    return f"\\begin{{table}}\n\\centering\n\\caption{{{escaped(caption)}}}\n{tabular}\n\\end{{table}}"
