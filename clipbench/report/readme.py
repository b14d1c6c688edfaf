"""The README's tables, written from results so that they cannot drift."""

from clipbench.errors import ClipbenchError
from clipbench.judging.comparison import Comparison
from clipbench.report.markdown import as_markdown


def block(comparison: Comparison, *, name: str = "quickstart") -> str:
    """The comparison in Markdown between its two markers, as it stands in the README."""
    return f"{_begin(name)}\n{as_markdown(comparison)}\n{_END}"


def replaced(text: str, comparison: Comparison, *, name: str = "quickstart") -> str:
    """`text` with its block `name` written anew; the rest is left as it is.

    Raises:
        ClipbenchError: the text has no such block, several, or one without an end.
    """
    begin = _begin(name)
    if text.count(begin) != 1:
        raise ClipbenchError(
            f"found {text.count(begin)} blocks {begin}", remedy=f"put {begin} and {_END} once, around the table"
        )
    before, _, rest = text.partition(begin)
    table, end, after = rest.partition(_END)
    if not end or "<!-- table:" in table:
        raise ClipbenchError(f"the block {begin} has no end", remedy=f"put {_END} beneath its table")
    return before + block(comparison, name=name) + after


_END = "<!-- /table -->"


def _begin(name: str) -> str:
    return f"<!-- table:{name} -->"
