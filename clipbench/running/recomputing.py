"""Activation checkpointing: of each block of a model only the input is kept, and the backward pass recomputes the rest.

Source: Chen, Xu, Zhang & Guestrin (2016), arXiv:1604.06174.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipbench.errors import ClipbenchError
from clipbench.geometry import keeping


def recompute(model: nn.Module) -> None:
    """Let every block of a model recompute its activations in training.

    A block is a module in a list (nn.ModuleList, nn.Sequential) that is in no other such block. Random draws, such as
    dropout's, are repeated, and buffers, such as the running statistics of a batch norm, are written to once, so that
    nothing but rounding can change.

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
    """The blocks of a model, one that is in it several times once."""
    listed = isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1
    blocks: dict[nn.Module, None] = {}
    for child in module.children():
        if not listed or isinstance(child, nn.ModuleList | nn.ModuleDict):  # these two have no forward pass
            blocks |= dict.fromkeys(_blocks(child))
        elif any(True for _ in child.parameters()):
            blocks[child] = None
    return list(blocks)


def _recomputed(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():  # which writes to a buffer once
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    buffers = list(block.buffers())
    again = partial(_from, buffers, list(map(keeping.clone, buffers)), [], forward)
    return checkpoint(again, *args, use_reentrant=False, **kwargs)


def _from(
    buffers: Sequence[Tensor],
    start: Sequence[Tensor],
    calls: list[None],
    forward: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """A forward pass; whatever it writes into buffers that begin at `start` stays of the first of its calls alone."""
    calls.append(None)
    if len(calls) == 1:
        return forward(*args, **kwargs)
    present = list(map(keeping.clone, buffers))
    _write(buffers, start)
    try:
        return forward(*args, **kwargs)
    finally:
        _write(buffers, present)


def _write(buffers: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        keeping.overwrite(buffer, value)
