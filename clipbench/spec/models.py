"""A spec as it is written: which keys there are and what may stand under each.

Options of tasks, optimizers and probes are left open here; the catalogue knows them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)

from clipbench.budget import UNITS
from clipbench.questions import Search, Select
from clipbench.records import CLIP_RULES, ClipPlace, ClipRule, ClipScale, ClipScope
from clipbench.spec.spaces import SpaceSettings, of_fractions, of_limits

# Built when the first spec is read: every command imports this file, and few of them read one.
_CLOSED = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)
_WITH_OPTIONS = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)

LARGEST_SEED = 2**63 - 1  # torch takes no more


def _shape(value: Any) -> str:
    return "as a list" if isinstance(value, list) else "as a mapping" if isinstance(value, dict) else "as a value"


# The shape decides which branch is meant, so that an error speaks of that branch alone.
_BY_SHAPE = Discriminator(_shape)
_MAPPING_OR_VALUE = Discriminator(lambda value: "as a mapping" if isinstance(value, dict) else "as a value")


def _each_once(values: Sequence[Any], *, why: str = "") -> Sequence[Any]:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{value} is here twice{why}")
    return values


_distinct = partial(_each_once, why="; two runs that differ in nothing are one run")


def _arm_name(name: str) -> str:
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise ValueError("an arm's name is printable text without a blank at either end")
    return name


Steps = Annotated[int, Field(ge=1)]
BudgetFraction = Annotated[float, Field(gt=0, le=1)]
ClipFraction = Annotated[float, Field(ge=0, lt=1)]
ClipLimit = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Seeds = Annotated[tuple[Seed, ...], Strict(False), Field(min_length=1), AfterValidator(_distinct)]
ArmName = Annotated[str, AfterValidator(_arm_name)]


class Use(BaseModel):
    """A task or probe by name, or "package:attribute" for one from elsewhere, with its options beside it."""

    model_config = _WITH_OPTIONS
    use: str


NameOrUse = Annotated[
    Annotated[str, Tag("as a value")] | Annotated[Use, Tag("as a mapping")],
    _MAPPING_OR_VALUE,
]

FractionOrSeveral = Annotated[
    Annotated[ClipFraction, Tag("as a value")]
    | Annotated[list[ClipFraction], Field(min_length=1), AfterValidator(_distinct), Tag("as a list")]
    | Annotated[SpaceSettings, AfterValidator(of_fractions), Tag("as a mapping")],
    _BY_SHAPE,
]
LimitOrSeveral = Annotated[
    Annotated[ClipLimit, Tag("as a value")]
    | Annotated[list[ClipLimit], Field(min_length=1), AfterValidator(_distinct), Tag("as a list")]
    | Annotated[SpaceSettings, AfterValidator(of_limits), Tag("as a mapping")],
    _BY_SHAPE,
]


class Clip(BaseModel):
    """The clip of an arm, by exactly one rule; a list of values is a grid, and a space can be tuned.

    `fraction`: the largest coordinates of what `of` says, this share of them, 0 for none; `scope` says which of them
    share a threshold; `scale: norm` keeps the length of what was clipped; with `ignore_zeros` the share is of those
    that are not zero. `threshold`: every coordinate of the gradient down to this size. `norm`: the gradient down to
    this length.
    """

    model_config = _CLOSED
    fraction: FractionOrSeveral | None = None
    threshold: LimitOrSeveral | None = None
    norm: LimitOrSeveral | None = None
    of: ClipPlace = "gradient"
    scope: ClipScope = "global"
    scale: ClipScale = "none"
    ignore_zeros: bool = False

    @model_validator(mode="after")
    def _exactly_one_rule(self) -> "Clip":
        given = [rule for rule in CLIP_RULES if getattr(self, rule) is not None]
        if len(given) != 1:
            has = f"this one has {' and '.join(given)}" if given else "this one has none"
            raise ValueError(f"a clip has exactly one of {', '.join(CLIP_RULES)}; {has}")
        aside = [key for key in ("of", "scope", "scale", "ignore_zeros") if key in self.model_fields_set]
        if aside and self.fraction is None:
            raise ValueError(
                f"{' and '.join(map(repr, aside))} can only stand beside a fraction: a clip by {given[0]} is of the "
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
        [rule] = [rule for rule in CLIP_RULES if getattr(self, rule) is not None]
        return rule

    @property
    def written(self) -> float | list[float] | SpaceSettings:
        """What stands under its rule: one value, several, or a space of them."""
        found: float | list[float] | SpaceSettings = getattr(self, self.rule)
        return found


class ScheduleSettings(BaseModel):
    """The learning rate over progress: a rise over the fraction `warmup`, then constant or a fall to `final`."""

    model_config = _CLOSED
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
    _MAPPING_OR_VALUE,
]


class ArmSettings(BaseModel):
    """An optimizer by name, or "package:Class" for one from elsewhere, with its options.

    A list of values is a grid: an arm for each, or, with a `tuning` section, what the arm is tuned over.
    """

    model_config = _WITH_OPTIONS
    use: str
    clip: Clip | None = None
    schedule: ScheduleField | None = None


class BudgetSettings(BaseModel):
    """How much every run may use, in exactly one unit; `seconds` are seconds of training time."""

    model_config = _CLOSED
    steps: int | None = Field(default=None, gt=0)
    samples: int | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> "BudgetSettings":
        given = [unit for unit in UNITS if getattr(self, unit) is not None]
        if len(given) != 1:
            has = f"this one has {' and '.join(given)}" if given else "this one has none"
            raise ValueError(f"a budget is in exactly one of {', '.join(UNITS)}; {has}")
        return self


class EvaluateSettings(BaseModel):
    """When to evaluate on held-out batches: every so many steps."""

    model_config = _CLOSED
    every: Steps = 20


class TargetSettings(BaseModel):
    """The evaluation loss that arms race to; reached where so many `consecutive` evaluations are at or below it."""

    model_config = _CLOSED
    loss: float
    consecutive: Steps = 1


def _default_probes() -> list[str | Use]:
    return ["sharpness"]


ArmNames = Annotated[
    Annotated[Literal["all"], Tag("as a value")]
    | Annotated[list[str], Field(min_length=1), AfterValidator(_each_once), Tag("as a list")],
    _BY_SHAPE,
]


class GhostSettings(BaseModel):
    """Arms whose steps are tried, and undone, at every point of other arms' paths: `along` whose, and `of` whom.

    `only`: the arms that are not among `along` make no runs of their own.
    """

    model_config = _CLOSED
    along: ArmNames
    of: ArmNames = "all"
    only: bool = False


class MeasureSettings(BaseModel):
    """Which probes to run, and when: `every` so many steps, or `at` fractions of the budget, 1 being its last step."""

    model_config = _CLOSED
    every: Steps = 50
    at: Annotated[list[BudgetFraction], Field(min_length=1), AfterValidator(_each_once)] | None = None
    probes: list[NameOrUse] = Field(default_factory=_default_probes)
    ghosts: GhostSettings | None = None

    @model_validator(mode="after")
    def _every_or_at(self) -> "MeasureSettings":
        if self.at is not None and "every" in self.model_fields_set:
            raise ValueError("probes run `every` so many steps or `at` fractions of the budget, not both")
        if self.ghosts is not None and not self.probes:
            raise ValueError("`ghosts` are only seen by probes, and there are none; name some, or take the ghosts out")
        return self


class TuningSettings(BaseModel):
    """How arms are tuned before they are compared: what a list or a space leaves open is tried on seeds of its own.

    `trials` is how many settings each arm is given; with a grid, how many its lists make.
    """

    model_config = _CLOSED
    seeds: Seeds
    search: Search = "grid"
    trials: int | None = Field(default=None, ge=1)
    select: Select = "eval_loss"

    @model_validator(mode="after")
    def _drawn_as_often_as_said(self) -> "TuningSettings":
        if self.search != "grid" and self.trials is None:
            raise ValueError(f"a {self.search} search needs `trials`, the number of settings to draw for each arm")
        return self


class SpecFile(BaseModel):
    """A benchmark: optimizers compared on tasks, from the same weights, on the same batches, under one budget."""

    model_config = _CLOSED
    task: Annotated[
        Annotated[str, Tag("as a value")]
        | Annotated[Use, Tag("as a mapping")]
        | Annotated[list[NameOrUse], Field(min_length=1), Tag("as a list")],
        _BY_SHAPE,
    ]
    optimizers: dict[ArmName, ArmSettings] = Field(min_length=1)
    baseline: str | None = Field(default=None, description="the arm that others are compared with; the first")
    budget: BudgetSettings
    schedule: ScheduleField = "constant"
    seeds: Seeds
    tuning: TuningSettings | None = None
    evaluate: EvaluateSettings = EvaluateSettings()
    target: TargetSettings | None = None
    effect: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="the relative difference in final loss that there are seeds enough to show",
    )
    measure: MeasureSettings = Field(default_factory=MeasureSettings)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$")
    threads: int = Field(default=1, ge=1)
