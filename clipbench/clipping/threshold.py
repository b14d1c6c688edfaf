"""The threshold of coordinate-wise clipping: one number for a whole list of tensors, found exactly."""

import sys
from collections.abc import Sequence
from functools import cache, reduce
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.clipping.bracket import kth_largest_and_larger
from clipbench.clipping.keys import (
    INFINITY,
    alike,
    blocks,
    check_fraction,
    count_nonzero,
    counts_of_views,
    integer_view,
    key_arrays,
    kth_largest_by_digits,
    magnitude,
    magnitude_mask,
    share_of,
)

_PLAIN = (Tensor, nn.Parameter)


def coordinate_threshold(tensors: Sequence[Tensor], fraction: float, *, ignore_zeros: bool = False) -> Tensor:
    """The magnitude above which a coordinate belongs to the largest `fraction` of all coordinates.

    τ = the element at 0-based index k = int(n·fraction) of |a|, sorted in descending order, where a holds the
    n coordinates of all the tensors together. At most k coordinates lie above τ. NaN sorts above every number, so
    up to k NaNs leave the threshold a number, and more make it NaN.

    On a CPU the tensors are read once and next to nothing is copied; so on a CUDA device, where nothing waits for
    the device, a CUDA graph can capture the call, and torch.compile sees one opaque operation. Tensors with gaps in
    their memory, and all but the widest of tensors of several dtypes, are copied. Nothing is kept between calls.

    Args:
        tensors: real floating-point tensors of any shapes, on one device; empty ones count for nothing. DTensors
            count whole, and every process of their mesh must make the call: see `sharded_threshold`.
        fraction: the share of coordinates to clip, strictly between 0 and 1.
        ignore_zeros: let n count only the coordinates that are not exactly zero, so that k = int(n·fraction) of
            these are clipped, however many zeros there are beside them. If all are zero, so is τ.

    Returns:
        A 0-d tensor on the tensors' device, of their dtype (the promoted one where they differ). It equals one of
        the magnitudes bit for bit; reading it is left to the caller.

    Raises:
        ValueError: the fraction is not between 0 and 1, there is no coordinate, there are several devices, or a
            DTensor is a partial sum or lies on another mesh than the others.
        TypeError: a tensor is complex, sparse, or not of floating-point numbers.

    Of five coordinates 40 % are two, so that two lie above the threshold:

    >>> coordinate_threshold([torch.tensor([3.0, -5.0]), torch.tensor([1.0, -4.0, 2.0])], 0.4)
    tensor(3.)

    Source: Pan and Li (2023), arXiv:2306.00204.
    """
    if torch.compiler.is_compiling():
        return _in_one_operation(tensors, fraction, ignore_zeros=ignore_zeros)
    if any(type(tensor) not in _PLAIN for tensor in tensors):
        # Whoever has a DTensor has imported its module; everybody else is spared the time that takes.
        module = sys.modules.get("torch.distributed.tensor")
        if module is not None and any(isinstance(tensor, module.DTensor) for tensor in tensors):
            from clipbench.clipping.sharded import threshold_of_dtensors

            return threshold_of_dtensors(tensors, fraction, ignore_zeros=ignore_zeros)
        # Fake tensors among others: the dispatcher knows what each kind needs.
        return _in_one_operation(tensors, fraction, ignore_zeros=ignore_zeros)
    return _threshold(tensors, fraction, ignore_zeros=ignore_zeros)


def _threshold(tensors: Sequence[Tensor], fraction: float, *, ignore_zeros: bool) -> Tensor:
    check_fraction(fraction)
    tensors = alike(tensors)
    dtype, device = tensors[0].dtype, tensors[0].device
    if device.type == "cpu":
        return threshold_on_cpu(tensors, fraction, ignore_zeros=ignore_zeros)[0]
    full = [tensor for tensor in tensors if tensor.numel()]
    n = sum(tensor.numel() for tensor in full)
    if device.type == "cuda" and _triton_is_there():
        # Importing Triton takes a while, and only a GPU needs it.
        from clipbench.clipping.triton_select import kth_largest_on_gpu

        k = (
            share_of(count_nonzero([integer_view(tensor) for tensor in full]), fraction)
            if ignore_zeros
            else int(n * fraction)
        )
        key = kth_largest_on_gpu(full, k)
    else:
        views = [integer_view(tensor) for tensor in full]
        k = share_of(count_nonzero(views), fraction) if ignore_zeros else int(n * fraction)
        key = kth_largest_by_digits(counts_of_views(views, device), k, width=dtype.itemsize, device=device)
    return key.to(integer_view(full[0]).dtype).view(dtype)


def threshold_on_cpu(tensors: Sequence[Tensor], fraction: float, *, ignore_zeros: bool) -> tuple[Tensor, int, int]:
    """The threshold, how many coordinates are above it, and how many the fraction was taken of: one pass for all.

    Args:
        tensors: plain CPU tensors of one of the dtypes in `FLOATS`, with at least one coordinate together.
        fraction: strictly between 0 and 1.
        ignore_zeros: as in `coordinate_threshold`; costs a pass.
    """
    dtype, arrays = tensors[0].dtype, key_arrays(tensors)
    if ignore_zeros:
        mask = magnitude_mask(arrays[0])
        n = sum(int(np.count_nonzero(block & mask)) for block in blocks(arrays))
    else:
        n = sum(array.size for array in arrays)
    key, larger = kth_largest_and_larger(arrays, int(n * fraction), infinity=INFINITY[dtype])
    return magnitude(key, dtype), larger, n


@cache
def _triton_is_there() -> bool:
    return find_spec("triton") is not None


def _in_one_operation(tensors: Sequence[Tensor], fraction: float, *, ignore_zeros: bool) -> Tensor:
    threshold: Tensor = _operation([tensor.detach() for tensor in tensors], float(fraction), ignore_zeros)
    return threshold


@torch.library.custom_op("clipbench::coordinate_threshold", mutates_args=())
def _operation(tensors: Sequence[Tensor], fraction: float, ignore_zeros: bool) -> Tensor:
    """The threshold as an operation that a compiler does not look into."""
    return _threshold(tensors, fraction, ignore_zeros=ignore_zeros)


@_operation.register_fake
def _(tensors: Sequence[Tensor], fraction: float, ignore_zeros: bool) -> Tensor:  # noqa: ARG001
    return tensors[0].new_empty((), dtype=reduce(torch.promote_types, (tensor.dtype for tensor in tensors)))
