"""Weights and batches as pure functions of a seed, whatever state the global random generators are in."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import TypeVar

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch

Model = TypeVar("Model", bound=nn.Module)
TrainBatches = Callable[[int], Iterator[Batch]]


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator of its own for what `key` names, such as ("batch", seed, step).

    Its seed is the first 63 bits of the SHA-256 of the key: stable from one process to the next, which
    Python's salted hash() is not, and without the overlap that sums like seed + step have.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def with_weights_of(seed: int, make: Callable[[], Model]) -> Model:
    """What `make` builds on the CPU when the global generator starts from `seed`; its state is put back after.

    Weights are always drawn on the CPU, so that every device starts from the same ones.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators as well and leave them so.
        torch.default_generator.set_state(generator("weights", seed).get_state())
        return make()


def endless(make: Callable[[int], Batch]) -> TrainBatches:
    """Training batches without end, of which `make(i)` is batch i."""
    return lambda start: map(make, count(start))


def shuffled_epochs(tensors: Mapping[str, Tensor], size: int, *, seed: int) -> TrainBatches:
    """Batches of `size` examples that pass over the data again and again, shuffled anew for every pass.

    Batch i is cut from the permutation of pass i // (examples // size); what is left over of a pass is
    not used in it. The tensors have the examples along their first axis.
    """
    examples = len(next(iter(tensors.values())))
    per_pass = examples // size

    def make(step: int) -> Batch:
        epoch, place = divmod(step, per_pass)
        order = torch.randperm(examples, generator=generator("order", seed, epoch))
        chosen = order[place * size : (place + 1) * size]
        return Batch({name: tensor[chosen] for name, tensor in tensors.items()}, samples=size)

    return endless(make)


def in_batches(tensors: Mapping[str, Tensor], size: int) -> list[Batch]:
    """The data cut into batches of `size` examples in its own order; the last may be smaller."""
    pieces = {name: torch.split(tensor, size) for name, tensor in tensors.items()}
    rows = [dict(zip(pieces, piece, strict=True)) for piece in zip(*pieces.values(), strict=True)]
    return [Batch(row, samples=len(next(iter(row.values())))) for row in rows]
