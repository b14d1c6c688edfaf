"""The naive clip over all tensors at once, for the optimizers written out beside it."""

from collections.abc import Sequence

import torch
from oracles import flat, naive_clip
from torch import Tensor

Steps = Sequence[Sequence[Tensor]]


def clipped(tensors: Sequence[Tensor], fraction: float) -> list[Tensor]:
    if fraction == 0.0:
        return list(tensors)
    values = torch.tensor(naive_clip(flat(tensors).tolist(), fraction)[1], dtype=torch.float64)
    parts = values.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
