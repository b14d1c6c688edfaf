"""The threshold of coordinate-wise clipping: one number for a whole list of tensors, found exactly."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def coordinate_threshold(tensors: Sequence[Tensor], fraction: float) -> Tensor:
    """The magnitude above which a coordinate belongs to the largest `fraction` of all coordinates.

    τ = the element at 0-based index k = int(n·fraction) of |a|, sorted in descending order, where a holds the
    n coordinates of all the tensors together. At most k coordinates lie above τ. NaN sorts above every number, so
    up to k NaNs leave the threshold a number, and more make it NaN.

    Args:
        tensors: real tensors of any shapes, on one device; empty ones count for nothing.
        fraction: the share of coordinates to clip, strictly between 0 and 1.

    Returns:
        A 0-d tensor on the tensors' device, of their dtype (the promoted one where they differ). It equals one of
        the magnitudes bit for bit, and reading it is left to the caller: nothing here waits for the device.

    Raises:
        ValueError: the fraction is not between 0 and 1, there is no coordinate, or there are several devices.
        TypeError: a tensor is complex.

    Source: Pan and Li (2023), arXiv:2306.00204.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"the fraction to clip is {fraction}: it must lie strictly between 0 and 1")
    devices = sorted({str(tensor.device) for tensor in tensors})
    if len(devices) > 1:
        raise ValueError(f"one threshold over tensors on several devices ({', '.join(devices)}) is not supported")
    if any(tensor.is_complex() for tensor in tensors):
        raise TypeError("a complex tensor has no coordinate-wise threshold: use torch.view_as_real")
    n = sum(tensor.numel() for tensor in tensors)
    if n == 0:
        raise ValueError("there are no coordinates to find a threshold of: every tensor is empty")
    magnitudes = torch.cat([tensor.abs().flatten() for tensor in tensors])
    k = int(n * fraction)
    if magnitudes.device.type == "cpu":
        return magnitudes.kthvalue(n - k).values  # kthvalue counts from 1, upwards
    # Off the CPU kthvalue works on one slice serially: a sort is faster.
    return magnitudes.sort(descending=True).values[k].clone()
