"""Lists as grids: one arm, or one task, for each combination of the values that a spec lists."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from clipbench.questions import Space
from clipbench.records import Options, Value
from clipbench.spec.wording import written


def points(spaces: Sequence[Space]) -> list[Options]:
    """Every combination of the listed values, in the order written: the first setting changes slowest.

    Without a space there is one combination, of nothing. A range has no list, so that it has no part in a grid.
    """
    lists = [space for space in spaces if space.values]
    names = [space.setting for space in lists]
    return [dict(zip(names, values, strict=True)) for values in product(*(space.values for space in lists))]


def size(spaces: Iterable[Space]) -> int:
    """How many points a grid has."""
    return math.prod(len(space.values) for space in spaces if space.values)


def label(options: Mapping[str, Value]) -> str:
    """`[lr=0.1,momentum=0.9]`: values as YAML would have them."""
    if not options:
        return ""
    return f"[{','.join(f'{name}={written(value)}' for name, value in options.items())}]"
