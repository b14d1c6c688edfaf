"""What the models of specs and of claims have in common: strict, closed, and told apart by their shape."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator

from clipbench.harmless import shortened

# Built when the first file is read: every command imports the models, and few of them read one.
CLOSED = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)
WITH_OPTIONS = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


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
