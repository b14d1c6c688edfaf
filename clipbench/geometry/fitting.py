"""What memory is enough for: fewer directions at once, then parts of the batches, until a measurement fits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from clipbench.contracts import Batch, Loss
from clipbench.geometry import splitting
from clipbench.geometry.found import Carried
from clipbench.geometry.memory import TooFewBytesError, is_out_of_memory
from clipbench.geometry.splitting import halves

Carry = Callable[[Sequence[Batch], int | None], Carried]
"""`carry(batches, chunk)`: what an engine finds on batches, with at most so many directions at once."""


@dataclass(frozen=True)
class Fit:
    """At most `chunk` directions at once, as many as there are if None, on batches that are halved `halvings` times."""

    chunk: int | None
    halvings: int = 0


def within_memory(
    carry: Carry, model: nn.Module, loss: Loss, batches: Sequence[Batch], fit: Fit
) -> tuple[Carried, Fit]:
    """What an engine finds on the batches, and what had to be done to make it fit into memory.

    Where it does not fit the number of directions is halved down to one, then the batches are, which changes numbers by
    rounding alone. A batch that cannot be cut stays whole.

    Args:
        carry: measures, and may run out of memory.
        model, loss: what is measured.
        batches: on any device.
        fit: to begin with.

    Raises:
        TooFewBytesError: one direction does not fit, and no batch can be cut any further.
    """
    pieces = list(map(splitting.pieces, batches))
    for _ in range(fit.halvings):
        pieces = _finer(model, loss, pieces)
    while True:
        try:
            carried = carry([piece for parts in pieces for piece in parts], fit.chunk)
            return _joined(carried, batches, pieces), fit
        except TooFewBytesError as error:
            together, why = error.directions, error.message
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            together, why = 1, "it does not fit into memory"
        # The error is gone by now, and with it what it held.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if together > 1:
            fit = Fit(together // 2, fit.halvings)
            continue
        finer = _finer(model, loss, pieces)
        if sum(map(len, finer)) == sum(map(len, pieces)):
            raise TooFewBytesError(f"{why}, and the batches cannot be cut any further", directions=1)
        fit, pieces = Fit(fit.chunk, fit.halvings + 1), finer


def in_words(fit: Fit, asked: Fit, batches: Sequence[Batch]) -> str:
    """What was done for want of memory, if anything."""
    if fit == asked:
        return ""
    done = [f"{fit.chunk} direction{'s' * (fit.chunk != 1)} at once"] if fit.chunk != asked.chunk else []
    if fit.halvings:
        largest = max(batch.samples for batch in batches)
        done.append(f"batches of {largest} samples in parts of {-(-largest // 2**fit.halvings)}")
    return f"for want of memory {', '.join(done)}"


def _finer(model: nn.Module, loss: Loss, pieces: Sequence[Sequence[Batch]]) -> list[list[Batch]]:
    return [[part for piece in parts for part in halves(model, loss, piece) or (piece,)] for parts in pieces]


def _joined(carried: Carried, batches: Sequence[Batch], pieces: Sequence[Sequence[Batch]]) -> Carried:
    """What is true of the batches, from what was found on their parts."""
    if not carried.losses or len(carried.rows) == len(batches):
        return Carried(carried.losses, carried.rows[: len(batches)], carried.operations[: len(batches)])
    whole, at = Carried([], [], []), 0
    for batch, parts in zip(batches, pieces, strict=True):
        places = range(at, at := at + len(parts))
        shares = [part.weight / batch.weight for part in parts]
        whole.losses.append(sum(share * carried.losses[i] for share, i in zip(shares, places, strict=True)))
        columns = zip(*(carried.rows[i] for i in places), strict=True)
        whole.rows.append([_mean(shares, column) for column in columns])
        whole.operations.append(set().union(*(carried.operations[i] for i in places)))
    return whole


def _mean(shares: Sequence[float], of_parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    slopes, curvatures = zip(*of_parts, strict=True)
    return sum(map(float.__mul__, shares, slopes)), sum(map(float.__mul__, shares, curvatures))
