"""Where a clip works: the parameters of an optimizer that have a gradient, and which of them share a threshold."""

from collections.abc import Collection
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.clipping.second_moment import check_numerator
from clipbench.errors import ClipbenchError
from clipbench.records import ClipPlace, ClipScope

ParameterPlace = tuple[dict[str, Any], nn.Parameter]  # a parameter with its group


def with_gradient(optimizer: torch.optim.Optimizer) -> list[ParameterPlace]:
    """The parameters that have a gradient, in the optimizer's order; none if no gradient has a coordinate.

    A parameter that stands in the groups twice, which torch warns of or refuses where it sees it, is here once, with
    the first of its groups.
    """
    places: dict[nn.Parameter, ParameterPlace] = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                places.setdefault(p, (group, p))
    return list(places.values()) if any(p.numel() > 0 for p in places) else []


def check_optimizer(optimizer: torch.optim.Optimizer, clipped: ClipPlace, groups: frozenset[int] | None = None) -> None:
    """Refuse parameter groups that a clip cannot be right for, of those to clip; cheap enough for every step.

    Raises:
        ValueError: a group is differentiable, or `of="numerator"` does not know it.
    """
    some = [group for place, group in enumerate(optimizer.param_groups) if groups is None or place in groups]
    if any(group.get("differentiable") for group in some):
        raise ValueError("differentiable=True is set, and the clip has no derivative: it works in place, without one")
    if clipped == "numerator":
        for each in dict.fromkeys(stepped_by(optimizer, group) for group in some):
            check_numerator(each)


def members(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers that take the steps of one: those in its dict `members`, if it has some; else itself."""
    within = vars(optimizer).get("members")
    inner = list(within.values()) if isinstance(within, dict) else []
    return inner if inner and all(isinstance(each, torch.optim.Optimizer) for each in inner) else [optimizer]


def stepped_by(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> torch.optim.Optimizer:
    """The one of the `members` whose parameter group it is."""
    return next(each for each in members(optimizer) if any(own is group for own in each.param_groups))


def look(
    optimizer: torch.optim.Optimizer, *, clipped: ClipPlace, clip: str, groups: frozenset[int] | None = None
) -> list[ParameterPlace]:
    """The parameters to clip that have a gradient; none if there is none to clip, or a gradient scaler skips the step.

    Args:
        optimizer: whose step is coming.
        clipped: what will be clipped.
        clip: how an error calls the clip.
        groups: the places of the parameter groups to clip; None for all.

    Raises:
        ValueError: a parameter group that the clip cannot be right for: groups are added, and their options
            changed, after construction.
        ClipbenchError: gradients that cannot be clipped.
    """
    check_optimizer(optimizer, clipped, groups)
    places = of_groups(with_gradient(optimizer), optimizer, groups)
    if not places:
        return []
    gradients = [p.grad for _, p in places if p.grad is not None]
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
    if clipped != "update" and getattr(optimizer, "grad_scale", None) is not None:
        for left in ("grad_scale", "found_inf"):  # the scaler takes these off after a step, but not after an error
            vars(optimizer).pop(left, None)
        raise ClipbenchError(
            "the gradients are still multiplied by the gradient scaler's factor",
            where=clip,
            remedy="call scaler.unscale_(optimizer) before scaler.step(optimizer)",
        )
    overflow = getattr(optimizer, "found_inf", None)  # set by a scaler for a fused step only
    return [] if overflow is not None and bool(overflow) else places


def checked_groups(groups: Collection[int] | None, optimizer: torch.optim.Optimizer) -> frozenset[int] | None:
    """The places of the parameter groups to clip; None for all.

    Raises:
        TypeError: one of them is no whole number.
        ValueError: there is none, or one where the optimizer has no group.
    """
    if groups is None:
        return None
    number = len(optimizer.param_groups)
    if wrong := [place for place in groups if isinstance(place, bool) or not isinstance(place, int)]:
        raise TypeError(f"`groups` has {wrong[0]!r}: it is the places of parameter groups, such as [0, 2]")
    if not groups:
        raise ValueError("`groups` is empty, so that nothing would be clipped")
    if beyond := [place for place in groups if not 0 <= place < number]:
        raise ValueError(f"`groups` has {beyond[0]}, and the optimizer has the parameter groups 0 to {number - 1}")
    return frozenset(groups)


def of_groups(
    places: list[ParameterPlace], optimizer: torch.optim.Optimizer, groups: frozenset[int] | None
) -> list[ParameterPlace]:
    """Those in the parameter groups at these places; all for None."""
    if groups is None:
        return places
    some = {id(group) for place, group in enumerate(optimizer.param_groups) if place in groups}
    return [(group, p) for group, p in places if id(group) in some]


def unshare(places: list[ParameterPlace]) -> None:
    """Give each gradient memory that a change in place can be made in: where it has none, `.grad` becomes a copy.

    After expand() several coordinates lie at one address, and two parameters can be given one tensor: a change in
    place would fail there, or be made twice. The gradients have to be on one device.
    """
    both = [(p, p.grad) for _, p in places if p.grad is not None and p.numel() > 0]
    plain = [pair for pair in both if type(pair[1]) in (Tensor, nn.Parameter)]
    end = 0
    for parameter, gradient in sorted(plain, key=lambda pair: pair[1].data_ptr()):
        start, reach = gradient.data_ptr(), _reach(gradient)
        if reach is None or start < end or gradient.is_inference():
            parameter.grad = gradient.clone(memory_format=torch.contiguous_format)
        else:
            end = start + reach * gradient.element_size()


def _reach(tensor: Tensor) -> int | None:
    """How many elements lie from its first in memory to its last; None if it may have two at one address."""
    if tensor.is_contiguous():
        return tensor.numel()
    last = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.size(), strict=True)):
        if size > 1 and stride <= last:
            return None
        last += stride * (size - 1)
    return last + 1


def split(places: list[ParameterPlace], *, scope: ClipScope) -> list[list[ParameterPlace]]:
    """The places that share a threshold; those that have no coordinate among them are left out."""
    if scope == "global":
        return [places]
    if scope == "tensor":
        return [[place] for place in places if place[1].numel() > 0]
    parts = [list(members) for _, members in groupby(places, key=lambda place: id(place[0]))]
    return [part for part in parts if any(p.numel() > 0 for _, p in part)]
