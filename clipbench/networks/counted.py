"""The cross-entropy of those terms that count, and how many of them a model gets right."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clipbench.networks.cross_entropy import IGNORED, cross_entropy_in_blocks

BLOCK = 2**24  # logits that exist at once, 64 MiB in float32


@dataclass(frozen=True)
class Output:
    """What a model says of each place: `head` makes logits (n, classes) of hidden states (n, width).

    The hidden states are (B, T, width).
    """

    hidden: Tensor
    head: Callable[[Tensor], Tensor]
    classes: int

    @property
    def rows(self) -> int:
        """How many places are in a block of BLOCK logits."""
        return max(BLOCK // self.classes, 1)

    def best(self) -> Tensor:
        """The class with the largest logit at each place (B, T)."""
        blocks = self.hidden.flatten(0, 1).split(self.rows)
        return torch.cat([self.head(block).argmax(dim=1) for block in blocks]).view(self.hidden.shape[:2])


def real(lengths: Tensor, width: int) -> Tensor:
    """Which places of sequences are no padding: lengths (B,) → (B, width)."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def mean_cross_entropy(output: Output, expected: Tensor, counted: Tensor) -> Tensor:
    """−Σ log softmax(logits)[expected] / n over the n places that count, in nats; expected and counted are (B, T).

    A label of −100 does not count either. Where there are more logits than a block has, they never exist all at once.
    """
    labels = expected.masked_fill(~counted, IGNORED)
    return cross_entropy_in_blocks(output.head, output.hidden, labels, rows=output.rows)


def right(output: Output, expected: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the counted places have their largest logit where it is expected, and how many they are."""
    counted = counted & (expected != IGNORED)
    return ((output.best() == expected) & counted).sum(), counted.sum()
