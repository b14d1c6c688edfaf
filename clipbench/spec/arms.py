"""An arm as it is written: an optimizer with its options, its clip, its schedule and its check of life."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, Tag, model_validator

from clipbench.questions import Space
from clipbench.records import ClipPlace, ClipScale, ClipScope, ClipSettings, Liveness, Options
from clipbench.spec.limits import MOST_SETTINGS
from clipbench.spec.shapes import (
    BY_SHAPE,
    CLOSED,
    MAPPING_OR_VALUE,
    WITH_OPTIONS,
    SpaceSettings,
    distinct,
    of_fractions,
    of_limits,
)


def _arm_name(name: str) -> str:
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise ValueError("an arm's name is printable text without a blank at either end")
    return name


ArmName = Annotated[str, AfterValidator(_arm_name)]
ClipFraction = Annotated[float, Field(ge=0, lt=1)]
ClipLimit = Annotated[float, Field(gt=0)]
FractionOrSeveral = Annotated[
    Annotated[ClipFraction, Tag("as a value")]
    | Annotated[
        list[ClipFraction], Field(min_length=1, max_length=MOST_SETTINGS), AfterValidator(distinct), Tag("as a list")
    ]
    | Annotated[SpaceSettings, AfterValidator(of_fractions), Tag("as a mapping")],
    BY_SHAPE,
]
LimitOrSeveral = Annotated[
    Annotated[ClipLimit, Tag("as a value")]
    | Annotated[
        list[ClipLimit], Field(min_length=1, max_length=MOST_SETTINGS), AfterValidator(distinct), Tag("as a list")
    ]
    | Annotated[SpaceSettings, AfterValidator(of_limits), Tag("as a mapping")],
    BY_SHAPE,
]


class ClipEntry(BaseModel):
    """The clip of an arm, by exactly one rule; a list of values is a grid, and a space can be tuned.

    `fraction`: the largest coordinates of what `of` says, this share of them, 0 for none; `scope` says which of them
    share a threshold; `scale: norm` keeps the length of what was clipped; with `ignore_zeros` the share is of those
    that are not zero. `threshold`: every coordinate of the gradient down to this size. `norm`: the gradient down to
    this length.
    """

    model_config = CLOSED
    fraction: FractionOrSeveral | None = None
    threshold: LimitOrSeveral | None = None
    norm: LimitOrSeveral | None = None
    of: ClipPlace = "gradient"
    scope: ClipScope = "global"
    scale: ClipScale = "none"
    ignore_zeros: bool = False

    @model_validator(mode="after")
    def _is_a_clip(self) -> "ClipEntry":
        rule = self._first.rule
        aside = [key for key in ("of", "scope", "scale", "ignore_zeros") if key in self.model_fields_set]
        if aside and rule != "fraction":
            raise ValueError(
                f"{' and '.join(map(repr, aside))} can only stand beside a fraction: a clip by {rule} is of the "
                "whole gradient"
            )
        return self

    @property
    def _first(self) -> ClipSettings:
        """The clip at the first of its amounts."""
        fraction, threshold, norm = map(_first, (self.fraction, self.threshold, self.norm))
        return ClipSettings(fraction, self.of, self.scope, threshold, norm, self.scale, self.ignore_zeros)

    @property
    def amount(self) -> float | Space:
        """What stands under its rule; several values, and a range, are a space."""
        rule = self._first.rule
        given: float | list[float] | SpaceSettings = getattr(self, rule)
        if isinstance(given, SpaceSettings):
            return given.space(f"clip.{rule}")
        return Space(f"clip.{rule}", tuple(given)) if isinstance(given, list) else given

    def at(self, point: Options) -> ClipSettings | None:
        """The clip at a point of what its arm leaves open.

        A fraction of 0 clips nothing: such an arm is its own twin, and its run is the twin's run.
        """
        amount = point[self.amount.setting] if isinstance(self.amount, Space) else self.amount
        if not isinstance(amount, float) or amount == 0.0:
            return None
        of_rule: dict[str, Any] = {self._first.rule: amount}
        return replace(self._first, **of_rule)


def _first(amount: float | list[float] | SpaceSettings | None) -> float | None:
    if isinstance(amount, SpaceSettings):
        return amount.ends[0]
    return amount[0] if isinstance(amount, list) else amount


class ScheduleSettings(BaseModel):
    """The learning rate over progress: a rise over the fraction `warmup`, then constant or a fall to `final`."""

    model_config = CLOSED
    use: Literal["constant", "linear", "cosine"]
    warmup: float = Field(default=0.0, ge=0, lt=1)
    final: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _constant_has_no_end(self) -> "ScheduleSettings":
        if self.use == "constant" and "final" in self.model_fields_set:
            raise ValueError("a constant schedule does not fall, so it has no `final`; use linear or cosine")
        return self


ScheduleField = Annotated[
    Annotated[Literal["constant", "linear", "cosine"], Tag("as a value")]
    | Annotated[ScheduleSettings, Tag("as a mapping")],
    MAPPING_OR_VALUE,
]


class ArmSettings(BaseModel):
    """An optimizer by name, or "package:Class" for one from elsewhere, with its options.

    A list of values is a grid: an arm for each, or, with a `tuning` section, what the arm is tuned over. `liveness`
    says what becomes of an arm that does not do what its spec says: it is refused, run with a remark (warn), or not
    even checked (off). `options` has the options whose names are keys of an arm.
    """

    model_config = WITH_OPTIONS
    use: str
    clip: ClipEntry | None = None
    schedule: ScheduleField | None = None
    liveness: Liveness = "refuse"
    options: dict[str, Any] = {}
