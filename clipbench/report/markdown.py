"""A document as Markdown, for a README, an issue or a step summary."""

import re
from collections.abc import Iterator

from tabulate import tabulate

from clipbench.harmless import on_one_line
from clipbench.report.table import AnyTable, Bullets, Document, DocumentPart, Paragraph


def as_markdown(document: Document) -> str:
    """The document's parts as Markdown blocks."""
    return "\n\n".join(block for part in document.parts for block in _blocks(part))


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside a word is no mark and stays."""
    return re.sub(r"[\\`*|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", on_one_line(text))


def _blocks(part: DocumentPart) -> Iterator[str]:
    if isinstance(part, Bullets):
        if part.title:
            yield f"{escaped(part.title)}:"
        yield "\n".join(f"- {escaped(sentence)}" for sentence in part.sentences)
    elif isinstance(part, Paragraph):
        if part.title:
            yield _styled(part.title, "bold")
        lines = part.text.split("\n") if part.preformatted else [part.text]
        yield "\n".join(_styled(line, part.style) for line in lines)
    else:
        if part.title:
            yield _styled(part.title, part.title_style)
        yield _table(part)
        if part.note:
            yield escaped(part.note)


def _styled(text: str, style: str) -> str:
    return f"**{escaped(text)}**" if style == "bold" else escaped(text)


def _table(table: AnyTable) -> str:
    """A pipe table."""
    columns = table.visible
    return tabulate(
        [[escaped(" ".join(parts)) for parts in row] for row in table.cells()],
        headers=[escaped(column.heading or "") for column in columns],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["right" if column.right else "left" for column in columns] if table.rows else None,
    )
