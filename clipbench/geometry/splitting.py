"""A batch cut along its first axis: to its first examples for a check, and into halves where memory is short."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.memory import TooFewBytesError, is_out_of_memory

T = TypeVar("T")


_largest: ContextVar[int | None] = ContextVar("largest", default=None)


@contextmanager
def at_most(samples: int | None) -> Iterator[None]:
    """Inside, larger batches are measured in pieces of at most so many examples, as far as they can be split."""
    token = _largest.set(samples)
    try:
        yield
    finally:
        _largest.reset(token)


def pieces(batch: Batch) -> list[Batch]:
    """The batch, or its pieces inside `at_most`."""
    largest = _largest.get()
    if largest is None or not batch.tensors:
        return [batch]
    try:
        return batch.split(largest)
    except ClipbenchError:  # what it is made of cannot be split
        return [batch]


def first_examples(batch: Batch, count: int) -> Batch | None:
    """The first of a batch, with as many terms; None for a batch that cannot be cut, or has no more than that.

    How many of its tokens they have is not known: the result is for computing a loss, not for a mean over batches.
    """
    length = _length(batch)
    if length is None or length <= count:
        return None
    tensors = {name: tensor[:count] for name, tensor in batch.tensors.items()}
    return replace(batch, tensors=tensors, samples=count, terms=None)


def halves(model: nn.Module, loss: Loss, batch: Batch) -> tuple[Batch, ...]:
    """Batches whose losses, each by its weight, have the loss of this one for their mean; empty where there are none.

    A batch is cut where `Batch.split` can: each sample is a row of every tensor, and how many terms it adds is known.
    Then the loss itself is asked whether it is such a mean, by forward passes; what lies between examples, as in a
    contrastive loss, is lost in its parts. Where the whole does not fit into memory even so, the contract of
    `Problem.loss` is trusted.
    """
    parts = _parts(batch)
    return parts if len(parts) > 1 and _is_mean(model, loss, batch, parts) else ()


def in_pieces(model: nn.Module, loss: Loss, batch: Batch, measure: Callable[[Batch], T]) -> Iterator[tuple[float, T]]:
    """What is measured on a batch, or where memory is short on parts of it, each with its share in the mean.

    Raises:
        TooFewBytesError: there is no memory for it, and no way to cut the batch.
    """
    for piece in pieces(batch):
        for share, measured in _where_it_fits(model, loss, piece, measure):
            yield piece.weight / batch.weight * share, measured


def _where_it_fits(
    model: nn.Module, loss: Loss, batch: Batch, measure: Callable[[Batch], T]
) -> Iterator[tuple[float, T]]:
    try:
        measured = measure(batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    else:
        yield 1.0, measured
        return
    # The error is gone by now, and with it the memory that it held.
    parts = halves(model, loss, batch)
    if not parts:
        raise TooFewBytesError("a batch does not fit into memory, and cannot be cut", directions=1)
    for part in parts:
        for share, of_part in _where_it_fits(model, loss, part, measure):
            yield part.weight / batch.weight * share, of_part


def _parts(batch: Batch) -> tuple[Batch, ...]:
    if batch.samples < 2 or not batch.tensors:
        return ()
    try:
        return tuple(batch.split((batch.samples + 1) // 2))
    except ClipbenchError:
        return ()


def _is_mean(model: nn.Module, loss: Loss, batch: Batch, parts: Sequence[Batch]) -> bool:
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            whole, *several = (loss(model, each.to(device)).double() for each in (batch, *parts))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return True
    mean = sum(part.weight / batch.weight * value for part, value in zip(parts, several, strict=True))
    eps = torch.finfo(next(model.parameters()).dtype).eps
    return bool(abs(mean - whole) <= eps**0.5 * abs(whole))


def _length(batch: Batch) -> int | None:
    """Of the first axis, where all tensors have one and the same."""
    lengths = {len(tensor) if tensor.dim() and not tensor.is_nested else None for tensor in batch.tensors.values()}
    return lengths.pop() if len(lengths) == 1 else None
