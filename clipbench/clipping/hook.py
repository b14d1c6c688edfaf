"""Coordinate-wise clipping for any torch optimizer, by its step hooks: the optimizer itself stays as it is."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, get_args
from weakref import WeakSet

import torch
from torch import Tensor

from clipbench.clipping.second_moment import check_numerator, clip_numerator
from clipbench.clipping.threshold import coordinate_threshold
from clipbench.errors import ClipbenchError
from clipbench.records import ClipPlace

PLACES: tuple[ClipPlace, ...] = get_args(ClipPlace)

# Two clips on one optimizer would clip what is clipped already, and no result would show it.
_clipped_optimizers: WeakSet[torch.optim.Optimizer] = WeakSet()


@dataclass(frozen=True)
class Clipped:
    """What a clip did at one step.

    - `threshold`: τ, a 0-d tensor; infinite where the fraction is 0. A τ of 0 means that everything was erased.
    - `clipped`: how many coordinates had |a| > τ, a 0-d integer tensor; reading it waits for the device.
    - `n`: how many coordinates there were: those of the parameters that had a gradient.
    """

    threshold: Tensor
    clipped: Tensor
    n: int


class CoordinateClip:
    """Clip the largest coordinates of every step of an optimizer, down to one threshold over all its parameters.

    clip(a)ᵢ = sign(aᵢ)·min(|aᵢ|, τ),    τ = coordinate_threshold(a, fraction), found anew at each step

    `of` says what a is:

    - "gradient": the gradient. `.grad` is clipped in place, so it is the clipped one after the step as well.
    - "numerator": Adam's and AdamW's gradient in the first moment only; the second moment takes the raw one
      (the rule of the paper). `.grad` is left clipped here, too.
    - "update": θ_after − θ_before, whatever the optimizer made of it; float32 and float64 parameters only.
      Coordinates that are not clipped keep their θ_after bit for bit.

    A fraction of 0 clips nothing. If a share of 1 − fraction or more of the coordinates is exactly zero, τ is 0 and
    the clip erases all the rest: `last.threshold` shows it, and a warning says so once. A NaN stays a NaN; more
    than int(n·fraction) of them make τ and every coordinate NaN. An infinite coordinate is clipped as any other,
    to ±τ, so whoever must see it looks before the step.

    Args:
        optimizer: any torch.optim.Optimizer whose step takes no closure; its state_dict, schedulers and scalers
            stay as they are. Under a gradient scaler the threshold is in the scaled gradient's units unless it
            has been unscaled; the clip itself does not depend on the scale.
        fraction: the share of coordinates to clip, at least 0 and below 1.
        of: "gradient", "numerator" or "update".

    Raises:
        TypeError: not an optimizer, or a fraction that is not a number.
        ValueError: a fraction outside [0, 1), an unknown `of`, an optimizer that has a clip already, or one that
            `of="numerator"` cannot be right for.

    At a step, ClipbenchError: a closure, no gradient at all, sparse gradients, or parameters of a dtype in which
    an update cannot be clipped.

    Source: Pan and Li (2023), arXiv:2306.00204.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, fraction: float, *, of: ClipPlace = "gradient") -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"CoordinateClip needs a torch.optim.Optimizer, not {type(optimizer).__name__}")
        self._fraction, self._of = _checked(optimizer, fraction, of)
        if optimizer in _clipped_optimizers:
            raise ValueError("this optimizer has a CoordinateClip already: call its remove() first")
        self._optimizer = optimizer
        self._last: Clipped | None = None
        self._before: list[tuple[Tensor, Tensor]] = []
        self._steps = 0
        self._warned = False
        self._handles = (
            optimizer.register_step_pre_hook(self._pre_step),
            optimizer.register_step_post_hook(self._post_step),
        )
        _clipped_optimizers.add(optimizer)

    @property
    def fraction(self) -> float:
        """The share of coordinates to clip."""
        return self._fraction

    @property
    def of(self) -> ClipPlace:
        """What the coordinates belong to."""
        return self._of

    @property
    def last(self) -> Clipped | None:
        """What the clip did at the last step; None before the first."""
        return self._last

    def remove(self) -> None:
        """Take the clip off: the optimizer steps from now on as it would have without. Twice does no harm."""
        for handle in self._handles:
            handle.remove()
        self._before = []
        _clipped_optimizers.discard(self._optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The settings, for a checkpoint; the clip keeps nothing from step to step."""
        return {"fraction": self._fraction, "of": self._of}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take settings from a checkpoint.

        Raises:
            ValueError, TypeError: as at construction, or for other keys than `state_dict` gives; nothing changes.
        """
        if set(state) != {"fraction", "of"}:
            raise ValueError(f"a clip's state has the keys 'fraction' and 'of', not {sorted(state)}")
        self._fraction, self._of = _checked(self._optimizer, state["fraction"], state["of"])

    @torch.no_grad()
    def _pre_step(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(callable(value) for value in (*args, kwargs.get("closure"))):
            raise self._refusal(
                "the step was given a closure, which computes gradients after the clip has looked",
                remedy="call backward() first and step() without a closure",
            )
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        n = sum(g.numel() for g in gradients)
        if n == 0:
            raise self._refusal(
                "no parameter has a gradient", remedy="call backward() before step(), or remove() the clip"
            )
        if any(g.layout != torch.strided for g in gradients):
            raise self._refusal("a gradient is sparse", remedy="make it dense, for an embedding with sparse=False")
        if self._fraction == 0.0:
            device = gradients[0].device
            nothing = torch.zeros((), dtype=torch.int64, device=device)
            self._last = Clipped(torch.full((), math.inf, device=device), nothing, n)
        elif self._of == "update":
            self._before = [(p, p.detach().clone()) for p in self._of_clippable_dtype(parameters)]
        else:
            self._clip_gradients(optimizer, gradients)

    def _clip_gradients(self, optimizer: torch.optim.Optimizer, gradients: list[Tensor]) -> None:
        if self._of == "numerator":
            check_numerator(optimizer)  # again: groups are added, and their options changed, after construction
        threshold = self._find(gradients)
        if self._of == "numerator":
            clip_numerator(optimizer, threshold)
        else:
            for gradient in gradients:
                gradient.clamp_(min=-threshold, max=threshold)

    @torch.no_grad()
    def _post_step(self, *_: Any) -> None:
        before, self._before = self._before, []
        if not before:
            return
        updates = [parameter - old for parameter, old in before]
        threshold = self._find(updates)
        for (parameter, old), update in zip(before, updates, strict=True):
            clipped = old + update.clamp(min=-threshold, max=threshold)
            # old + (θ_after − old) need not be θ_after in floating point: where nothing is clipped, keep it.
            # A NaN is below nothing, so it takes the clip's own rule for NaN.
            parameter.copy_(torch.where(update.abs() <= threshold, parameter, clipped))

    def _find(self, tensors: list[Tensor]) -> Tensor:
        threshold = coordinate_threshold(tensors, self._fraction)
        clipped = torch.stack([(tensor.abs() > threshold).sum() for tensor in tensors]).sum()
        self._last = Clipped(threshold, clipped, sum(tensor.numel() for tensor in tensors))
        self._steps += 1
        # Looking costs a wait for the device: off the CPU, at steps 1, 2, 4, 8 and so on only.
        looks = threshold.device.type == "cpu" or self._steps & (self._steps - 1) == 0
        if looks and not self._warned and bool((threshold == 0) & (clipped > 0)):
            self._warn(self._last)
        return threshold

    def _warn(self, last: Clipped) -> None:
        self._warned = True
        zeros = last.n - int(last.clipped)
        warnings.warn(
            f"the clip's threshold is 0 and erases the whole {self._of}: {zeros / last.n:.1%} of its {last.n} "
            f"coordinates are exactly zero, and fraction={self._fraction:g} reaches into them; below about "
            f"{1 - zeros / last.n:.3g} it would not",
            RuntimeWarning,
            stacklevel=2,
        )

    def _of_clippable_dtype(self, parameters: list[Tensor]) -> list[Tensor]:
        for parameter in parameters:
            if parameter.dtype not in (torch.float32, torch.float64):
                raise self._refusal(
                    f"a parameter is {parameter.dtype}: its update is lost in the rounding of θ_after − θ_before",
                    remedy="keep parameters in float32 or float64, or use of='gradient'",
                )
        return parameters

    def _refusal(self, found: str, *, remedy: str) -> ClipbenchError:
        return ClipbenchError(found, where=f"CoordinateClip(of={self._of!r})", remedy=remedy)


def _checked(optimizer: torch.optim.Optimizer, fraction: object, of: object) -> tuple[float, ClipPlace]:
    if isinstance(fraction, bool) or not isinstance(fraction, Real):
        raise TypeError(f"the fraction to clip must be a number, not {fraction!r}")
    if not 0.0 <= float(fraction) < 1.0:
        raise ValueError(f"the fraction to clip is {fraction}: it must be at least 0 and below 1")
    if of not in PLACES:
        raise ValueError(f"of={of!r} is unknown: it is one of {', '.join(map(repr, PLACES))}")
    if of == "numerator":
        check_numerator(optimizer)
    return float(fraction), of
