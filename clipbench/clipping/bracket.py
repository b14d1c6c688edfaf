"""The k-th largest magnitude on a CPU: one integer pass over the memory of the tensors, which copies almost nothing.

A strided sample says between which two keys the answer lies, nearly surely; one pass counts the keys above and
collects those between. If the answer is not between them after all, radix selection finds it: a sample costs time,
never exactness. It is the idea of Floyd and Rivest (1975), Communications of the ACM 18(3), on one sample.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from clipbench.clipping.keys import BLOCK, Keys, blocks, counts_of_arrays, kth_largest_by_digits, magnitude_mask

# Up to here NumPy's partition of a copy is about as fast as sample and pass.
SMALL = 8_192
# Half the width of the bracket, in standard errors of the sample's rank: one call in 16,000 misses and then takes some
# four times as long, while a fifth standard error would make every call collect a quarter more.
DEVIATIONS = 4.0

# NumPy has no bfloat16, and is slow with float16.
_FLOATS = {np.dtype(np.int32): np.dtype(np.float32), np.dtype(np.int64): np.dtype(np.float64)}


def kth_largest_and_larger(arrays: Sequence[Keys], k: int, *, infinity: int) -> tuple[int, int]:
    """The key at 0-based index k of all keys in descending order, and how many coordinates are larger.

    The count costs no pass of its own: it follows from the rank. A NaN is not larger than a number, nor a number than
    a NaN.

    Args:
        arrays: as `key_arrays` gives them, of one integer type; sign bits are ignored.
        k: at least 0 and below the number of coordinates.
        infinity: the key of an infinite coordinate; what is above it is a NaN.
    """
    n, mask = sum(array.size for array in arrays), magnitude_mask(arrays[0])
    if n <= SMALL:
        keys, place = np.concatenate(arrays) & mask, n - 1 - k
        keys.partition(place)
        return int(keys[place]), _count_larger(keys[place + 1 :], int(keys[place]), infinity)
    result = _within(arrays, k, *_bracket(arrays, k, n=n), infinity)
    if result is not None:
        return result
    key = int(kth_largest_by_digits(counts_of_arrays(arrays), k, width=arrays[0].itemsize))
    return key, sum(_count_larger(block & mask, key, infinity) for block in blocks(arrays))


def _count_larger(keys: Keys, key: int, infinity: int) -> int:
    return int(np.count_nonzero((keys > key) & (keys <= infinity)))


def sample_stride(n: int) -> int:
    """How far apart the coordinates of the sample lie.

    A prime: rows of a weight matrix are seldom a multiple of it long, so that a sample sees every column.
    """
    return _next_prime(max(1, n // min(max(n // 64, 4096), 65_536)))


@lru_cache
def _next_prime(at_least: int) -> int:
    candidate = max(2, at_least)
    while any(candidate % divisor == 0 for divisor in range(2, math.isqrt(candidate) + 1)):
        candidate += 1
    return candidate


def sample_ranks(k: int, *, n: int, m: int) -> tuple[int, int]:
    """Ranks (ascending, from 0) in a sorted sample of m between which the k-th largest of n lies, nearly surely.

    (1−q)·m ± 4·(sqrt(q(1−q)m) + 1) with q = k/n; they may lie outside the sample, which then says nothing there.
    """
    share = (k + 0.5) / n
    reach = DEVIATIONS * (math.sqrt(share * (1 - share) * m) + 1)
    return math.floor(m * (1 - share) - reach), math.ceil(m * (1 - share) + reach)


def room_inside(ranks: tuple[int, int], *, n: int, m: int) -> int:
    """How many coordinates between the two are still taken for chance: twice what the sample says, and a block."""
    return 2 * math.ceil(n * (ranks[1] - ranks[0]) / m) + BLOCK


def _bracket(arrays: Sequence[Keys], k: int, *, n: int) -> tuple[int, int, int]:
    """(lowest key, highest key, room): the answer lies between them, with fewer than `room` others."""
    mask, stride = magnitude_mask(arrays[0]), sample_stride(n)
    pieces, start = [], 0
    for array in arrays:
        pieces.append(array[start::stride])
        start = (start - array.size) % stride
    sample = np.concatenate(pieces) & mask
    m = sample.size
    first, last = sample_ranks(k, n=n, m=m)
    sample.partition([max(first, 0), min(last, m - 1)])
    low = int(sample[first]) if first >= 0 else 0
    high = int(sample[last]) if last < m else mask
    return low, high, room_inside((first, last), n=n, m=m)


def _within(arrays: Sequence[Keys], k: int, low: int, high: int, room: int, infinity: int) -> tuple[int, int] | None:
    """The k-th largest key and how many are larger, if it is between low and high with at most `room`; else None."""
    if low == high:
        return _is_it(arrays, k, low, infinity)
    dtype = arrays[0].dtype
    mask, lowest, highest = (dtype.type(key) for key in (magnitude_mask(arrays[0]), low, high))
    masked, reaches, exceeds = np.empty(BLOCK, dtype), np.empty(BLOCK, np.bool_), np.empty(BLOCK, np.bool_)
    # Compared as floats, a NaN exceeds nothing: it is collected with those between, and needs no look of its own. Where
    # a processor takes subnormal floats for zeros, some of them are collected as well, and still none is lost.
    floats: Any = _FLOATS.get(dtype, dtype)
    compared, limit = masked.view(floats), highest.view(floats)
    inside = np.empty(room, dtype)
    above = between = 0
    for block in blocks(arrays):
        size = block.size
        keys = np.bitwise_and(block, mask, out=masked[:size])
        at_least = np.greater_equal(keys, lowest, out=reaches[:size])
        beyond = np.greater(compared[:size], limit, out=exceeds[:size])
        if floats == dtype:
            beyond &= keys <= infinity
        above += int(np.count_nonzero(beyond))
        places = np.flatnonzero(np.logical_xor(at_least, beyond, out=at_least))
        if between + places.size > room:
            return None
        inside[between : between + places.size] = keys.take(places)
        between += places.size
    keys = inside[:between]
    nans = int(np.count_nonzero(keys > infinity))
    place = between - 1 - (k if k < nans else k - above)  # among those inside, ascending, NaNs last
    if not 0 <= place < between or (place >= between - nans) != (k < nans):
        return None
    keys.partition(place)
    key = int(keys[place])
    return key, above * (key <= infinity) + _count_larger(keys[place + 1 :], key, infinity)


def _is_it(arrays: Sequence[Keys], k: int, key: int, infinity: int) -> tuple[int, int] | None:
    """The key and how many are larger, if it is the k-th largest; else None. Nothing is collected."""
    dtype = arrays[0].dtype
    mask, candidate = dtype.type(magnitude_mask(arrays[0])), dtype.type(key)
    masked = np.empty(BLOCK, dtype)
    above = equal = nans = 0
    for block in blocks(arrays):
        keys = np.bitwise_and(block, mask, out=masked[: block.size])
        equal += int(np.count_nonzero(keys == candidate))
        larger = int(np.count_nonzero(keys > candidate))
        if larger and keys.max() > infinity:
            nans += int(np.count_nonzero(keys > max(key, infinity)))
        above += larger
    return (key, above - nans) if above <= k < above + equal else None
