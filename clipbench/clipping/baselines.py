"""What the coordinate clip is compared with: the clips everybody uses, at a limit that is fixed beforehand."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clipbench.clipping.coordinates import bound, clamp_, count_above, length
from clipbench.clipping.places import checked_groups, look, unshare
from clipbench.clipping.step_hooks import (
    Arguments,
    after_each_evaluation,
    carried_by,
    carry,
    check_runs_hooks,
    closure_of,
    drop,
    uncompiled,
)
from clipbench.records import ClipSettings


@dataclass(frozen=True)
class Limited:
    """What a fixed clip did at one step.

    - `threshold`: the limit, a 0-d tensor.
    - `clipped`: how many coordinates it changed, a 0-d integer tensor: those with |g| above a threshold; of a norm
      all or none, because one factor makes them all smaller.
    - `n`: how many coordinates there were: those of the parameters that had a gradient.
    """

    threshold: Tensor
    clipped: Tensor
    n: int


class FixedClip:
    """Keep the gradient of every step of an optimizer within a limit: each coordinate's size, or its whole length.

    The gradient g becomes::

        threshold τ:  clip(g)ᵢ = sign(gᵢ)·min(|gᵢ|, τ)
        norm c:       clip(g) = g·min(1, c/‖g‖₂), one ℓ2 norm over all parameters

    They are what `clip_grad_value_` and `clip_grad_norm_` of torch.nn.utils do, as a hook with CoordinateClip's face;
    but c is met exactly, where torch's is missed by a millionth or so, and a gradient within the limit keeps its bits.
    Unlike a fraction, a limit does not follow the gradient: it may clip nothing at one step and nearly all at another,
    which `last` tells. `.grad` is clipped in place, with a closure after each of its evaluations; after expand(), and
    where two parameters share one, it becomes a clipped copy. A parameter counts once. A NaN stays a NaN.
    An infinite coordinate becomes ±τ; a gradient whose norm is not finite is left alone, for others to see.

    Args:
        optimizer: any torch.optim.Optimizer that has no clip; copies of it, by copy.deepcopy or pickle, have one of
            their own. With a gradient scaler and a fused optimizer, scaler.unscale_(optimizer) must come first.
        threshold: τ, above 0, in the gradient's units.
        norm: c, above 0, in the gradient's units. Exactly one of the two is given.
        groups: the places in `optimizer.param_groups` of the groups to clip; all of them unless given.

    Raises:
        TypeError: not an optimizer, a wrapper around one whose own step() runs no hooks, not exactly one limit, or
            one that is not a number.
        ValueError: a limit that is not above 0 and finite, or an optimizer that has a clip already.

    At a step, ClipbenchError: gradients that are sparse, complex, on several devices or still multiplied by a
    scaler's factor. Nothing has changed then. A step without any gradient is none: `last` is that of the step before.

    Source: Pascanu, Mikolov and Bengio (2013), arXiv:1211.5063, for the norm; Mikolov (2012), Statistical Language
    Models Based on Neural Networks, for the threshold.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        threshold: float | None = None,
        norm: float | None = None,
        groups: Collection[int] | None = None,
    ) -> None:
        check_runs_hooks(optimizer, clip="FixedClip")
        limits = _checked(threshold, norm)
        some = checked_groups(groups, optimizer)
        if carried_by(optimizer) is not None:
            raise ValueError("this optimizer has a clip already: call its remove() first")
        self._attach(optimizer, limits, some)

    def _attach(self, optimizer: torch.optim.Optimizer, limits: ClipSettings, groups: frozenset[int] | None) -> None:
        self._optimizer, self._limits, self._groups = optimizer, limits, groups
        self._last: Limited | None = None
        self._handle = optimizer.register_step_pre_hook(uncompiled(self._pre_step))
        carry(self, optimizer, again=_attached, settings=(limits, groups))

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What is clipped."""
        return self._optimizer

    @property
    def last(self) -> Limited | None:
        """What the clip did at the last step; None before the first."""
        return self._last

    def remove(self) -> None:
        """Take the clip off: the optimizer steps from now on as it would have without. Twice does no harm."""
        self._handle.remove()
        if carried_by(self._optimizer) is self:
            drop(self._optimizer)

    @torch.no_grad()
    def clip_gradients(self) -> None:
        """Clip the gradients that are there now, for an optimizer that moves by them before it calls its closure."""
        self._clip(self._optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The limits, for a checkpoint; the clip keeps nothing from step to step that decides a number."""
        return {"threshold": self._limits.threshold, "norm": self._limits.norm}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take limits from a checkpoint.

        Raises:
            ValueError, TypeError: as at construction, or for other keys than `state_dict` gives; nothing changes.
        """
        if set(state) != {"threshold", "norm"}:
            raise ValueError(f"a fixed clip's state has the keys 'threshold' and 'norm', not {sorted(state)}")
        self._limits = _checked(**state)
        if carried_by(self._optimizer) is self:
            carry(self, self._optimizer, again=_attached, settings=(self._limits, self._groups))

    def __repr__(self) -> str:
        return f"FixedClip({type(self._optimizer).__name__}, {self._limits.rule}={self._limits.amount!r})"

    @torch.no_grad()
    def _pre_step(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments | None:
        closure = closure_of((args, kwargs))
        if closure is None:
            self._clip(optimizer)
            return None
        return after_each_evaluation((args, kwargs), closure, partial(self._clip, optimizer))

    def _clip(self, optimizer: torch.optim.Optimizer) -> None:
        places = look(optimizer, clipped="gradient", clip="FixedClip", groups=self._groups)
        if not places:
            return
        unshare(places)
        gradients = [p.grad for _, p in places if p.grad is not None]
        by_rule = _clip_coordinates if self._limits.rule == "threshold" else _clip_length
        self._last = by_rule(gradients, self._limits.amount)


def _clip_coordinates(gradients: list[Tensor], threshold: float) -> Limited:
    clipped = count_above(gradients, threshold)
    clamp_(gradients, threshold)
    return Limited(_like(gradients, threshold), clipped, sum(g.numel() for g in gradients))


def _clip_length(gradients: list[Tensor], norm: float) -> Limited:
    total_norm, n = length(gradients), sum(g.numel() for g in gradients)
    # The squares of a gradient that explodes, which is what the clip is for, are no float32. On a CPU float64 takes
    # twenty times as long, so only then; elsewhere asking would wait for the device.
    if total_norm.device.type != "cpu" or not math.isfinite(total_norm.item()):
        norms = [torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in gradients]
        total_norm = torch.linalg.vector_norm(torch.stack(norms))
    above = (total_norm > norm) & torch.isfinite(total_norm)
    factor = bound(torch.where(above, norm / total_norm, torch.ones_like(total_norm)))
    if isinstance(factor, Tensor) or factor != 1.0:
        for gradient in gradients:
            gradient.mul_(factor)
    return Limited(_like(gradients, norm), above.to(torch.int64) * n, n)


def _like(gradients: list[Tensor], limit: float) -> Tensor:
    return torch.full((), limit, dtype=torch.float64, device=gradients[0].device)


def _checked(threshold: Any, norm: Any) -> ClipSettings:
    """The settings of one limit.

    Raises:
        TypeError: there are none or two, or it is no number.
        ValueError: it is not above 0 and finite.
    """
    given = [name for name, limit in (("threshold", threshold), ("norm", norm)) if limit is not None]
    if len(given) != 1:
        raise TypeError(f"a fixed clip has either a threshold or a norm; this one has {' and '.join(given) or 'none'}")
    return ClipSettings(threshold=threshold, norm=norm)


def _attached(optimizer: torch.optim.Optimizer, settings: tuple[ClipSettings, frozenset[int] | None]) -> None:
    """A clip on a copy, whose limits were checked for the original."""
    FixedClip.__new__(FixedClip)._attach(optimizer, *settings)
