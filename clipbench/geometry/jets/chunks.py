"""Directions a few at a time: as many as are asked for, or as memory allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from clipbench.geometry.found import Rows
from clipbench.geometry.memory import MemoryTally, TooFewBytesError, is_out_of_memory


@dataclass(frozen=True)
class Limits:
    """At most so many directions at once, `chunk`, and so many bytes for them, `memory`; None for no limit."""

    chunk: int | None
    memory: int | None = None


def in_chunks(
    measured: Callable[[range], Rows],
    directions: int,
    *,
    limits: Limits,
    kept: Sequence[Tensor] = (),
) -> Rows:
    """Measure all directions, some at once, and join what was found.

    Within a limit of memory the first direction goes alone, and its peak is counted. With v bytes at any moment that
    all directions share and t that each has, a pass of c takes max(v + c·t), so one of more than c takes at most in
    proportion: the next one has as many directions as that allows.

    Args:
        measured: of a range of directions, the rows of all batches.
        kept: tensors that count as memory used and are there from the start.

    Raises:
        TooFewBytesError: one direction does not fit into the limit, or a pass not into the device.
    """
    done, size = 0, (limits.chunk or directions) if limits.memory is None else 1
    parts: list[Rows] = []
    while done < directions:
        ks = range(done, min(done + size, directions))
        rows, peak = _tried(measured, ks, kept, tally=limits.memory is not None)
        if rows is None:
            raise TooFewBytesError(f"{len(ks)} directions at once do not fit into memory", directions=len(ks))
        parts.append(rows)
        done += len(ks)
        if limits.memory is not None:
            size = len(ks) * limits.memory // max(peak, 1)
            if size < 1:
                raise TooFewBytesError(f"one direction takes {peak:,} of {limits.memory:,} bytes", directions=1)
            size = min(size, limits.chunk or size)
    return [[each for row in batch for each in row] for batch in zip(*parts, strict=True)]


def _tried(
    measured: Callable[[range], Rows], ks: range, kept: Sequence[Tensor], *, tally: bool
) -> tuple[Rows | None, int]:
    """The rows and the peak of memory, counted only if asked for; no rows where there is too little memory.

    The error is let go of here, for what it refers to holds the memory.
    """
    try:
        if not tally:
            return measured(ks), 0
        with MemoryTally() as counted:
            counted.note(*kept)
            return measured(ks), counted.peak
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return None, 0
