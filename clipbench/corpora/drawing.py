"""Batches of numbered examples: which are trained on, evaluated and probed, and in which order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.networks.seeding import generator, shuffled_epochs

_HELD_OUT = 0.05  # of the examples for evaluation, and as much again for probes
_LEAST, _EVALUATED = 4, 16  # batches that are held out, and those that are evaluated at most
_PROBED = 32  # examples, or four batches where these have fewer

# The batch of some examples, by their numbers; what it draws itself comes from the generator.
Collate = Callable[[Tensor, torch.Generator], Batch]


@dataclass(frozen=True)
class Drawn:
    """The batches of a problem, and how many training examples there are."""

    train_batches: Callable[[int], Iterator[Batch]]
    eval_batches: Sequence[Batch]
    probe_batches: Sequence[Batch]
    train_slice: Sequence[Batch]
    examples: int

    def fields(self) -> dict[str, Any]:
        """What `Problem` has of them."""
        return dict(vars(self))


def drawn(count: int, batch: int, seed: int, collate: Collate) -> Drawn:
    """Batches of `batch` examples: 90 % of the examples for training, 5 % for evaluation, 5 % for probes.

    The division is the same for every seed, and holds out four batches for evaluation and for probes at least. The
    seed decides the order of the training examples, shuffled anew for every pass.

    Raises:
        ClipbenchError: there are not enough examples for one training batch.
    """
    held_out = max(int(_HELD_OUT * count), _LEAST * batch)
    training = count - 2 * held_out
    if training < batch:
        raise ClipbenchError(
            f"there are {count:,} examples, of which evaluation and probes take {held_out:,} each, and none is left "
            f"for a training batch of {batch}",
            remedy="set `batch` lower, or give more data",
        )
    order = torch.randperm(count, generator=generator("held out"))
    parts = torch.split(order, [training, held_out, held_out])
    epochs = shuffled_epochs({"number": parts[0]}, batch, seed=seed)

    def train_batches(start: int) -> Iterator[Batch]:
        for step, chosen in enumerate(epochs(start), start):
            yield collate(chosen["number"], generator("examples", seed, step))

    def fixed(numbers: Tensor, use: str, most: int) -> list[Batch]:
        pieces = torch.split(numbers, batch)[:most]
        return [collate(piece, generator(use, place)) for place, piece in enumerate(pieces)]

    return Drawn(
        train_batches,
        fixed(parts[1], "evaluation", _EVALUATED),
        fixed(parts[2][: min(_PROBED, _LEAST * batch)], "probe", _LEAST),
        fixed(parts[0], "slice", min(_LEAST, training // batch)),
        training,
    )


def padded(sequences: Sequence[Sequence[int]], length: int = 0, value: int = 0) -> tuple[Tensor, Tensor]:
    """Sequences as one tensor (B, T) filled up with `value`, T the longest or `length`; and their lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    table = torch.full((len(sequences), max(length, int(lengths.max()))), value)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = torch.as_tensor(sequence, dtype=torch.int64)
    return table, lengths
