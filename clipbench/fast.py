"""Speed by tricks: all are here, each with what it buys. Elsewhere the plain way is taken.

The figures are of `clipbench compare` over 10,000 runs of 83 rows each (benchmarks/speed/compare.py), in seconds of the
processor of some 3.5 in all. A trick that buys less than 3 % goes.
"""

import gc
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from pydantic_core import from_json


def columns(text: str, width: int) -> list[list[str]]:
    """The fields of a table by column: lines that all end, without quotes, with `width` fields each.

    By way of one list of all fields: 0.41 s, 2.2 by `csv`, and 0.45 a line at a time, which takes twice the memory.

    Raises:
        ValueError: a line has more fields, or fewer.
    """
    # A line's end becomes a field as well, the last of its line; a line too long or too short displaces the next.
    fields = text.replace("\n", ",\n,").split(",")
    ends = fields[width :: width + 1]
    if fields.pop() or ends.count("\n") != len(ends) or len(fields) != (width + 1) * len(ends):
        raise ValueError("a line has too many fields or too few")
    return [fields[column :: width + 1] for column in range(width)]


def floats(texts: Sequence[str]) -> "array[float]":
    """Each text as `float` reads it.

    By way of JSON where all are plain numbers: 0.18 s and not 0.54. An array takes 8 bytes a number and a list 32: of
    the 1.7 million numbers, 40 MB.

    Raises:
        ValueError: one is no number.
    """
    joined = ",".join(texts)
    if "true" not in joined and "false" not in joined:  # which would become 1 and 0
        with suppress(ValueError, TypeError, OverflowError):
            return array("d", from_json(f"[{joined}]"))
    return array("d", map(float, texts))


@contextmanager
def uncollected() -> Iterator[None]:
    """Read without the garbage collector.

    Records refer to nothing in a circle, and it would look at each again and again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
