"""The cross-entropy of those terms that count, and how many of them a model gets right."""

import torch
from torch import Tensor
from torch.nn import functional

from clipbench.networks.cross_entropy import IGNORED


def real(lengths: Tensor, width: int) -> Tensor:
    """Which places of sequences are no padding: lengths (B,) → (B, width)."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def mean_cross_entropy(logits: Tensor, expected: Tensor, counted: Tensor) -> Tensor:
    """−Σ log softmax(logits)[expected] / n over the n places that count, in nats: (B, T, V), (B, T), (B, T) → ().

    A label of −100 does not count either.
    """
    labels = expected.masked_fill(~counted, IGNORED)
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def right(logits: Tensor, expected: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the counted places have their largest logit where it is expected, and how many they are."""
    counted = counted & (expected != IGNORED)
    return ((logits.argmax(dim=2) == expected) & counted).sum(), counted.sum()
