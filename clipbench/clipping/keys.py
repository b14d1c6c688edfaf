"""Floats as integers: the bits of |x| read as a whole number keep the order of |x|, with NaN above infinity.

The k-th largest magnitude is selected digit by digit: how many coordinates have which leading bits, then which next
bits. It is exact whatever the numbers are, with a few kilobytes of memory. Counts add up over blocks of memory and over
processes, so it serves where a sample missed, on devices without a kernel of their own, and on sharded tensors.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

Keys = npt.NDArray[Any]

_SAME_WIDTH = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
FLOATS = tuple(_SAME_WIDTH)

# The key of an infinite coordinate; those above it are NaNs.
INFINITY = {torch.float16: 0x7C00, torch.bfloat16: 0x7F80, torch.float32: 0x7F800000, torch.float64: 0x7FF0000000000000}

# In elements: 256 KiB of float32, so that a block and what is made of it stay in a core's second cache.
BLOCK = 65_536
# Up to so many coordinates in all, several tensors are copied into one: that takes less time than to look at each.
FEW = 250_000


def alike(tensors: Sequence[Tensor], *, may_be_empty: bool = False) -> list[Tensor]:
    """The tensors in one dtype: as they are where they share one, else in the promoted one.

    Raises:
        ValueError: they are on several devices, or there is no coordinate in them and that may not be.
        TypeError: one is complex, not of floats, or not dense.
    """
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise ValueError(f"one threshold over tensors on several devices ({names}) is not supported")
    if not may_be_empty and not any(tensor.numel() for tensor in tensors):
        raise ValueError("there are no coordinates to find a threshold of: every tensor is empty")
    if any(tensor.layout != torch.strided for tensor in tensors):
        raise TypeError("a sparse tensor has no coordinate-wise threshold here: make it dense with to_dense()")
    dtypes = {tensor.dtype for tensor in tensors}
    for dtype in dtypes:
        if dtype.is_complex:
            raise TypeError("a complex tensor has no coordinate-wise threshold: use torch.view_as_real")
        if dtype not in FLOATS:
            names = ", ".join(str(known).removeprefix("torch.") for known in FLOATS)
            raise TypeError(f"a threshold is found among {names}, not among {dtype}: convert the tensor first")
    if len(dtypes) == 1:
        return list(tensors)
    common = reduce(torch.promote_types, dtypes)
    return [tensor.detach().to(common) for tensor in tensors]


def check_fraction(fraction: float) -> None:
    """Raise ValueError unless the fraction lies strictly between 0 and 1."""
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"the fraction to clip is {fraction}: it must lie strictly between 0 and 1")


def integer_view(tensor: Tensor) -> Tensor:
    """The tensor's own memory as signed integers of the same width; the sign bit is still in them.

    A lazily negated view (the imaginary part of a conjugate) is read as it lies: only magnitudes matter here.
    """
    detached = tensor.detach()
    if detached.is_neg():
        detached = torch._neg_view(detached)  # negated twice: the plain memory again
    return detached.view(_SAME_WIDTH[tensor.dtype])


def largest_key(dtype: torch.dtype) -> int:
    """The mask that takes the sign bit away: 0x7fffffff for float32."""
    return torch.iinfo(_SAME_WIDTH[dtype]).max


def magnitude_mask(array: Keys) -> int:
    """What takes the sign bits of such an array away; numpy.iinfo knows it as well, but shows in the time of a step."""
    return (1 << (8 * array.itemsize - 1)) - 1


def key_arrays(tensors: Sequence[Tensor]) -> list[Keys]:
    """CPU tensors of one dtype as flat integer arrays over the same memory, without the empty ones.

    The order within a tensor is that of its memory. Only a tensor with gaps or overlaps in its memory is copied, or
    one of several that have no more than `FEW` coordinates together.
    """
    if len(tensors) > 1 and sum(tensor.numel() for tensor in tensors) <= FEW:
        with torch.no_grad():
            joined: Tensor = _flatten_dense_tensors(tensors)
        tensors = [joined]
    arrays = [integer_view(tensor).numpy() for tensor in tensors if tensor.numel()]
    return [array if array.ndim == 1 and array.flags.c_contiguous else array.ravel(order="K") for array in arrays]


def blocks(arrays: Sequence[Keys]) -> Iterator[Keys]:
    """The arrays cut, and the small ones joined, into arrays of at most `BLOCK` elements, in order up to joining."""
    joined: list[Keys] = []
    length = 0
    for array in arrays:
        if array.size > BLOCK // 4:
            yield from (array[start : start + BLOCK] for start in range(0, array.size, BLOCK))
            continue
        if length + array.size > BLOCK:
            yield np.concatenate(joined)
            joined, length = [], 0
        joined.append(array)
        length += array.size
    if joined:
        yield np.concatenate(joined)


def magnitude(key: int, dtype: torch.dtype) -> Tensor:
    """The float that a key stands for, as a 0-d CPU tensor.

    Args:
        key: an integer between 0 and `largest_key(dtype)`.
        dtype: one of `FLOATS`.
    """
    width = f"i{torch.iinfo(_SAME_WIDTH[dtype]).bits // 8}"
    return torch.from_numpy(np.array(key, dtype=width)).view(dtype)


# Bits of a key, most significant digit first, by the width of a float in bytes. For float32 that makes 3 rounds with
# 32 KiB of 64-bit counts in all.
DIGITS = {2: (8, 7), 4: (11, 10, 10), 8: (11, 11, 11, 10, 10, 10)}

# (shift, bits, prefix) -> how many keys whose bits above shift + bits are the prefix have which next `bits` bits:
# 2**bits counts, int64. The prefix is a 0-d int64 tensor.
Count = Callable[[int, int, Tensor], Tensor]

# In elements; what is made of one piece of a tensor takes about 24 bytes an element while it is counted.
_PIECE = 1 << 20


def kth_largest_by_digits(
    count: Count, k: int | Tensor | Callable[[Tensor], Tensor], *, width: int, device: torch.device | str = "cpu"
) -> Tensor:
    """The key at 0-based index k of all keys in descending order, without waiting for the device.

    Args:
        count: counts the next digit of the keys.
        k: the index, on the device or not; or what makes it from the number of keys, a 0-d int64 tensor, which is
            what the first counts add up to.
        width: of a float, in bytes: 2, 4 or 8.
        device: of the counts.

    Returns:
        The key, a 0-d int64 tensor on the device; 0 where there is no key at all.
    """
    shift = 8 * width - 1
    prefix = remaining = torch.zeros((), dtype=torch.int64, device=device)
    for place, bits in enumerate(DIGITS[width]):
        shift -= bits
        counts = count(shift, bits, prefix)
        if place == 0:
            remaining = k(counts.sum()) if callable(k) else torch.zeros_like(prefix).fill_(k)
        above = counts.sum() - counts.cumsum(0)  # of each digit: how many keys have a larger one
        digit = (above > remaining).sum()  # `above` falls along the digits: the first that is small enough
        remaining = remaining - above.take(digit)
        prefix = (prefix << bits) | digit
    return prefix


def counts_of_arrays(arrays: Sequence[Keys]) -> Count:
    """Counts the digits of what `key_arrays` gives."""

    def count(shift: int, bits: int, prefix: Tensor) -> Tensor:
        counts = np.zeros(1 << bits, np.int64)
        leading = int(prefix)
        for block in blocks(arrays):
            digits = (block & magnitude_mask(block)) >> shift
            digits = digits[digits >> bits == leading] & ((1 << bits) - 1)
            counts += np.bincount(digits, minlength=1 << bits)
        return torch.from_numpy(counts)

    return count


def counts_of_views(views: Sequence[Tensor], device: torch.device) -> Count:
    """Counts the digits of what `integer_view` gives, on any device, with torch's own operations.

    Neither bincount, which waits for the device, nor histc, which counts in float32, is among them.
    """

    def count(shift: int, bits: int, prefix: Tensor) -> Tensor:
        counts = torch.zeros((1 << bits) + 1, dtype=torch.int64, device=device)  # the last: other prefixes
        unit = torch.ones((), dtype=torch.int64, device=device)
        for view in views:
            for piece in torch.split(view.reshape(-1), _PIECE):
                digits = (piece & torch.iinfo(piece.dtype).max).long() >> shift
                places = torch.where(digits >> bits == prefix, digits & ((1 << bits) - 1), 1 << bits)
                counts.scatter_add_(0, places, unit.expand_as(places))
        return counts.narrow(0, 0, 1 << bits)

    return count


def share_of(n: Tensor, fraction: float) -> Tensor:
    """int(n·fraction) of a count that is on a device, without reading it; rounded as Python rounds it."""
    return (n.double() * fraction).long()


def count_nonzero(views: Sequence[Tensor]) -> Tensor:
    """How many coordinates of what `integer_view` gives are neither 0 nor −0: a 0-d int64 tensor."""
    # Twice the key drops the sign bit, by wrapping around, in the width that the view has.
    return torch.stack([torch.count_nonzero(view + view) for view in views]).sum()
