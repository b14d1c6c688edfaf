"""In what two optimizers differ that were told different things: in the weights they make, or in what they keep."""

import functools
import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.records import Value

_PLAIN = bool | int | float | complex | str | bytes | None | torch.dtype | torch.device


def other_values(value: Value) -> list[Value]:
    """Values to vary an option by, the likeliest to be admissible first; nobody knows which of them are."""
    match value:
        case bool():
            candidates: list[Value] = [not value]
        case int():
            candidates = [2 * value, value // 2, value + 1, 1]
        case float():
            candidates = [value / 2, 2 * value, 1.0, 0.5, 0.1]
        case str():
            candidates = [f"{value}?"]
        case tuple():
            columns = [other_values(item) for item in value] or [[1.0]]
            rows = range(max(map(len, columns)))
            candidates = [tuple(column[min(row, len(column) - 1)] for column in columns) for row in rows]  # type: ignore[misc]
        case None:
            candidates = [0.5, 1, True]
    return [other for other in dict.fromkeys(candidates) if other != value]


def held(thing: torch.optim.Optimizer | nn.Module) -> dict[str, object]:
    """All that an optimizer or a model keeps, however deep, as numbers, texts and tensors by their way to it.

    Looked into: containers, the attributes of objects, what functions have bound. Left out: the parameters themselves,
    hooks, a clip of ours, and what only native code sees.
    """
    own = {name: value for name, value in vars(thing).items() if not name.startswith(("_optimizer_", "__"))}
    return dict(_leaves(own, "", set()))


def _leaves(value: object, way: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    if isinstance(value, Tensor):
        if not isinstance(value, nn.Parameter):
            yield way, value
    elif isinstance(value, np.ndarray | np.generic):
        yield way, (value.shape, value.tobytes())
    elif isinstance(value, _PLAIN):
        yield way, value
    elif id(value) not in seen:
        seen.add(id(value))
        for name, inner in _inside(value):
            yield from _leaves(inner, f"{way}.{name}", seen)


def _inside(value: object) -> Iterator[tuple[object, object]]:
    """What is one step further in: items, attributes, what a function has bound."""
    match value:
        case type() | types.ModuleType():
            return
        case Mapping():
            for place, (key, inner) in enumerate(value.items()):
                yield (key if isinstance(key, str) else place), inner
        case Sequence() | AbstractSet():
            yield from enumerate(sorted(value, key=repr) if isinstance(value, AbstractSet) else value)
        case types.FunctionType():
            yield "defaults", (value.__defaults__, value.__kwdefaults__)
            for place, cell in enumerate(value.__closure__ or ()):
                yield place, _content(cell)
        case types.MethodType():
            yield "self", value.__self__
            yield "function", value.__func__
        case types.GeneratorType():
            yield "locals", value.gi_frame.f_locals if value.gi_frame else None
        case functools.partial():
            yield "partial", (value.func, value.args, value.keywords)
        case _:
            yield from getattr(value, "__dict__", {}).items()
            slots = [slot for kind in type(value).__mro__ for slot in _listed(getattr(kind, "__slots__", ()))]
            yield from ((slot, getattr(value, slot)) for slot in slots if hasattr(value, slot))


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # it is not filled yet
        return None


def _listed(slots: str | Sequence[str]) -> Sequence[str]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def alike(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two optimizers keep the same, as `held` tells it."""
    return one.keys() == other.keys() and all(_equal(one[way], other[way]) for way in one)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and same_values(one, other)
    return type(one) is type(other) and (one == other or (one != one and other != other))


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether the weights are equal, where a NaN equals a NaN."""
    return all(same_values(one[name], other[name]) for name in one)


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, where a NaN equals a NaN."""
    if one.is_sparse or other.is_sparse:
        one, other = one.to_dense(), other.to_dense()
    if one.shape != other.shape:
        return False
    return torch.equal(one, other) or bool(torch.isclose(one, other, rtol=0.0, atol=0.0, equal_nan=True).all())
