"""What the models of specs and claims share: strict, closed, told apart by shape; and a space of values."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, model_validator

from clipbench.harmless import shortened
from clipbench.questions import Space

# Built when the first file is read: every command imports the models, and few of them read one.
CLOSED = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)
WITH_OPTIONS = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)

FROM_ELSEWHERE = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"  # "module:name"

Key = TypeVar("Key", bound=str)

_WIDTH = 60  # characters of a value, where it is repeated


def _shape(value: Any) -> str:
    if isinstance(value, list):
        return "as a list"
    return "as a mapping" if isinstance(value, dict | BaseModel) else "as a value"


# The shape decides which branch is meant, so that an error speaks of that branch alone.
BY_SHAPE = Discriminator(_shape)
MAPPING_OR_VALUE = Discriminator(lambda value: "as a mapping" if isinstance(value, dict) else "as a value")


def each_once(values: Sequence[Any], *, why: str = "") -> Sequence[Any]:
    """The values, if none of them is there twice."""
    before: set[Any] = set()
    for value in values:
        if value in before:
            raise ValueError(f"{shortened(str(value), _WIDTH)} is here twice{why}")
        before.add(value)
    return values


def one_of(model: BaseModel, keys: Sequence[Key], *, what: str) -> Key:
    """The only one of some keys that a model has.

    Args:
        model: as it is written.
        keys: the names of what excludes each other.
        what: the beginning of the fault, such as `a budget is in`.
    """
    given = [key for key in keys if getattr(model, key) is not None]
    if len(given) != 1:
        has = f"this one has {' and '.join(given)}" if given else "this one has none"
        raise ValueError(f"{what} exactly one of {', '.join(keys)}; {has}")
    return given[0]


distinct = partial(each_once, why="; two runs that differ in nothing are one run")


class SpaceSettings(BaseModel):
    """All values from low to high, evenly (`range`) or evenly in the logarithm (`log`)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    range: list[float] | None = None
    log: list[float] | None = None

    @model_validator(mode="after")
    def _from_low_to_high(self) -> "SpaceSettings":
        if (self.range is None) == (self.log is None):
            has = "neither" if self.range is None else "both"
            raise ValueError(f"a space is one of `range: [low, high]` and `log: [low, high]`; this one has {has}")
        if len(self.ends) != 2 or self.ends[0] >= self.ends[1]:
            raise ValueError(f"a space goes from a low to a higher end, [low, high]; this one is {_shown(self.ends)}")
        if self.log is not None and self.ends[0] <= 0:
            raise ValueError(f"a space in the logarithm begins above 0, not at {self.ends[0]}")
        low, high = self.ends
        if not math.isfinite(high - low if self.log is None else high / low):
            raise ValueError(f"a space this wide cannot be drawn from; this one is {self.ends}")
        return self

    @property
    def ends(self) -> list[float]:
        """The low and the high one."""
        return self.range or self.log or []

    def space(self, setting: str) -> Space:
        """What it leaves a setting open to."""
        low, high = self.ends
        return Space(setting, low=low, high=high, log=self.log is not None)


def _shown(ends: list[float]) -> str:
    return shortened(str(ends), 60)


def of_fractions(space: SpaceSettings) -> SpaceSettings:
    """The space, where its values may be fractions.

    Raises:
        ValueError: its ends are not at least 0 and below 1.
    """
    if space.ends[0] < 0 or space.ends[1] >= 1:
        raise ValueError(f"a fraction is at least 0 and below 1; this space is {space.ends}")
    return space


def of_limits(space: SpaceSettings) -> SpaceSettings:
    """The space, where its values may be limits.

    Raises:
        ValueError: its low end is not above 0.
    """
    if space.ends[0] <= 0:
        raise ValueError(f"a limit is above 0; this space is {space.ends}")
    return space
