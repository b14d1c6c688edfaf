"""In what two optimizers differ that were told different things: in the weights they make, or in what they keep."""

from collections.abc import Mapping

import torch
from torch import Tensor

from clipbench.records import Value


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


def alike(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two things keep the same, as `held` tells it."""
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
