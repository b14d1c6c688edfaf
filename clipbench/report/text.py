"""The only place where text becomes Rich's: neither its markup nor a control character in it is obeyed."""

from rich.text import Text

from clipbench.harmless import on_one_line


def text_of(said: str = "", style: str = "") -> Text:
    r"""A name or a sentence; a line end in it is shown as \n."""
    return Text(on_one_line(said), style=style)


def lines_of(said: str, style: str = "") -> Text:
    """A text of several lines, each harmless by itself."""
    return Text("\n".join(map(on_one_line, said.expandtabs().split("\n"))), style=style)
