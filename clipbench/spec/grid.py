"""Lists as grids: one arm, or one task, for each combination of the values that a spec lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from clipbench.records import Value
from clipbench.spec.wording import written


@dataclass(frozen=True)
class Axis:
    """The values an option takes; `swept` if the spec gave them as a list, even a list of one."""

    option: str
    values: tuple[Value, ...]
    swept: bool = False


@dataclass(frozen=True)
class Span:
    """All values of an option from `low` to `high`, evenly or evenly in the logarithm; `whole`: integers only."""

    option: str
    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Point:
    """One combination: `label` tells it from the others ("" where nothing is swept), `options` are its values.

    `swept` has those of its options that are not the same in every combination.
    """

    label: str
    options: Mapping[str, Value]
    swept: Mapping[str, Value] = field(default_factory=dict)


def points(axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the axes' values, in the order written: the first axis changes slowest."""
    combinations: list[Point] = []
    for values in product(*(axis.values for axis in axes)):
        options = {axis.option: value for axis, value in zip(axes, values, strict=True)}
        swept = {axis.option: options[axis.option] for axis in axes if axis.swept}
        combinations.append(Point(label(swept), options, swept))
    return combinations


def label(options: Mapping[str, Value]) -> str:
    """`[lr=0.1,momentum=0.9]`: values as YAML would have them."""
    if not options:
        return ""
    return f"[{','.join(f'{name}={written(value)}' for name, value in options.items())}]"
