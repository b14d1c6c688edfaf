"""The k-th largest magnitude digit by digit: how many coordinates have which leading bits, then which next bits.

Exact whatever the numbers are, with a few kilobytes of memory. Counts add up over blocks of memory and over
processes, so it serves where a sample missed, on devices without a kernel of their own, and on sharded tensors.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from clipbench.clipping.keys import Keys, blocks, magnitude_mask

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
        one = torch.ones((), dtype=torch.int64, device=device)
        for view in views:
            for piece in torch.split(view.reshape(-1), _PIECE):
                digits = (piece & torch.iinfo(piece.dtype).max).long() >> shift
                places = torch.where(digits >> bits == prefix, digits & ((1 << bits) - 1), 1 << bits)
                counts.scatter_add_(0, places, one.expand_as(places))
        return counts.narrow(0, 0, 1 << bits)

    return count


def share_of(n: Tensor, fraction: float) -> Tensor:
    """int(n·fraction) of a count that is on a device, without reading it; rounded as Python rounds it."""
    return (n.double() * fraction).long()


def count_nonzero(views: Sequence[Tensor]) -> Tensor:
    """How many coordinates of what `integer_view` gives are neither 0 nor −0: a 0-d int64 tensor."""
    # Twice the key drops the sign bit, by wrapping around, in the width that the view has.
    return torch.stack([torch.count_nonzero(view + view) for view in views]).sum()
