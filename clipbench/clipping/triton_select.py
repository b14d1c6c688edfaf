"""The k-th largest magnitude on a GPU, over a list of tensors, without waiting for it: one read, mostly.

A sorted strided sample gives two keys between which the answer lies, nearly surely; one pass over all tensors counts
the keys above and collects those between; what is collected is searched digit by digit. Where the answer was not
between, the same digit kernel reads the tensors themselves: which of the two it reads is decided on the device. How
many coordinates lie above the answer comes with it, from its rank.

Each pass is one launch, over a table of addresses, and all shapes of the launches are known beforehand, so that a
CUDA graph can hold the call. All that the host has to say goes to the device in one copy, the sheet; what little has
to be decided between two passes, each program of the later one works out for itself.
"""
# Kernels are written in Triton's language, where an annotation means something else than in Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from clipbench.clipping.bracket import room_inside, sample_ranks, sample_stride
from clipbench.clipping.keys import INFINITY
from clipbench.clipping.triton_digits import conclude, count_digit
from clipbench.clipping.triton_sheet import (
    ABOVE,
    BETWEEN,
    BINS,
    COUNTS,
    KEY,
    LARGER,
    NANS,
    as_keys,
    load_block,
    pointer_to,
)
from clipbench.clipping.triton_table import LANES, ROWS, WARPS, on, programs, table_of, tensor_of, to_device

# Up to here a sample and its sort cost more than they save: everything is collected.
SMALL = 1 << 18


@triton.jit(do_not_specialize=["tensors", "m", "stride"])
def take_sample(sheet, tensors, sample, m, stride, width: tl.constexpr, per_block: tl.constexpr):
    """Every stride-th key of all coordinates."""
    table = sheet + COUNTS + BINS * width + 1
    index = tl.program_id(0) * per_block + tl.arange(0, per_block)
    there = index < m
    place = index.to(tl.int64) * stride
    offsets = table + 2 * (tensors + 1)
    low = tl.zeros([per_block], tl.int32)
    high = low + tensors
    span = tensors
    while span > 1:  # all lanes bisect as often as the longest needs
        middle = (low + high) // 2
        before = tl.load(offsets + middle, mask=there, other=0) <= place
        inner = high - low > 1
        low = tl.where(inner & before, middle, low)
        high = tl.where(inner & (before == 0), middle, high)
        span = (span + 1) // 2
    within = place - tl.load(offsets + low, mask=there, other=0)
    address = tl.load(table + low, mask=there, other=0) + within * width
    keys = as_keys(tl.load(pointer_to(address, width), mask=there, other=0), width)
    tl.store(sample + index, keys, mask=there)


@triton.jit(do_not_specialize=["tensors", "m", "first", "last", "room"])
def count_and_collect(
    sheet, tensors, sample, m, first, last, inside, room,
    width: tl.constexpr, infinity: tl.constexpr, rows: tl.constexpr, lanes: tl.constexpr,
):  # fmt: skip
    """Count the keys above the bracket and collect those in it; what finds no room is counted all the same."""
    table = sheet + COUNTS + BINS * width + 1
    unsigned: tl.constexpr = tl.uint64 if width == 8 else tl.uint32
    low = tl.load(sample + first, mask=first >= 0, other=0)
    high = tl.load(sample + last, mask=last < m, other=0x7FFFFFFFFFFFFFFF if width == 8 else 0x7FFFFFFF)
    span = (high - low).to(unsigned, bitcast=True)
    blocks = tl.load(table + 2 * tensors + 1)
    share = tl.cdiv(blocks, tl.num_programs(0))
    begin = tl.program_id(0) * share
    end = tl.minimum(begin + share, blocks)
    above = tl.zeros([lanes], tl.int32)
    nans = tl.zeros([lanes], tl.int32)
    if begin < end:
        tensor = tensor_of(table + tensors + 1, tensors, begin)
        for block in range(begin, end):
            while tl.load(table + tensors + 2 + tensor) <= block:
                tensor += 1
            keys = load_block(table, tensors, tensor, block, width, rows, lanes)
            above += tl.sum((keys > high).to(tl.int32), 0)
            nans += tl.sum((keys > infinity).to(tl.int32), 0)
            # Below `low` the difference wraps around to a large number.
            between = (keys - low).to(unsigned, bitcast=True) <= span
            # Rows lie in one thread each: only the threads' sums have to be added up across threads.
            order = tl.cumsum(between.to(tl.int32), 0)
            hits = tl.sum(between.to(tl.int32), 0)
            count = tl.sum(hits, 0)
            start = tl.atomic_add(sheet + BETWEEN, count.to(tl.int64), sem="relaxed")
            if start + count <= room:
                places = (tl.cumsum(hits, 0) - hits)[None, :] + order - 1
                tl.store(inside + start + places, keys, mask=between)
        tl.atomic_add(sheet + ABOVE, tl.sum(above.to(tl.int64), 0), sem="relaxed")
        tl.atomic_add(sheet + NANS, tl.sum(nans.to(tl.int64), 0), sem="relaxed")


def kth_largest_on_gpu(tensors: Sequence[Tensor], k: int | Tensor) -> Tensor:
    """The key at 0-based index k of all keys in descending order, as `kth_largest_and_larger` finds it.

    Args:
        tensors: as there, or as `integer_view` gives them.
        k: as there.

    Returns:
        The key, a 0-d int64 tensor on the device.
    """
    return kth_largest_and_larger(tensors, k)[0]


def kth_largest_and_larger(tensors: Sequence[Tensor], k: int | Tensor) -> tuple[Tensor, Tensor]:
    """The key at 0-based index k of all keys in descending order, and how many coordinates are larger.

    Args:
        tensors: real, of one dtype, on one device, none empty; one that is not contiguous is copied.
        k: at least 0 and below the number of coordinates; a 0-d int64 tensor stays on the device, and makes the
            tensors be read five times (for float32) instead of once.

    Returns:
        (key, larger), 0-d int64 tensors on the device. A NaN is not larger than a number, nor a number than a NaN.
    """
    device = tensors[0].device
    tensors = [tensor if tensor.is_contiguous() else tensor.detach().contiguous() for tensor in tensors]
    with on(device):
        return _kth_largest(tensors, k, device)


def _kth_largest(tensors: list[Tensor], k: int | Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    width, n = tensors[0].itemsize, sum(tensor.numel() for tensor in tensors)
    wide = torch.int64 if width == 8 else torch.int32
    infinity = INFINITY.get(tensors[0].dtype, torch.iinfo(wide).max)
    head = COUNTS.value + BINS.value * width
    table, blocks = table_of(tensors)
    sheet = to_device([k if isinstance(k, int) else 0, *table], device, zeros=head)
    if isinstance(k, Tensor):
        sheet[head].copy_(k)
    grid = (min(blocks, programs(device)),)
    shape = {"rows": ROWS, "lanes": LANES, "num_warps": WARPS}
    if isinstance(k, int) and n > SMALL:
        stride = sample_stride(n)
        m = -(-n // stride)
        ranks = sample_ranks(k, n=n, m=m)
        room = room_inside(ranks, n=n, m=m)
        sample = torch.empty(m, dtype=wide, device=device)
        take_sample[(triton.cdiv(m, 1024),)](sheet, len(tensors), sample, m, stride, width=width, per_block=1024)
        sample = sample.sort().values
        inside = torch.empty(room, dtype=wide, device=device)
    else:  # everything is between, and finds room or does not
        m, ranks, room = 0, (-1, 0), n if n <= SMALL else 0
        sample = inside = torch.empty(max(room, 1), dtype=wide, device=device)
    count_and_collect[grid](
        sheet, len(tensors), sample, m, *ranks, inside, room, width=width, infinity=infinity, **shape
    )
    for digit in range(width):
        count_digit[grid](sheet, len(tensors), inside, room, digit, width=width, **shape)
    conclude[(1,)](sheet, width=width, infinity=infinity)
    return sheet[KEY.value], sheet[LARGER.value]
