"""The only place that turns text into Rich text: markup and control characters in it have no effect."""

from rich.text import Text

from clipbench.harmless import on_one_line


def text_of(text: str = "", style: str = "") -> Text:
    r"""A name or a sentence; a line end in it is shown as \n."""
    return Text(on_one_line(text), style=style)


def lines_of(text: str, style: str = "") -> Text:
    """A text of several lines, with control characters in each made visible."""
    return Text("\n".join(map(on_one_line, text.expandtabs().split("\n"))), style=style)
