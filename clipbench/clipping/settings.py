"""What a clip can be told, checked before anything changes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, get_args

import torch

from clipbench.clipping.second_moment import check_numerator
from clipbench.records import ClipPlace, ClipScale, ClipScope

PLACES: tuple[ClipPlace, ...] = get_args(ClipPlace)
SCOPES: tuple[ClipScope, ...] = get_args(ClipScope)
SCALES: tuple[ClipScale, ...] = get_args(ClipScale)


@dataclass(frozen=True)
class Settings:
    """The arguments of a CoordinateClip, as its docstring explains them."""

    fraction: float
    of: ClipPlace
    scope: ClipScope
    scale: ClipScale
    ignore_zeros: bool

    def as_state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Settings":
        """Raises ValueError for other keys than `as_state` gives; the values are left to `checked`."""
        names = [field.name for field in fields(cls)]
        if set(state) != set(names):
            raise ValueError(f"a clip's state has the keys {', '.join(map(repr, names))}, not {sorted(state)}")
        return cls(**state)


def checked(optimizer: torch.optim.Optimizer, settings: Settings) -> Settings:
    """The settings, with a plain float for their fraction.

    Raises:
        TypeError: the fraction is not a number, or `ignore_zeros` is not a bool.
        ValueError: a value outside its bounds, or settings that cannot be right for this optimizer.
    """
    fraction: object = settings.fraction
    if isinstance(fraction, bool) or not isinstance(fraction, Real):
        raise TypeError(f"the fraction to clip must be a number, not {fraction!r}")
    if not 0.0 <= float(fraction) < 1.0:
        raise ValueError(f"the fraction to clip is {fraction}: it must be at least 0 and below 1")
    if not isinstance(settings.ignore_zeros, bool):
        raise TypeError(f"ignore_zeros must be True or False, not {settings.ignore_zeros!r}")
    for name, value, known in (
        ("of", settings.of, PLACES),
        ("scope", settings.scope, SCOPES),
        ("scale", settings.scale, SCALES),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r} is unknown: it is one of {', '.join(map(repr, known))}")
    if settings.of == "numerator" and settings.scale == "norm":
        raise ValueError(
            "scale='norm' cannot go with of='numerator': the second moment, which is left to the raw gradient, sets "
            "the step's length as well, and would be a difference of large numbers; use of='gradient' or 'update'"
        )
    check_optimizer(optimizer, settings.of)
    return Settings(float(fraction), settings.of, settings.scope, settings.scale, settings.ignore_zeros)


def check_optimizer(optimizer: torch.optim.Optimizer, of: ClipPlace) -> None:
    """Refuse parameter groups that a clip cannot be right for; cheap enough for every step.

    Raises:
        ValueError: a group is differentiable, or `of="numerator"` does not know it.
    """
    if any(group.get("differentiable") for group in optimizer.param_groups):
        raise ValueError("differentiable=True is set, and the clip has no derivative: it works in place, without one")
    if of == "numerator":
        check_numerator(optimizer)
