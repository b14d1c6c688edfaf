"""An arm as it is written: an optimizer with its options, its clip, its schedule and its check of life."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, Tag, model_validator

from clipbench.records import CLIP_RULES, ClipPlace, ClipRule, ClipScale, ClipScope, Liveness
from clipbench.spec.limits import MOST_SETTINGS
from clipbench.spec.shapes import BY_SHAPE, CLOSED, MAPPING_OR_VALUE, WITH_OPTIONS, distinct, one_of
from clipbench.spec.spaces import SpaceSettings, of_fractions, of_limits


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


class Clip(BaseModel):
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
    def _exactly_one_rule(self) -> "Clip":
        rule = self.rule
        aside = [key for key in ("of", "scope", "scale", "ignore_zeros") if key in self.model_fields_set]
        if aside and self.fraction is None:
            raise ValueError(
                f"{' and '.join(map(repr, aside))} can only stand beside a fraction: a clip by {rule} is of the "
                "whole gradient"
            )
        if self.scale == "norm" and self.of == "numerator":
            raise ValueError(
                "'scale: norm' cannot go with 'of: numerator', whose second moment sets the step's length as well; use "
                "gradient or update"
            )
        return self

    @property
    def rule(self) -> ClipRule:
        """Which of the three it is."""
        return one_of(self, CLIP_RULES, what="a clip has")

    @property
    def written(self) -> float | list[float] | SpaceSettings:
        """What stands under its rule: one value, several, or a space of them."""
        found: float | list[float] | SpaceSettings = getattr(self, self.rule)
        return found


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
    even checked (off).
    """

    model_config = WITH_OPTIONS
    use: str
    clip: Clip | None = None
    schedule: ScheduleField | None = None
    liveness: Liveness = "refuse"
