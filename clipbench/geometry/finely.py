"""An update that is small beside the spacing of the weights' floating-point numbers, read in float64.

θ_after − θ_before is exact, but θ_after was rounded to a number next to it: each coordinate of the difference is off by
up to half the spacing of the numbers at θ, and where the step is as small as that its direction is noise.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from clipbench.geometry import keeping

COARSEST = 1e-4  # the rounding of a direction above which its update is read in float64

_OF_A_CLIP = "__reduce_ex__"  # by which a clip goes into copies of its optimizer


def rounding(weights: Mapping[str, Tensor], update: Mapping[str, Tensor]) -> float:
    """The rounding error of θ_after − θ_before beside its length: √(Σ sᵢ²/12)/‖u‖, with sᵢ the spacing at θᵢ.

    A coordinate that did not move was not rounded. 0 for an update of zero.

    >>> rounding({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0**-23])})  # one spacing: off by 1/√12 of itself
    0.28867513459481287
    """
    error = length = 0.0
    for name, u in update.items():
        size = weights[name].detach().abs()
        spacing = torch.nextafter(size, torch.full_like(size, math.inf)) - size
        error += float(spacing.masked_fill(u == 0, 0.0).double().square().sum()) / 12
        length += float(u.double().square().sum())
    return math.sqrt(error / length) if length > 0.0 else 0.0


def can_be_stepped_in_float64(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step can be taken in float64 and undone: its parameters are float32, all it keeps is known."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    attributes = {name: kept for name, kept in keeping.attributes(optimizer).items() if name != _OF_A_CLIP}
    known = keeping.OTHER not in attributes.values() and all(map(_is_known, optimizer.state.values()))
    return known and all(p.dtype == torch.float32 for p in parameters)


def _is_known(thing: Any) -> bool:
    """Whether `_widened` makes a copy of it: what it hands back as it is, a step would write into."""
    if isinstance(thing, dict):
        return type(thing) is dict and all(map(_is_known, thing.values()))
    if isinstance(thing, list | tuple | deque):
        return type(thing) in (list, tuple, deque) and all(map(_is_known, thing))
    return isinstance(thing, Tensor | NoneType | bool | int | float | str)


@contextmanager
def in_float64(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, the optimizer's parameters, their gradients and its state are copies in float64; afterwards as they were.

    The gradients are not put back: they are the caller's.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    weights = [(p, p.data) for p in parameters]
    gradients = [(p, p.grad) for p in parameters if p.grad is not None]
    states = dict(optimizer.state)
    groups = [{name: keeping.kept_value(value) for name, value in group.items()} for group in optimizer.param_groups]
    attributes = keeping.attributes(optimizer)
    try:
        for p in parameters:
            p.grad = None
            p.data = p.data.double()
        for p, gradient in gradients:
            p.grad = gradient.detach().double()
        for key, state in states.items():
            optimizer.state[key] = _widened(state)
        yield
    finally:
        for p, weight in weights:
            p.grad = None
            p.data = weight
        optimizer.state.clear()
        optimizer.state.update(states)
        for group, kept in zip(optimizer.param_groups, groups, strict=True):
            for name in group.keys() - kept.keys():
                del group[name]
            group.update({name: keeping.restored_value(group.get(name), value) for name, value in kept.items()})
        keeping.put_back(optimizer, attributes)


def _widened(thing: Any) -> Any:
    """A copy, however deep, with what is float32 in float64."""
    if isinstance(thing, Tensor):
        return thing.detach().double() if thing.dtype == torch.float32 else thing.detach().clone()
    if isinstance(thing, dict):
        return type(thing)({name: _widened(value) for name, value in thing.items()})
    if isinstance(thing, deque):
        return deque(map(_widened, thing), thing.maxlen)
    if isinstance(thing, list | tuple):
        return type(thing)(_widened(value) for value in thing)
    return thing
