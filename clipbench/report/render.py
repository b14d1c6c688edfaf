"""A comparison in any format; all of them show the same numbers."""

from typing import Literal, get_args, overload

from rich.console import RenderableType

from clipbench.errors import ClipbenchError
from clipbench.judging.comparison import Comparison
from clipbench.report.latex import as_latex, section_as_latex
from clipbench.report.markdown import as_markdown, section_as_markdown
from clipbench.report.raw import as_csv, as_json, section_as_csv, section_as_json
from clipbench.report.section import Section
from clipbench.report.tables import as_table, section_as_table

TextFormat = Literal["markdown", "latex", "csv", "json"]
Format = Literal["table", "markdown", "latex", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

_SECTION = {
    "markdown": section_as_markdown,
    "latex": section_as_latex,
    "csv": section_as_csv,
    "json": section_as_json,
}
_TEXT = {"markdown": as_markdown, "latex": as_latex, "csv": as_csv, "json": as_json}


@overload
def render(comparison: Comparison, fmt: TextFormat) -> str: ...
@overload
def render(comparison: Comparison, fmt: Literal["table"] = "table") -> RenderableType: ...
@overload
def render(comparison: Comparison, fmt: str) -> RenderableType: ...
def render(comparison: Comparison, fmt: str = "table") -> RenderableType:
    """The comparison as it is to be printed.

    `table` gives something for a Rich console, which fits it to its width; every other format gives text, to be
    written as it is (a Rich console would read brackets in it as markup).

    Raises:
        ClipbenchError: there is no such format.
    """
    if fmt == "table":
        return as_table(comparison)
    if fmt not in _TEXT:
        raise ClipbenchError(f"there is no format {fmt!r}", remedy=f"choose one of: {', '.join(FORMATS)}")
    return _TEXT[fmt](comparison)


def render_section(section: Section, fmt: str = "table") -> RenderableType:
    """One section alone, in any format."""
    return section_as_table(section) if fmt == "table" else _SECTION[fmt](section)
