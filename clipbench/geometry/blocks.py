"""Blocks of parameters, and a step cut into them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

WHOLE = "the model itself"  # the block of parameters that lie in no submodule


def blocks(parameters: Mapping[str, nn.Parameter], *, depth: int | None = None) -> dict[str, list[str]]:
    """The parameters' names by block: the module that owns them, or the first `depth` parts of its name.

    A tied weight is in the block of its first name.
    """
    by_block: dict[str, list[str]] = {}
    for name in parameters:
        parts = name.split(".")[:-1]
        by_block.setdefault(".".join(parts if depth is None else parts[:depth]) or WHOLE, []).append(name)
    return by_block


def pieces(
    u: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], parted: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Tensor]]:
    """For each block u_b: u in that block, and zero elsewhere. The zeros are shared between the pieces."""
    zeros = {name: torch.zeros_like(p) for name, p in parameters.items()}
    return {block: {**zeros, **{name: u[name] for name in names}} for block, names in parted.items()}
