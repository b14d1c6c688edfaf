"""The search on a GPU digit by digit: one launch counts a digit, and each program of the next works out which it is."""
# Kernels are written in Triton's language, where an annotation means something else than in Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

import triton
import triton.language as tl

from clipbench.clipping.triton_sheet import (
    ABOVE,
    BETWEEN,
    BINS,
    COUNTS,
    DIGIT,
    FOUND,
    KEY,
    LARGER,
    NANS,
    load_block,
    load_keys,
)
from clipbench.clipping.triton_table import tensor_of


@triton.jit
def bracket_held(sheet, room, width: tl.constexpr):
    """Whether the answer is among what was collected."""
    place = tl.load(sheet + COUNTS + BINS * width) - tl.load(sheet + ABOVE)
    between = tl.load(sheet + BETWEEN)
    return (place >= 0) & (place < between) & (between <= room)


@triton.jit
def found_before(sheet, digit, held, width: tl.constexpr):
    """(k, prefix) ahead of a digit: the leading bits of the k-th largest key, and its index among keys with these."""
    if digit == 0:
        k = tl.load(sheet + COUNTS + BINS * width)
        if held:
            k -= tl.load(sheet + ABOVE)
        prefix = k * 0
    else:
        before = sheet + FOUND + 2 * (digit - 1)
        k = tl.load(before)
        prefix = tl.load(before + 1)
        bins = tl.arange(0, BINS)
        counts = tl.load(sheet + COUNTS + BINS * (digit - 1) + bins)
        above = tl.sum(counts, 0) - tl.cumsum(counts, 0)
        chosen = tl.sum((above > k).to(tl.int64), 0)
        k -= tl.sum(tl.where(bins == chosen, above, 0), 0)
        prefix = (prefix << DIGIT) | chosen
    return k, prefix


@triton.jit
def digit_counts(keys, shift, prefix):
    """How many keys have each value of the digit above `shift`, among those whose higher digits are the prefix."""
    digits = tl.reshape(keys, [keys.numel]) >> shift  # of −1: no prefix
    return tl.histogram((digits & (BINS - 1)).to(tl.int32), BINS, mask=(digits >> DIGIT) == prefix)


@triton.jit(do_not_specialize=["tensors", "room", "digit"])
def count_digit(
    sheet, tensors, inside, room, digit, width: tl.constexpr, rows: tl.constexpr, lanes: tl.constexpr
):  # fmt: skip
    """Count the next digit of the keys that begin with the prefix, in what was collected if the bracket held."""
    table = sheet + COUNTS + BINS * width + 1
    held = bracket_held(sheet, room, width)
    k, prefix = found_before(sheet, digit, held, width)
    if tl.program_id(0) == 0:  # for the next launch; this one reads the pair before
        tl.store(sheet + FOUND + 2 * digit, k)
        tl.store(sheet + FOUND + 2 * digit + 1, prefix)
    shift = DIGIT * (width - 1 - digit)
    blocks = tl.load(table + 2 * tensors + 1)
    if held:
        blocks = tl.cdiv(tl.load(sheet + BETWEEN), rows * lanes)
    share = tl.cdiv(blocks, tl.num_programs(0))
    begin = tl.program_id(0) * share
    end = tl.minimum(begin + share, blocks)
    tally = tl.zeros([BINS], tl.int32)
    if begin < end:
        if held:
            for block in range(begin, end):
                left = tl.load(sheet + BETWEEN) - block * (rows * lanes)
                pointer = inside + block * (rows * lanes)
                tally += digit_counts(load_keys(pointer, left, 8 if width == 8 else 4, rows, lanes), shift, prefix)
        else:
            tensor = tensor_of(table + tensors + 1, tensors, begin)
            for block in range(begin, end):
                while tl.load(table + tensors + 2 + tensor) <= block:
                    tensor += 1
                tally += digit_counts(load_block(table, tensors, tensor, block, width, rows, lanes), shift, prefix)
        counts = sheet + COUNTS + BINS * digit + tl.arange(0, BINS)
        tl.atomic_add(counts, tally.to(tl.int64), mask=tally > 0, sem="relaxed")


@triton.jit
def conclude(sheet, width: tl.constexpr, infinity: tl.constexpr):
    """Write down the key, and how many are larger without being NaN: none are larger than a NaN."""
    k, key = found_before(sheet, width, False, width)
    larger = tl.load(sheet + COUNTS + BINS * width) - k - tl.load(sheet + NANS)
    tl.store(sheet + KEY, key)
    tl.store(sheet + LARGER, tl.where(key > infinity, 0, larger))
