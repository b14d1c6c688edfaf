"""Means over batches and their standard errors: of this process, or of all processes of a group."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from clipbench.errors import ClipbenchError
from clipbench.geometry.losses import WHERE

AverageGroup = dist.ProcessGroup | None
"""The processes whose batches are in the means, as torch.distributed has it; None for this one alone."""


def averaged(
    quantities: Sequence[Sequence[float]],
    weights: Sequence[int],
    *,
    same: Sequence[float] = (),
    group: AverageGroup = None,
    device: torch.device | None = None,
) -> list[tuple[float, float]]:
    """(mean, standard error) of each quantity: x̄ = Σwᵢxᵢ/W, and √(n/(n−1) · Σ(wᵢ/W)²(xᵢ − x̄)²), a ratio estimate's.

    The error is s/√n where all weights are equal, and NaN for a single batch. The processes of a group add up, in one
    all-reduce of float64 numbers, n, Σw, Σw² and for each quantity Σwx, Σw²x, Σw²x²: seven and seven for a direction.

    Args:
        quantities: each a value for every batch of this process.
        weights: of these batches.
        same: numbers that every process must have alike, such as the norms of the directions.
        device: of the weights, where the group cannot add up on the CPU.

    Raises:
        ClipbenchError: a process of the group has failed, or has other numbers in `same`.

    Source: Cochran (1977), Sampling Techniques, §6.4.
    """
    if group is None:
        return [_local(values, weights) for values in quantities]
    squares = [w * w for w in weights]
    numbers = [0.0, len(weights), sum(weights), sum(squares)]
    for values in quantities:
        numbers += [_dot(weights, values), _dot(squares, values), _dot(squares, [x * x for x in values])]
    for x in same:
        numbers += [x, x * x]
    failed, n, total, total_squares, *rest = _added(numbers, group, device)
    _require_together(int(failed), rest[3 * len(quantities) :], dist.get_world_size(group))
    estimates = []
    for i in range(len(quantities)):
        first, second, third = rest[3 * i : 3 * i + 3]
        mean = first / total
        spread = max(third - 2 * mean * second + mean * mean * total_squares, 0.0) if first == first else math.nan
        estimates.append((mean, math.sqrt(n / (n - 1) * spread) / total if n > 1 else math.nan))
    return estimates


@contextmanager
def shared_fate(group: AverageGroup, *, quantities: int, same: int, device: torch.device) -> Iterator[None]:
    """Inside, what this process raises is told to the others, which would wait for it in `averaged` for ever."""
    try:
        yield
    except BaseException:
        if group is not None:
            _added([1.0] + [0.0] * (3 + 3 * quantities + 2 * same), group, device)
        raise


def _local(values: Sequence[float], weights: Sequence[int]) -> tuple[float, float]:
    n, total = len(values), sum(weights)
    mean = _dot(weights, values) / total
    if n < 2:
        return mean, math.nan
    squares = math.fsum((w / total * (x - mean)) ** 2 for w, x in zip(weights, values, strict=True))
    return mean, math.sqrt(n / (n - 1) * squares)


def _dot(weights: Sequence[int], values: Sequence[float]) -> float:
    return math.fsum(w * x for w, x in zip(weights, values, strict=True))


def _added(numbers: Sequence[float], group: dist.ProcessGroup, device: torch.device | None) -> list[float]:
    where = device if dist.get_backend(group) == "nccl" else "cpu"
    summed: Tensor = torch.tensor(numbers, dtype=torch.float64, device=where)
    dist.all_reduce(summed, group=group)
    sums: list[float] = summed.tolist()
    return sums


def _require_together(failed: int, same: Sequence[float], processes: int) -> None:
    if failed:
        raise ClipbenchError(f"{failed} of {processes} processes failed, each with an error of its own", where=WHERE)
    for total, squares in zip(same[::2], same[1::2], strict=True):
        if processes * squares - total * total > 1e-9 * squares * processes:
            raise ClipbenchError(
                "the processes have directions of different norms",
                where=WHERE,
                remedy="every process of the group measures along the same directions, on batches of its own",
            )
