r"""Text of strangers as it may be shown: on a terminal, in the log of a CI, in a file for a reader.

Names, options and reasons come from specs, from results folders and from exceptions. A terminal obeys an escape
sequence in them, an editor a bidirectional override, and GitHub, Azure and TeamCity a line that looks like a command
of theirs. What is not printable is shown as its code instead, \x1b or \u202e, so that a reader sees what is there.
"""

import re

ENDLESS = 10_000  # the width of a stream that has none, such as a pipe: a table there is as wide as it needs

# The beginning of a line that GitHub takes for a command (`::error::`), and what its older form, Azure
# (`##vso[task.complete]`) and TeamCity (`##teamcity[`) take for one.
_COMMAND = re.compile(r"^[ \t]*(?=::)|#(?=#\w*\[)", re.MULTILINE)
_AS_ESCAPE = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_WITH_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def harmless(text: str) -> str:
    r"""A text of several lines in which no character but line ends and tabs acts, and no line is a CI's command.

    >>> harmless("red\x1b[31m") == r"red\x1b[31m"  # which a terminal would have turned red
    True
    """
    shown = text if _is_plain(text) else "".join(c if c.isprintable() or c in "\n\t" else code(c) for c in text)
    return _COMMAND.sub(r"\g<0>\\", shown)


def on_one_line(text: str) -> str:
    """The same of a name or a sentence, where a line end would feign a line of its own."""
    return harmless(text if text.isprintable() else "".join(c if c.isprintable() else code(c) for c in text))


def as_cell(text: str) -> str:
    """A text as the value of a CSV file: on one line, and no formula to a spreadsheet.

    A spreadsheet runs what begins with =, +, - or @, in quotes or not; behind an apostrophe it is text (OWASP, CSV
    injection). What is a number stays one.
    """
    shown = on_one_line(text)
    return f"'{shown}" if shown.lstrip().startswith(_WITH_FORMULA) and not _is_number(shown) else shown


def in_json(dumped: str) -> str:
    r"""JSON text, made without ASCII alone, with \u escapes in place of what is not printable or looks like a command.

    Outside its strings JSON has printable ASCII and line ends alone, so that the text still means the same.
    """
    shown = dumped if _is_plain(dumped) else "".join(c if c.isprintable() or c == "\n" else _utf16(c) for c in dumped)
    return re.sub(r"#(?=#\w*\[)", r"\\u0023", shown)


def code(character: str) -> str:
    r"""A character as Python writes it in a text: \n, \x1b, \u202e, \U000e0001."""
    number = ord(character)
    width, letter = (2, "x") if number < 0x100 else (4, "u") if number < 0x10000 else (8, "U")
    return _AS_ESCAPE.get(character, f"\\{letter}{number:0{width}x}")


def shortened(text: str, width: int) -> str:
    """A text that is cut in its middle where it is longer than `width`: both its ends tell most of it."""
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - width :]}"


def _is_plain(text: str) -> bool:
    """Whether nothing in it needs a code: asked first, since nearly every text is."""
    return all(map(str.isprintable, text.split("\n")))


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
