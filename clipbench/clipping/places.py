"""Where a clip works: the parameters of an optimizer that have a gradient, and which of them share a threshold."""

from itertools import groupby
from typing import Any

import torch
from torch import nn

from clipbench.clipping.settings import check_optimizer
from clipbench.errors import ClipbenchError
from clipbench.records import ClipPlace, ClipScope

Place = tuple[dict[str, Any], nn.Parameter]  # a parameter with its group


def with_gradient(optimizer: torch.optim.Optimizer) -> list[Place]:
    """The parameters that have a gradient, in the optimizer's order."""
    return [(group, p) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def look(optimizer: torch.optim.Optimizer, *, of: ClipPlace, clip: str) -> list[Place]:
    """The parameters that have a gradient; none if a gradient scaler has the step skip itself.

    Args:
        optimizer: whose step is coming.
        of: what will be clipped.
        clip: how an error calls the clip.

    Raises:
        ValueError: a parameter group that the clip cannot be right for: groups are added, and their options
            changed, after construction.
        ClipbenchError: no gradient, or gradients that cannot be clipped.
    """
    check_optimizer(optimizer, of)
    places = with_gradient(optimizer)
    gradients = [p.grad for _, p in places if p.grad is not None]
    if sum(g.numel() for g in gradients) == 0:
        raise ClipbenchError(
            "no parameter has a gradient", where=clip, remedy="call backward() before step(), or remove() the clip"
        )
    if any(g.layout != torch.strided for g in gradients):
        raise ClipbenchError(
            "a gradient is sparse", where=clip, remedy="make it dense, for an embedding with sparse=False"
        )
    if any(g.is_complex() for g in gradients):
        raise ClipbenchError(
            "a gradient is complex", where=clip, remedy="keep its parameter as torch.view_as_real gives it"
        )
    if len({g.device for g in gradients}) > 1:
        raise ClipbenchError(
            "the gradients are on several devices", where=clip, remedy="give each device an optimizer of its own"
        )
    if of != "update" and getattr(optimizer, "grad_scale", None) is not None:
        for left in ("grad_scale", "found_inf"):  # the scaler takes these off after a step, but not after an error
            vars(optimizer).pop(left, None)
        raise ClipbenchError(
            "the gradients are still multiplied by the gradient scaler's factor",
            where=clip,
            remedy="call scaler.unscale_(optimizer) before scaler.step(optimizer)",
        )
    overflow = getattr(optimizer, "found_inf", None)  # set by a scaler for a fused step only
    return [] if overflow is not None and bool(overflow) else places


def split(places: list[Place], *, scope: ClipScope) -> list[list[Place]]:
    """The places that share a threshold; those that have no coordinate among them are left out."""
    if scope == "global":
        return [places]
    if scope == "tensor":
        return [[place] for place in places if place[1].numel() > 0]
    parts = [list(members) for _, members in groupby(places, key=lambda place: id(place[0]))]
    return [part for part in parts if any(p.numel() > 0 for _, p in part)]
