"""Activation checkpointing: of each block of a model only the input is kept, and the backward pass recomputes the rest.

Source: Chen, Xu, Zhang & Guestrin (2016), arXiv:1604.06174.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from clipbench.errors import ClipbenchError


def recompute(model: nn.Module) -> None:
    """Let every block of a model recompute its activations in training.

    A block is a module in a list (nn.ModuleList, nn.Sequential) that is in no other such block. Random draws, such as
    dropout's, are repeated, so that nothing but rounding can change.

    Raises:
        ClipbenchError: the model has no blocks.
    """
    found = list(_blocks(model))
    if not found:
        raise ClipbenchError(
            "the model has no blocks whose activations could be recomputed",
            where="training.recompute",
            remedy="keep its layers in an nn.ModuleList or an nn.Sequential, or leave `recompute` out",
        )
    for block in found:
        block.forward = partial(_recomputed, block, block.forward)


def _blocks(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
        return [each for each in module if any(True for _ in each.parameters())]
    return [block for child in module.children() for block in _blocks(child)]


def _recomputed(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
