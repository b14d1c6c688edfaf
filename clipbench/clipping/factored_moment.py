"""The paper's rule for Adafactor: the clipped gradient above, rows and columns of the raw gradient's squares below."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.clipping.coordinates import Bound, clamp_
from clipbench.factored import mean_squares, take_step


def clip_factored(
    optimizer: torch.optim.Adafactor, group: Mapping[str, Any], *, parameters: Sequence[nn.Parameter], limit: Bound
) -> list[tuple[nn.Parameter, Tensor]]:
    """Take the coming step here, with the clipped gradient above its factored second moment only.

    The optimizer would square what it finds in `.grad`, and nothing that its state could hold beforehand makes up for
    that: at the first step it forgets its state.

    Args:
        optimizer: its state is there for all the parameters.
        group: the parameters' group, with beta2_decay below 0.
        parameters: each has a gradient.
        limit: τ.

    Returns:
        The parameters and their clipped gradients; `.grad` is None, so that the optimizer passes them by, until
        somebody puts it back.

    Source: Pan and Li (2023), arXiv:2306.00204; Shazeer and Stern (2018), arXiv:1804.04235.
    """
    stepped = []
    for parameter in parameters:
        gradient = parameter.grad
        assert gradient is not None  # of those that were looked at only
        squares = mean_squares(gradient)
        clamp_([gradient], limit)
        take_step(optimizer, group, parameter, squares=squares, numerator=gradient)
        stepped.append((parameter, gradient))
        parameter.grad = None
    return stepped
