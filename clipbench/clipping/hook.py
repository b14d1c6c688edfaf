"""Coordinate-wise clipping for any torch optimizer, by its step hooks: the optimizer itself stays as it is."""

from collections.abc import Collection, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.clipping.coordinates import Scope, bound, clip_, find_scope
from clipbench.clipping.places import (
    ParameterPlace,
    check_optimizer,
    checked_groups,
    look,
    of_groups,
    split,
    stepped_by,
    unshare,
)
from clipbench.clipping.report import Clipped, ZeroWatch, nothing_clipped
from clipbench.clipping.second_moment import clip_numerator
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
from clipbench.clipping.updates import WeightsById, clip_updates, weights_before
from clipbench.errors import ClipbenchError
from clipbench.records import ClipPlace, ClipScale, ClipScope, ClipSettings

_KEYS = ("fraction", "of", "scope", "scale", "ignore_zeros")  # of a clip's state


class CoordinateClip:
    """Clip the largest coordinates of every step of an optimizer, down to one threshold over all its parameters.

    Every coordinate becomes::

        clip(a)ᵢ = sign(aᵢ)·min(|aᵢ|, τ),    τ = coordinate_threshold(a, fraction), found anew at each step

    `of` says what a is:

    - "gradient": the gradient. `.grad` is clipped in place, so it is the clipped one after the step as well; after
      expand(), and where two parameters share one, it becomes a clipped copy. With a closure, after each of its
      evaluations.
    - "numerator": the gradient in the numerator only; the second moment takes the raw one (the rule of the paper),
      for torch's Adam, AdamW, NAdam, RAdam, RMSprop, Adadelta, Adagrad and Adafactor. `.grad` is left clipped, too.
      The second moment is rounded two more times in its own dtype, which tells in 16 bits.
    - "update": θ_after − θ_before, whatever the optimizer made of it; float32 and float64 parameters only.
      Coordinates that are not clipped keep their θ_after bit for bit. One copy of the weights is held in the step.

    A step without any gradient is none: `last` is that of the step before. A parameter counts once, even if it
    stands in two groups; its first group is the one that counts. `fraction` can be set between steps.

    A fraction of 0 clips nothing, and one of less than a coordinate does not either: `last.asked` is 0 then. If a
    share of 1 − fraction or more of the coordinates is exactly zero, τ is 0 and the clip erases all the rest:
    `zero_thresholds` counts such steps, and a warning says so once. A NaN stays a NaN; more than int(n·fraction) of
    them make τ and every coordinate NaN. An infinite coordinate is clipped as any other, to ±τ, so whoever must see
    it looks before the step; with scale="norm" neither length is finite then, and all becomes NaN or infinite. A
    narrower dtype beside a wider one has τ rounded to its own.

    A copy of the optimizer, by the copy module or pickle, has a clip of its own, which `attached_to` finds, where
    torch would leave hooks behind. A compiled step runs the clip outside its graph. Over plain tensors the clip
    talks to no other process: ranks that hold the same gradients find the same threshold.

    Args:
        optimizer: any torch.optim.Optimizer; its state_dict, schedulers and scalers stay as they are. A gradient
            scaler with a fused optimizer needs scaler.unscale_(optimizer) before the step, except for "update";
            where a scaler skips a step, the clip does nothing and `last` is that of the step before.
        fraction: the share of coordinates to clip, at least 0 and below 1.
        of: "gradient", "numerator" or "update".
        scope: one threshold over all parameters ("global"), over each of the optimizer's groups, or each tensor.
        scale: "norm" multiplies what was clipped, over all tensors by one factor, so that its ℓ2 norm is what it was
            before: the clip then changes a direction, not its length. Not with "numerator".
        ignore_zeros: take the fraction of the coordinates that are not zero, so that τ never is. Costs a pass, and
            on a GPU a wait.
        groups: the places in `optimizer.param_groups` of the groups to clip, such as [0, 2]; all of them unless given.
            The others step as without a clip, and the fraction is not of them. No part of the clip's state_dict.

    Raises:
        TypeError: not an optimizer, a wrapper around one whose own step() runs no hooks, or a setting of the wrong
            type.
        ValueError: a value outside its bounds, an optimizer that has a clip already, or one that the settings
            cannot be right for.

    At a step, ClipbenchError: sparse or complex gradients, several devices, gradients that a scaler has left scaled,
    or parameters of a dtype in which an update cannot be clipped. Nothing has changed then.

    Source: Pan and Li (2023), arXiv:2306.00204.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        fraction: float,
        *,
        of: ClipPlace = "gradient",
        scope: ClipScope = "global",
        scale: ClipScale = "none",
        ignore_zeros: bool = False,
        groups: Collection[int] | None = None,
    ) -> None:
        check_runs_hooks(optimizer, clip="CoordinateClip")
        settings = _by_fraction(fraction, of=of, scope=scope, scale=scale, ignore_zeros=ignore_zeros)
        some = checked_groups(groups, optimizer)
        check_optimizer(optimizer, settings.of, some)
        if carried_by(optimizer) is not None:
            raise ValueError("this optimizer has a CoordinateClip already: call its remove() first")
        self._attach(optimizer, settings, some)

    def _attach(self, optimizer: torch.optim.Optimizer, settings: ClipSettings, groups: frozenset[int] | None) -> None:
        self._optimizer, self._settings, self._groups = optimizer, settings, groups
        self._last: Clipped | None = None
        self._zeros = ZeroWatch()
        self._before: WeightsById = {}
        self._moving: list[ParameterPlace] = []
        self._hidden: list[tuple[nn.Parameter, Tensor]] = []
        self._handles = (
            optimizer.register_step_pre_hook(uncompiled(self._pre_step)),
            optimizer.register_step_post_hook(uncompiled(self._post_step)),
        )
        carry(self, optimizer, again=_attached, settings=(settings, groups))

    @staticmethod
    def attached_to(optimizer: torch.optim.Optimizer) -> "CoordinateClip | None":
        """The clip that an optimizer carries; None if it has none."""
        clip = carried_by(optimizer)
        return clip if isinstance(clip, CoordinateClip) and clip.optimizer is optimizer else None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What is clipped."""
        return self._optimizer

    @property
    def fraction(self) -> float:
        """The share of coordinates to clip; another takes effect at the next step.

        Raises:
            ValueError, TypeError: as at construction, where it is set; nothing changes.
        """
        return self._settings.amount

    @fraction.setter
    def fraction(self, fraction: float) -> None:
        self._change({**self.state_dict(), "fraction": fraction})

    @property
    def of(self) -> ClipPlace:
        """What the coordinates belong to."""
        return self._settings.of

    @property
    def last(self) -> Clipped | None:
        """What the clip did at the last step; None before the first."""
        return self._last

    @property
    def zero_thresholds(self) -> int:
        """At how many steps a threshold was 0 and erased something; off the CPU, reading it waits for the device."""
        return self._zeros.count()

    def remove(self) -> None:
        """Take the clip off: the optimizer steps from now on as it would have without. Twice does no harm."""
        for handle in self._handles:
            handle.remove()
        self._put_back()
        if carried_by(self._optimizer) is self:
            drop(self._optimizer)

    @torch.no_grad()
    def clip_gradients(self) -> None:
        """Clip the gradients that are there now, as a step without a closure does; of="update" has nothing to clip yet.

        For an optimizer that moves by them and only then calls its closure, as SAM does::

            loss.backward()
            clip.clip_gradients()
            optimizer.step(closure)
        """
        self._clip(self._optimizer, remember=False)

    def state_dict(self) -> dict[str, Any]:
        """The settings, for a checkpoint; the clip keeps nothing from step to step that decides a number."""
        return {key: getattr(self._settings, key) for key in _KEYS}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take settings from a checkpoint.

        Raises:
            ValueError, TypeError: as at construction, or for other keys than `state_dict` gives; nothing changes.
        """
        if set(state) != set(_KEYS):
            raise ValueError(f"a clip's state has the keys {', '.join(map(repr, _KEYS))}, not {sorted(state)}")
        self._change(state)

    def _change(self, state: Mapping[str, Any]) -> None:
        settings = _by_fraction(**state)
        check_optimizer(self._optimizer, settings.of, self._groups)
        self._settings = settings
        if carried_by(self._optimizer) is self:
            carry(self, self._optimizer, again=_attached, settings=(self._settings, self._groups))

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.state_dict().items())
        return f"CoordinateClip({type(self._optimizer).__name__}, {settings})"

    def __str__(self) -> str:
        return f"CoordinateClip(of={self.of!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if carried_by(self._optimizer) is not self:
            message = "a clip that was removed cannot be copied"
            raise ClipbenchError(message, where=str(self), remedy="copy it before remove()")
        return carried_by, (self._optimizer,)

    @torch.no_grad()
    def _pre_step(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments | None:
        if optimizer is not self._optimizer:
            raise ClipbenchError(
                "the clip of one optimizer was called by another, which has copied its hooks",
                where=str(self),
                remedy="attach a CoordinateClip to the copy",
            )
        self._put_back()  # what is left of a step that raised
        self._moving = []
        closure = closure_of((args, kwargs))
        if closure is None:
            self._clip(optimizer, remember=True)
            return None
        if self.of == "update" and self.fraction > 0.0:  # which of them will get a gradient is not known yet
            both = [(group, p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            every = [p for _, p in of_groups(both, optimizer, self._groups)]
            self._before = weights_before(every, clip=str(self))
        return after_each_evaluation((args, kwargs), closure, partial(self._clip, optimizer, remember=False))

    def _clip(self, optimizer: torch.optim.Optimizer, *, remember: bool) -> None:
        places = look(optimizer, clipped=self.of, clip=str(self), groups=self._groups)
        self._moving = places  # an optimizer may drop the gradients in its step
        if not places:
            return
        if self.fraction == 0.0:
            self._last = nothing_clipped([p.grad for _, p in places if p.grad is not None])
        elif self.of != "update":
            self._clip_gradients(optimizer, places)
        elif remember:
            self._before = weights_before((p for _, p in places), clip=str(self))

    def _clip_gradients(self, optimizer: torch.optim.Optimizer, places: list[ParameterPlace]) -> None:
        unshare(places)
        parts = split(places, scope=self._settings.scope)
        lists = [[p.grad for _, p in part if p.grad is not None] for part in parts]
        scopes = self._find(lists)
        if self.of == "numerator":
            for part, scope in zip(parts, scopes, strict=True):
                for _, members in groupby(part, key=lambda place: id(place[0])):
                    of_group = list(members)
                    parameters, limit = [p for _, p in of_group], bound(scope.threshold)
                    group = of_group[0][0]
                    stepping = stepped_by(optimizer, group)
                    self._hidden += clip_numerator(stepping, group, parameters=parameters, limit=limit)
            return
        clip_(lists, scopes, keep_length=self._settings.scale == "norm")

    @torch.no_grad()
    def _post_step(self, *_: Any) -> None:
        before = self._put_back()
        places = [(group, p) for group, p in self._moving if p in before]
        if places and self.fraction > 0.0:
            self._clip_updates(split(places, scope=self._settings.scope), before)

    def _put_back(self) -> WeightsById:
        """Give back the gradients that were hidden from the optimizer, and hand over the weights from before it."""
        hidden, self._hidden = self._hidden, []
        for parameter, gradient in hidden:
            parameter.grad = gradient
        before, self._before = self._before, {}
        return before

    def _clip_updates(self, parts: list[list[ParameterPlace]], before: WeightsById) -> None:
        lists = [[p for _, p in part] for part in parts]
        updates = [[p - before[p] for p in parameters] for parameters in lists]
        keep_length = self._settings.scale == "norm"
        clip_updates(lists, updates, self._find(updates), before=before, keep_length=keep_length)

    def _find(self, lists: list[list[Tensor]]) -> list[Scope]:
        ignore_zeros = self._settings.ignore_zeros
        scopes = [find_scope(tensors, self.fraction, ignore_zeros=ignore_zeros) for tensors in lists]
        self._last = Clipped(tuple(scopes))
        self._zeros.see(self._last, what=self.of, fraction=self.fraction)
        return scopes


def _by_fraction(fraction: Any, **others: Any) -> ClipSettings:
    """Settings by a fraction, which None is not.

    Raises:
        ValueError, TypeError: as ClipSettings has it.
    """
    if fraction is None:
        raise TypeError("the fraction to clip must be a number, not None")
    return ClipSettings(fraction, **others)


def _attached(optimizer: torch.optim.Optimizer, settings: tuple[ClipSettings, frozenset[int] | None]) -> None:
    """A clip on a copy whose parameter groups are not filled yet: its settings were checked for the original."""
    CoordinateClip.__new__(CoordinateClip)._attach(optimizer, *settings)
