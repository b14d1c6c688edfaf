"""A space of values as it is written: `{log: [1e-4, 1e-1]}` or `{range: [0.5, 0.9]}`."""

import math

from pydantic import BaseModel, ConfigDict, model_validator

from clipbench.harmless import shortened
from clipbench.questions import Space


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
