"""Activation checkpointing: of each block of a model only the input is kept, and the backward pass recomputes the rest.

Source: Chen, Xu, Zhang & Guestrin (2016), arXiv:1604.06174.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipbench.errors import ClipbenchError
from clipbench.geometry import keeping
from clipbench.geometry.contexts import math_attention


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
    return checkpoint(_Repeated(block, forward), *args, use_reentrant=False, **kwargs)


class _Repeated:
    """A forward pass of a block, as often as it is called: in the context, and on the buffers, of its first time.

    What it writes into buffers stays of that first time alone.
    """

    def __init__(self, block: nn.Module, forward: Callable[..., Any]) -> None:
        self._forward, self._buffers = forward, list(block.buffers())
        self._start = [keeping.clone(buffer) for buffer in self._buffers]
        self._plainly = not torch.backends.mha.get_fastpath_enabled()  # in `math_attention`
        self._is_first = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._is_first:
            self._is_first = False
            return self._forward(*args, **kwargs)
        present = [keeping.clone(buffer) for buffer in self._buffers]
        self._write(self._start)
        try:
            with math_attention() if self._plainly else nullcontext():
                return self._forward(*args, **kwargs)
        finally:
            self._write(present)

    def _write(self, values: Sequence[Tensor]) -> None:
        for buffer, value in zip(self._buffers, values, strict=True):
            keeping.overwrite(buffer, value)
