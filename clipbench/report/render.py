"""A document in any format; all of them show the same numbers."""

from collections.abc import Callable
from typing import Literal, get_args

from rich.console import RenderableType

from clipbench.errors import ClipbenchError
from clipbench.report.latex import as_latex
from clipbench.report.markdown import as_markdown
from clipbench.report.raw import as_csv, as_json
from clipbench.report.table import Document
from clipbench.report.terminal import as_terminal

Format = Literal["table", "markdown", "latex", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

_WRITERS: dict[str, Callable[[Document], RenderableType]] = {
    "table": as_terminal,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "json": as_json,
}


def render(document: Document, fmt: str = "table") -> RenderableType:
    """The document as it is to be printed.

    `table` gives something for a Rich console, which fits it to its width; every other format gives text, to be
    written as it is (a Rich console would read brackets in it as markup).

    Raises:
        ClipbenchError: there is no such format.
    """
    if fmt not in _WRITERS:
        raise ClipbenchError(f"there is no format {fmt!r}", remedy=f"choose one of: {', '.join(FORMATS)}")
    return _WRITERS[fmt](document)
