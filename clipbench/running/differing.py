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
    return [candidate for candidate in dict.fromkeys(candidates) if candidate != value]


def alike(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    """Whether two things keep the same, as `held` tells it."""
    return first.keys() == second.keys() and all(_equal(first[way], second[way]) for way in first)


def _equal(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and same_values(first, second)
    return type(first) is type(second) and (first == second or (first != first and second != second))


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether the weights are equal, where a NaN equals a NaN."""
    return all(same_values(first[name], second[name]) for name in first)


def same_values(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal, where a NaN equals a NaN."""
    if first.is_sparse or second.is_sparse:
        first, second = first.to_dense(), second.to_dense()
    if first.shape != second.shape:
        return False
    return torch.equal(first, second) or bool(torch.isclose(first, second, rtol=0.0, atol=0.0, equal_nan=True).all())
