"""Claims as they are written: a statement, the quantity that decides it, what is compared with what, and a direction.

A claim is data, so that a lab can write its own. `load` reads a file of them under the same YAML as a spec.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, Tag, model_validator

from clipbench.errors import Fault, SpecError
from clipbench.records import ClipPlace
from clipbench.spec.document import SpecDocument, read
from clipbench.spec.shapes import BY_SHAPE, CLOSED, one_of
from clipbench.spec.structure import fitted

_SHAPE_OF_FILE = "a file of claims is a mapping with the key claims, and a list under it"
_WAYS = ("compare", "rank", "unmeasured")

TWIN = "twin"  # as `against`: the same arm without its clip

ClaimWhere = Literal["shared", "own"]
ClaimScale = Literal["ratio", "difference", "value"]


class ClipPattern(BaseModel):
    """A clip by what it does: what is given must fit."""

    model_config = CLOSED
    fraction: float | None = None
    threshold: float | None = None
    norm: float | None = None
    of: ClipPlace | None = None


class ArmPattern(BaseModel):
    """Arms by what they are: `name` and `use` are patterns (*, ?), and `clip` says whether there is one, or which."""

    model_config = CLOSED
    name: str = "*"
    use: str = "*"
    clip: (
        Annotated[
            Annotated[bool, Tag("as a value")] | Annotated[ClipPattern, Tag("as a mapping")],
            BY_SHAPE,
        ]
        | None
    ) = None


OneArm = Annotated[Annotated[str, Tag("as a value")] | Annotated[ArmPattern, Tag("as a mapping")], BY_SHAPE]
Arms = Annotated[
    Annotated[str, Tag("as a value")]
    | Annotated[ArmPattern, Tag("as a mapping")]
    | Annotated[tuple[OneArm, ...], Field(strict=False, min_length=1), Tag("as a list")],
    BY_SHAPE,
]
Names = Annotated[
    Annotated[str, Tag("as a value")] | Annotated[tuple[str, ...], Field(strict=False, min_length=1), Tag("as a list")],
    BY_SHAPE,
]


class Compare(BaseModel):
    """Arms `of` beside arms `against` (or their twins), or one quantity beside another, or beside the margin alone.

    - `quantity`: as it is recorded, or `final_loss` or `steps_to_target`; `a / b` is a quotient of two. Of a list the
      first that was measured counts.
    - `at: shared`: directions at one point, of one run, at the same step. `at: own`: each arm on its own path, paired
      by seed.
    - `on`: the arms whose trajectories count; `tasks`: patterns of names.
    - `scale`: `ratio`, `difference`, or `value` where nothing stands against it.
    - `each_step`: every step is a comparison of its own; otherwise a seed's steps are averaged.
    """

    model_config = CLOSED
    quantity: Names
    of: Arms
    against: Arms | None = None
    against_quantity: str | None = None
    at: ClaimWhere = "shared"
    on: Arms = "*"
    tasks: Names = "*"
    scale: ClaimScale | None = None
    each_step: bool = False

    @model_validator(mode="after")
    def _has_something_to_compare(self) -> "Compare":
        beside = self.against is not None or self.against_quantity is not None
        if beside and self.scale == "value":
            raise ValueError("a value stands alone: leave out `against` and `against_quantity`, or the scale")
        if not beside and self.scale in ("ratio", "difference"):
            raise ValueError(f"a {self.scale} needs `against` or `against_quantity`")
        if self.each_step and self.at == "own":
            raise ValueError("`each_step` is for shared points; along their own paths arms are compared as a whole")
        return self

    @property
    def how(self) -> ClaimScale:
        """The scale; a comparison is of ratios where nothing else is said."""
        beside = self.against is not None or self.against_quantity is not None
        return self.scale or ("ratio" if beside else "value")


class Rank(BaseModel):
    """Whether the order of arms by one quantity is their order by another: Spearman's correlation over arms.

    `by` is measured along each arm's direction (`at: shared`: at one run's points; a minus sign before it turns the
    order round); `to` is what it should foretell, `final_loss` or `steps_to_target` of the arm's own run with the same
    seed. With `rather_than` it is the difference of the two correlations.
    """

    model_config = CLOSED
    by: str
    to: Literal["final_loss", "steps_to_target"] = "final_loss"
    rather_than: str | None = None
    of: Arms = "*"
    at: ClaimWhere = "shared"
    on: Arms = "*"
    tasks: Names = "*"


class Needs(BaseModel):
    """How much must be measured before a claim can hold: at least so many of each; `arms` are those of a ranking."""

    model_config = CLOSED
    tasks: int = Field(default=1, ge=1)
    trajectories: int = Field(default=1, ge=1)
    steps: int = Field(default=1, ge=1)
    comparisons: int = Field(default=1, ge=1)
    arms: int = Field(default=3, ge=3)


class Claim(BaseModel):
    """One claim, about every comparison that it describes: each is to lie beyond the margin with its 95 % interval.

    It is measured in exactly one way, or `unmeasured` says why it is not. `margin` is a factor for ratios (1 unless
    said), otherwise a difference or value (0).
    """

    model_config = CLOSED
    name: str = Field(min_length=1)
    statement: str = Field(min_length=1)
    compare: Compare | None = None
    rank: Rank | None = None
    unmeasured: str | None = None
    expect: Literal["lower", "higher"] | None = None
    margin: float | None = None
    needs: Needs = Needs()

    @model_validator(mode="after")
    def _measured_in_one_way(self) -> "Claim":
        one_of(self, _WAYS, what="a claim has")
        if (self.expect is None) != (self.unmeasured is not None):
            raise ValueError("a claim that is measured says what to `expect`, lower or higher, and no other does")
        if self.compare is not None and self.compare.how == "ratio" and self.margin is not None and self.margin <= 0:
            raise ValueError("the margin of a ratio is a factor above 0")
        return self

    @property
    def beyond(self) -> float:
        """The margin that an interval must lie beyond."""
        if self.margin is not None:
            return self.margin
        return 1.0 if self.compare is not None and self.compare.how == "ratio" else 0.0


class ClaimsFile(BaseModel):
    """Claims about results."""

    model_config = CLOSED
    claims: tuple[Claim, ...] = Field(strict=False, min_length=1)


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "claims": Claim,
    "compare": Compare,
    "rank": Rank,
    "needs": Needs,
    "of": ArmPattern,
    "against": ArmPattern,
    "on": ArmPattern,
    "clip": ClipPattern,
}


def load(path: Path) -> tuple[Claim, ...]:
    """The claims of a file, in its order.

    Raises:
        SpecError: with every fault that was found, each at its line and column.
    """
    document = read(path, shape=_SHAPE_OF_FILE, needs=_SHAPE_OF_FILE)
    written, shape = fitted(document, ClaimsFile, sections=_SECTIONS)
    faults = [*document.faults, *shape, *_repeated(document)]
    if written is None or faults:
        raise SpecError(document.file, faults)
    return written.claims


def _repeated(document: SpecDocument) -> list[Fault]:
    items = document.data.get("claims")
    names = [item.get("name") if isinstance(item, dict) else None for item in items] if isinstance(items, list) else []
    return [
        document.fault(("claims", place, "name"), f"a claim {name!r} is here already; give this one another name")
        for place, name in enumerate(names)
        if name is not None and name in names[:place]
    ]
