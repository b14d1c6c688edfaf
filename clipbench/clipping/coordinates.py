"""Operations on the coordinates of a list of tensors: threshold, count, clip and length, in few passes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.clipping.keys import integer_view, share_of
from clipbench.clipping.threshold import _triton_is_there, coordinate_threshold, threshold_on_cpu

# About what a core's cache holds: lists of small tensors are worked on together, large tensors one at a time.
_RUN = 1 << 18

# A table on a GPU costs the host as much as several launches: one tensor that is smaller than this is left to torch.
_ALONE = 1 << 22

# What torch's clamps take as a bound: a Python number makes one pass of them, a tensor makes five. A number is free
# on the CPU; elsewhere it would wait for the device.
Bound = float | Tensor

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Scope:
    """The coordinates that share one threshold, and what the clip did to them.

    - `threshold`: τ, a 0-d tensor.
    - `clipped`: how many have |a| > τ, a 0-d integer tensor.
    - `counted`: how many the fraction is taken of: a number, or a 0-d tensor where that had to be counted.
    - `fraction`: the share that was asked for.
    """

    threshold: Tensor
    clipped: Tensor
    counted: int | Tensor
    fraction: float

    @property
    def n(self) -> int:
        """How many coordinates the fraction is taken of."""
        return int(self.counted)

    @property
    def asked(self) -> int:
        """int(n·fraction), the most that can be clipped; 0 means that the clip does nothing here."""
        return int(self.n * self.fraction)

    @property
    def erased(self) -> Tensor:
        """Whether τ = 0 took everything there was, a 0-d boolean tensor."""
        return (self.threshold == 0) & (self.clipped > 0)


def find_scope(tensors: Sequence[Tensor], fraction: float, *, ignore_zeros: bool) -> Scope:
    """The threshold of the tensors, and how many coordinates are above it.

    Args:
        tensors: real tensors on one device, with at least one coordinate together.
        fraction: the share of coordinates to clip, strictly between 0 and 1.
        ignore_zeros: take the fraction of the coordinates that are not zero.
    """
    if kernels_fit(tensors):
        return _scope_on_gpu(tensors, fraction, ignore_zeros=ignore_zeros)
    if _on_cpu_alike(tensors):
        threshold, larger, n = threshold_on_cpu(tensors, fraction, ignore_zeros=ignore_zeros)
        return Scope(threshold, torch.from_numpy(np.array(larger, np.int64)), n, fraction)
    # Among several dtypes, or what is not plain memory, a coordinate is above τ as its own dtype has them.
    threshold = coordinate_threshold(tensors, fraction, ignore_zeros=ignore_zeros)
    counted = count_nonzero(tensors) if ignore_zeros else sum(tensor.numel() for tensor in tensors)
    return Scope(threshold, count_above(tensors, bound(threshold)), counted, fraction)


def _scope_on_gpu(tensors: Sequence[Tensor], fraction: float, *, ignore_zeros: bool) -> Scope:
    """As `find_scope`: how many are above the threshold follows from its rank, without a pass to count them."""
    from clipbench.clipping.triton_select import kth_largest_and_larger  # takes a while, and only a GPU needs it

    n = sum(tensor.numel() for tensor in tensors)
    counted = count_nonzero(tensors) if ignore_zeros else n
    k = share_of(counted, fraction) if isinstance(counted, Tensor) else int(n * fraction)
    key, larger = kth_largest_and_larger([tensor for tensor in tensors if tensor.numel()], k)
    threshold = key.to(integer_view(tensors[0]).dtype).view(tensors[0].dtype)
    return Scope(threshold, larger, counted, fraction)


def _on_cpu_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether they are plain tensors of one dtype on the CPU, whose bits can be read as they lie."""
    dtype = tensors[0].dtype
    return all(type(tensor) in (Tensor, nn.Parameter) and tensor.dtype == dtype and tensor.is_cpu for tensor in tensors)


def kernels_fit(tensors: Sequence[Tensor]) -> bool:
    """Whether the clip's own kernels for a GPU can work on them: plain, contiguous, of one dtype, none twice."""
    first = tensors[0]
    if first.device.type != "cuda" or not _triton_is_there():
        return False
    return alike_in_memory(tensors)


def alike_in_memory(tensors: Sequence[Tensor]) -> bool:
    """Whether an address, a size and one dtype say all of them, and no two begin at the same address."""
    dtype, device = tensors[0].dtype, tensors[0].device
    return all(
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype == dtype
        and tensor.device == device
        and tensor.is_contiguous()
        and not tensor.is_neg()
        for tensor in tensors
    ) and len({tensor.data_ptr() for tensor in tensors if tensor.numel()}) == sum(
        tensor.numel() > 0 for tensor in tensors
    )


def bound(threshold: Tensor) -> Bound:
    """The threshold as the fastest thing to clamp by."""
    return threshold.item() if threshold.device.type == "cpu" else threshold


def count_above(tensors: Sequence[Tensor], limit: Bound) -> Tensor:
    """How many coordinates have |a| > limit, a 0-d int64 tensor; a NaN has not."""
    if isinstance(limit, Tensor) or not _are_numpys(tensors):
        return _total([torch.count_nonzero(tensor.abs() > limit) for tensor in tensors])
    return _counted_in_parts(tensors, lambda part: np.abs(part) > limit)


def count_nonzero(tensors: Sequence[Tensor]) -> Tensor:
    """How many coordinates are not zero, a 0-d int64 tensor; a NaN is not."""
    if not _are_numpys(tensors):
        return _total([torch.count_nonzero(tensor) for tensor in tensors])
    return _counted_in_parts(tensors, lambda part: part)


def _are_numpys(tensors: Sequence[Tensor]) -> bool:
    """Whether NumPy can read them: it counts several times as fast as torch on a CPU."""
    return all(
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.dtype in (torch.float32, torch.float64)
        for tensor in tensors
    )


def _counted_in_parts(tensors: Sequence[Tensor], select: Callable[[Array], Array]) -> Tensor:
    parts = (part for run in runs(tensors) for tensor in _joined(run) for part in _parts(tensor))
    return torch.tensor(sum(int(np.count_nonzero(select(part.numpy()))) for part in parts))


def _total(counts: Sequence[Tensor]) -> Tensor:
    # A DTensor's count is of each process's own shard until it is asked for whole.
    whole: list[Tensor] = [count.full_tensor() if hasattr(count, "full_tensor") else count for count in counts]
    return torch.stack(whole).sum()


def _joined(run: list[Tensor]) -> list[Tensor]:
    if len(run) == 1 or any(tensor.dtype != run[0].dtype for tensor in run):
        return [tensor.detach() for tensor in run]
    return [torch.cat([tensor.reshape(-1) for tensor in run]).detach()]


def _parts(tensor: Tensor) -> Sequence[Tensor]:
    """Pieces that fit the cache, as far as the layout allows without a copy."""
    if not tensor.is_contiguous():
        return [tensor]
    flat = tensor.view(-1)
    return [flat[start : start + _RUN] for start in range(0, flat.numel(), _RUN)]


def clip_(lists: Sequence[Sequence[Tensor]], scopes: Sequence[Scope], *, keep_length: bool) -> None:
    """Clip each list at the threshold of its scope, in place; then bring all of them to their former length together.

    a ← clip(a),    and with `keep_length`  a ← a·‖a before‖/‖clip(a)‖, unless nothing was left of it
    """
    everything = [tensor for tensors in lists for tensor in tensors]
    before = length(everything) if keep_length else None
    for tensors, scope in zip(lists, scopes, strict=True):
        clamp_(tensors, bound(scope.threshold))
    if before is not None:
        after = length(everything)
        factor = bound(torch.where(after > 0, before / after, torch.ones_like(before)))
        for tensor in everything:
            tensor.mul_(factor)


def clamp_(tensors: Sequence[Tensor], limit: Bound) -> None:
    """a ← sign(a)·min(|a|, limit), in place. A NaN stays one, and a limit that is NaN makes all of them NaN."""
    if isinstance(limit, Tensor):
        if (len(tensors) > 1 or tensors[0].numel() > _ALONE) and kernels_fit([*tensors, limit]):
            from clipbench.clipping.triton_clip import clip_on_gpu  # takes a while, and only a GPU needs it

            return clip_on_gpu(tensors, limit)
        for tensor in tensors:
            tensor.clamp_(min=-limit, max=limit)
        return None
    for run in runs(tensors):
        if len(run) == 1:
            torch.clamp_(run[0], -limit, limit)
        else:
            torch._foreach_clamp_min_(run, -limit)
            torch._foreach_clamp_max_(run, limit)
    return None


def length(tensors: Sequence[Tensor]) -> Tensor:
    """The ℓ2 norm of all the coordinates together, in float64 of norms taken in float32 at least: a 0-d tensor."""
    norms = [
        torch.linalg.vector_norm(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors
    ]
    whole: list[Tensor] = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    total: Tensor = torch.linalg.vector_norm(torch.stack([norm.double() for norm in whole]))
    return total


def runs(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Consecutive tensors in lists that fit the cache together; a larger one is alone."""
    run: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if run and size + tensor.numel() > _RUN:
            yield run
            run, size = [], 0
        run.append(tensor)
        size += tensor.numel()
    if run:
        yield run
