"""An arm as it is written: an optimizer with its options, its clip, its schedule and its check of life."""

import re
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, model_validator

from clipbench.questions import Space
from clipbench.records import (
    ClipPlace,
    ClipScale,
    ClipScope,
    ClipSettings,
    Liveness,
    Options,
    ParameterKind,
    ScheduleName,
)
from clipbench.spec.externals import short_name
from clipbench.spec.limits import MOST_SETTINGS
from clipbench.spec.shapes import (
    BY_SHAPE,
    CLOSED,
    FROM_ELSEWHERE,
    MAPPING_OR_VALUE,
    WITH_OPTIONS,
    SpaceSettings,
    distinct,
    each_once,
    of_fractions,
    of_limits,
)

DECAY = 0.2  # of the budget, of a wsd that does not say


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
    this length. `groups` names the groups of the arm to clip, as if there were no others.
    """

    model_config = CLOSED
    fraction: FractionOrSeveral | None = None
    threshold: LimitOrSeveral | None = None
    norm: LimitOrSeveral | None = None
    of: ClipPlace = "gradient"
    scope: ClipScope = "global"
    scale: ClipScale = "none"
    ignore_zeros: bool = False
    groups: Annotated[list[str], Field(min_length=1), AfterValidator(each_once)] | None = None

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
        groups = tuple(self.groups or ())
        return ClipSettings(fraction, self.of, self.scope, threshold, norm, self.scale, self.ignore_zeros, groups)

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


NameOrFunction = Annotated[
    Annotated[ScheduleName, Tag("as a name")]
    | Annotated[str, Field(json_schema_extra={"pattern": FROM_ELSEWHERE}), Tag("as a function")],
    Discriminator(lambda use: "as a function" if isinstance(use, str) and ":" in use else "as a name"),
]


class ScheduleSettings(BaseModel):
    """The learning rate over progress: a rise over the fraction `warmup`, then constant or a fall to `final`.

    A wsd stays at its height until the last share `decay` of the budget, 0.2 by default. "module:name" is a function
    of your own, from progress in [0, 1] to the factor.
    """

    model_config = CLOSED
    use: NameOrFunction
    warmup: float = Field(default=0.0, ge=0, lt=1)
    final: float = Field(default=0.0, ge=0, le=1)
    decay: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _has_the_ends_of_its_form(self) -> "ScheduleSettings":
        given = sorted(self.model_fields_set - {"use"})
        if ":" in self.use and given:
            raise ValueError(f"a function of your own gives the whole factor, so it has no {given[0]!r} beside it")
        if self.use == "constant" and "final" in given:
            raise ValueError("a constant schedule does not fall, so it has no `final`; use linear or cosine")
        if self.use != "wsd" and "decay" in given:
            raise ValueError(f"a {self.use} schedule has no `decay`; use wsd")
        if self.use == "wsd" and self.warmup + self.share > 1:
            raise ValueError(f"`warmup` and `decay` are more than the budget together: {self.warmup} and {self.share}")
        return self

    @property
    def share(self) -> float:
        """The last share of the budget, over which a wsd falls; 0 for others."""
        return (DECAY if self.decay is None else self.decay) if self.use == "wsd" else 0.0


ScheduleField = Annotated[
    Annotated[NameOrFunction, Tag("as a value")] | Annotated[ScheduleSettings, Tag("as a mapping")],
    MAPPING_OR_VALUE,
]


class WrapperSettings(BaseModel):
    """What goes around an optimizer, with its options. `options` has those whose names are keys of an entry."""

    model_config = WITH_OPTIONS
    use: str
    options: dict[str, Any] = {}


WrapperEntry = Annotated[
    Annotated[str, Tag("as a value")] | Annotated[WrapperSettings, Tag("as a mapping")], MAPPING_OR_VALUE
]


def _named_apart(wrappers: list[str | WrapperSettings]) -> list[str | WrapperSettings]:
    names = [short_name("wrappers", each if isinstance(each, str) else each.use) for each in wrappers]
    each_once(names, why="; an arm's wrappers are told apart by their names")
    return wrappers


Wrappers = Annotated[list[WrapperEntry], Field(min_length=1), AfterValidator(_named_apart)]


class ArmSettings(BaseModel):
    """An optimizer by name, or "package:Class" for one from elsewhere, with its options.

    A list of values is a grid: an arm for each, or, with a `tuning` section, what the arm is tuned over. `liveness`
    says what becomes of an arm that does not do what its spec says: it is refused, run with a remark (warn), or not
    even checked (off). `wrap` lists what goes around the optimizer and its clip, innermost first. `create_graph` is for
    an optimizer that differentiates the gradient. `options` has the options whose names are keys of an arm.
    """

    model_config = WITH_OPTIONS
    use: str
    wrap: Wrappers | None = None
    clip: ClipEntry | None = None
    schedule: ScheduleField | None = None
    create_graph: bool = False
    liveness: Liveness = "refuse"
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _has_no_groups_to_clip(self) -> "ArmSettings":
        if self.clip is not None and self.clip.groups:
            raise ValueError("its clip names groups, and the arm has none; it clips all parameters")
        return self


def _group_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError("a group's name has letters, digits, _ and - alone: settings are called groups.NAME.lr")
    return name


GroupName = Annotated[str, AfterValidator(_group_name)]
Pattern = Annotated[str, Field(min_length=1)]
PatternOrSeveral = Annotated[
    Annotated[Pattern, Tag("as a value")]
    | Annotated[list[Pattern], Field(min_length=1), AfterValidator(each_once), Tag("as a list")],
    BY_SHAPE,
]
_OF_THE_ARM = ("wrap", "clip", "schedule", "create_graph", "liveness")


class GroupSettings(BaseModel):
    """A group of parameters with an optimizer of its own, as an arm names one.

    `kind`: matrix (two dimensions, no embedding), vector (fewer than two) or embedding (the weights of embedding
    modules, tied heads with them); `names`: a glob pattern of parameters' names, or several. Both given, both must
    fit; neither given, the group takes the rest. `options` has the options whose names are keys of a group.
    """

    model_config = WITH_OPTIONS
    use: str
    kind: ParameterKind | None = None
    names: PatternOrSeveral | None = None
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _leaves_to_the_arm_what_is_its(self) -> "GroupSettings":
        if given := [key for key in _OF_THE_ARM if key in (self.model_extra or {})]:
            one = "; `clip: {..., groups: [NAME]}` there clips this group alone" if given[0] == "clip" else ""
            raise ValueError(f"a group has no {given[0]!r} of its own: it is of the whole arm, beside `groups`{one}")
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of names; none where every name fits."""
        return (self.names,) if isinstance(self.names, str) else tuple(self.names or ())


class GroupedArmSettings(BaseModel):
    """Several optimizers that step as one: the first of the `groups` that fits takes a parameter.

    All other keys are of the whole arm, as an arm with one optimizer has them.
    """

    model_config = CLOSED
    groups: Annotated[dict[GroupName, GroupSettings], Field(min_length=1)]
    wrap: Wrappers | None = None
    clip: ClipEntry | None = None
    schedule: ScheduleField | None = None
    create_graph: bool = False
    liveness: Liveness = "refuse"

    @model_validator(mode="before")
    @classmethod
    def _has_no_optimizer_beside_its_groups(cls, written: Any) -> Any:
        if beside := [key for key in written if key not in cls.model_fields]:
            raise ValueError(
                f"{beside[0]!r} cannot stand beside `groups`: each group has its own `use` and options; of the whole "
                f"arm are {', '.join(_OF_THE_ARM)}"
            )
        return written

    @model_validator(mode="after")
    def _clips_groups_that_it_has(self) -> "GroupedArmSettings":
        for name in (self.clip.groups or ()) if self.clip is not None else ():
            if name not in self.groups:
                raise ValueError(f"its clip names a group {name!r}; the arm has {', '.join(self.groups)}")
        return self

    @model_validator(mode="after")
    def _takes_the_rest_last(self) -> "GroupedArmSettings":
        *earlier, _ = self.groups.items()
        for name, group in earlier:
            if group.kind is None and group.names is None:
                raise ValueError(f"the group {name!r} takes all that is left, so it must be the last")
        return self


ArmEntry = Annotated[
    Annotated[ArmSettings, Tag("as one optimizer")] | Annotated[GroupedArmSettings, Tag("as groups")],
    Discriminator(lambda arm: "as groups" if isinstance(arm, dict) and "groups" in arm else "as one optimizer"),
]
