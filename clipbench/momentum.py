"""The momentum average that several optimizers step by."""

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor


def momentum_averages(
    state: MutableMapping[Tensor, Any], parameters: list[Tensor], gradients: list[Tensor], *, momentum: float
) -> list[Tensor]:
    """The average of each parameter with its present gradient taken in: m₁ = g₁, mₜ = μ·mₜ₋₁ + (1−μ)·gₜ.

    This is the buffer of torch.optim.SGD with dampening = μ. It is kept in `state[parameter]["momentum_buffer"]`, and
    what is returned are those tensors themselves.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if "momentum_buffer" not in state[parameter]:
            state[parameter]["momentum_buffer"] = gradient.clone()  # so that lerp leaves m₁ = g₁
    averages: list[Tensor] = [state[parameter]["momentum_buffer"] for parameter in parameters]
    torch._foreach_lerp_(averages, gradients, 1.0 - momentum)
    return averages
