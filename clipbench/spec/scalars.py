"""Scalars as YAML 1.2 reads them: PyYAML follows 1.1, where `1e-3` is text, `no` is false and `10:30` is 630."""

import re
from collections.abc import Callable

_MOST_DIGITS = 3000  # of a number in hexadecimal digits, too: Python writes out 4,300 decimal digits and no more
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)


def scalar(text: str) -> bool | int | float | str | None:
    """What an unquoted YAML scalar means in the core schema of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3).

    >>> [scalar(text) for text in ("1e-3", "0x10", "true", "no", "10:30", "~")]
    [0.001, 16, True, 'no', '10:30', None]
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    for pattern, convert in _NUMBERS:
        if pattern.fullmatch(text):
            # More digits than Python writes out: no number that a spec could mean.
            return convert(text) if len(text) <= _MOST_DIGITS else text
    return text
