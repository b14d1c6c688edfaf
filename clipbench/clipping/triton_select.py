"""The k-th largest magnitude on a GPU, over a list of tensors, without waiting for it: one read, mostly.

A sorted strided sample gives two keys between which the answer lies, nearly surely; one pass over all tensors counts
the keys above and collects those between; what is collected is searched digit by digit. Where the answer was not
between, the same digit kernels read the tensors themselves: which of the two they read is decided on the device. Each
pass is one launch, over a table of addresses, and all shapes of the launches are known beforehand, so that a CUDA
graph can hold the call.

Digits have 8 bits: a Triton histogram costs in proportion to its bins, and after the first pass it is short work.
"""
# Kernels are written in Triton's language, where an annotation means something else than in Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from clipbench.clipping.bracket import room_inside, sample_ranks, sample_stride

BLOCK = 4096
WARPS = 8
# Of each multiprocessor: enough to cover the latency of memory and of the one atomic a block.
PROGRAMS = 8
# Up to here a sample and its sort cost more than the reads they save.
SMALL = 1 << 18
DIGIT = tl.constexpr(8)
BINS = tl.constexpr(256)

# Places in the state: the index k, the leading bits found so far, whether the bracket held, counts above and between.
K, PREFIX, HELD, ABOVE, BETWEEN = (tl.constexpr(place) for place in range(5))


@triton.jit
def tensor_of(starts, tensors, block):
    """Which tensor a block belongs to, by bisection; `starts` ascends from 0."""
    low = block * 0
    high = low + tensors
    while high - low > 1:
        middle = (low + high) // 2
        before = tl.load(starts + middle) <= block
        low = tl.where(before, middle, low)
        high = tl.where(before, high, middle)
    return low


@triton.jit
def load_keys(table, tensors, tensor, block, width: tl.constexpr, per_block: tl.constexpr, aligned: tl.constexpr):
    """The keys of one block of one tensor, and which of them are there; 16-bit ones as 32-bit integers."""
    address = tl.load(table + tensor)
    size = tl.load(table + 3 * (tensors + 1) + tensor)
    begin = (block - tl.load(table + tensors + 1 + tensor)) * per_block
    places = tl.arange(0, per_block)
    there = places < size - begin
    if width == 2:
        pointer = address.to(tl.pointer_type(tl.int16)) + begin
    elif width == 4:
        pointer = address.to(tl.pointer_type(tl.int32)) + begin
    else:
        pointer = address.to(tl.pointer_type(tl.int64)) + begin
    if aligned:
        # Without a mask, and known to be aligned, 16 bytes are loaded at once.
        if size - begin >= per_block:
            keys = tl.load(tl.multiple_of(pointer, 16) + places)
        else:
            keys = tl.load(pointer + places, mask=there, other=0)
    else:
        keys = tl.load(pointer + places, mask=there, other=0)
    if width == 2:
        keys = keys.to(tl.int32) & 0x7FFF
    elif width == 4:
        keys = keys & 0x7FFFFFFF
    else:
        keys = keys & 0x7FFFFFFFFFFFFFFF
    return keys, there


@triton.jit(do_not_specialize=["tensors", "m", "stride"])
def take_sample(table, tensors, sample, m, stride, width: tl.constexpr, per_block: tl.constexpr):
    """Every stride-th key of all coordinates."""
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
    if width == 2:
        keys = tl.load(address.to(tl.pointer_type(tl.int16)), mask=there, other=0).to(tl.int32) & 0x7FFF
    elif width == 4:
        keys = tl.load(address.to(tl.pointer_type(tl.int32)), mask=there, other=0) & 0x7FFFFFFF
    else:
        keys = tl.load(address.to(tl.pointer_type(tl.int64)), mask=there, other=0) & 0x7FFFFFFFFFFFFFFF
    tl.store(sample + index, keys, mask=there)


@triton.jit(do_not_specialize=["tensors", "m", "first", "last", "room"])
def count_and_collect(
    table, tensors, sample, m, first, last, state, inside, room,
    width: tl.constexpr, per_block: tl.constexpr, aligned: tl.constexpr,
):  # fmt: skip
    """Count the keys above the bracket and collect those in it; what finds no room is counted all the same."""
    low = tl.load(sample + first, mask=first >= 0, other=0)
    if width == 8:
        high = tl.load(sample + last, mask=last < m, other=0x7FFFFFFFFFFFFFFF)
    else:
        high = tl.load(sample + last, mask=last < m, other=0x7FFFFFFF)
    blocks = tl.load(table + 2 * tensors + 1)
    share = tl.cdiv(blocks, tl.num_programs(0))
    begin = tl.program_id(0) * share
    end = tl.minimum(begin + share, blocks)
    tensor = tensor_of(table + tensors + 1, tensors, begin)
    above = tl.zeros([per_block], tl.int32)
    for block in range(begin, end):
        while tl.load(table + tensors + 2 + tensor) <= block:
            tensor += 1
        keys, there = load_keys(table, tensors, tensor, block, width, per_block, aligned)
        above += (there & (keys > high)).to(tl.int32)
        between = there & (keys >= low) & (keys <= high)
        order = tl.cumsum(between.to(tl.int32), 0)
        count = tl.sum(between.to(tl.int32), 0)
        if count > 0:
            slot = tl.atomic_add(state + BETWEEN, count.to(tl.int64)) + order - 1
            tl.store(inside + slot, keys, mask=between & (slot < room))
    tl.atomic_add(state + ABOVE, tl.sum(above.to(tl.int64), 0))


@triton.jit(do_not_specialize=["room"])
def judge_bracket(state, short_table, room, per_block: tl.constexpr):
    """If the answer is among what was collected, go on there, with the index it has there."""
    place = tl.load(state + K) - tl.load(state + ABOVE)
    between = tl.load(state + BETWEEN)
    held = (place >= 0) & (place < between) & (between <= room)
    if held:
        tl.store(state + K, place)
        tl.store(state + HELD, 1)
        tl.store(short_table + 3, tl.cdiv(between, per_block))
        tl.store(short_table + 6, between)


@triton.jit(do_not_specialize=["tensors", "shift"])
def count_digit(
    table, tensors, short_table, state, counts, shift,
    width: tl.constexpr, inner: tl.constexpr, per_block: tl.constexpr, aligned: tl.constexpr,
):  # fmt: skip
    """Count the next digit of the keys that begin with the prefix, in what was collected if the bracket held."""
    if tl.load(state + HELD) != 0:
        count_digit_in(short_table, 1, state, counts, shift, inner, per_block, True)
    else:
        count_digit_in(table, tensors, state, counts, shift, width, per_block, aligned)


@triton.jit
def count_digit_in(
    table, tensors, state, counts, shift, width: tl.constexpr, per_block: tl.constexpr, aligned: tl.constexpr
):  # fmt: skip
    prefix = tl.load(state + PREFIX)
    blocks = tl.load(table + 2 * tensors + 1)
    share = tl.cdiv(blocks, tl.num_programs(0))
    begin = tl.program_id(0) * share
    end = tl.minimum(begin + share, blocks)
    found = tl.zeros([BINS], tl.int32)
    if begin < end:
        tensor = tensor_of(table + tensors + 1, tensors, begin)
        for block in range(begin, end):
            while tl.load(table + tensors + 2 + tensor) <= block:
                tensor += 1
            keys, there = load_keys(table, tensors, tensor, block, width, per_block, aligned)
            digits = keys >> shift
            counted = there & ((digits >> DIGIT) == prefix)
            found += tl.histogram((digits & (BINS - 1)).to(tl.int32), BINS, mask=counted)
    tl.atomic_add(counts + tl.arange(0, BINS), found.to(tl.int64), mask=found > 0)


@triton.jit
def choose_digit(state, counts):
    """Append to the prefix the digit that the k-th largest key has, and make k its index among those that share it."""
    places = tl.arange(0, BINS)
    found = tl.load(counts + places)
    above = tl.sum(found, 0) - tl.cumsum(found, 0)
    k = tl.load(state + K)
    digit = tl.sum((above > k).to(tl.int64), 0)
    tl.store(state + K, k - tl.sum(tl.where(places == digit, above, 0), 0))
    tl.store(state + PREFIX, (tl.load(state + PREFIX) << DIGIT) | digit)


def kth_largest_on_gpu(views: Sequence[Tensor], k: int | Tensor) -> Tensor:
    """The key at 0-based index k of all keys in descending order.

    Args:
        views: as `integer_view` gives them, of one integer type, on one device, none empty; one with gaps or overlaps
            in its memory is copied.
        k: at least 0 and below the number of coordinates; a 0-d int64 tensor stays on the device, and makes the
            tensors be read four times (for float32) instead of once.

    Returns:
        The key, a 0-d int64 tensor on the device.
    """
    device = views[0].device
    views = [view.contiguous() for view in views]  # one without gaps but in another order is copied as well
    on_device = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with on_device:
        return _kth_largest(views, k, device)


def _kth_largest(views: list[Tensor], k: int | Tensor, device: torch.device) -> Tensor:
    width, n, tensors = views[0].itemsize, sum(view.numel() for view in views), len(views)
    aligned = all(view.data_ptr() % 16 == 0 for view in views)
    table, blocks = _table_of(views, device)
    programs = min(blocks, _programs(device))
    state = torch.zeros(5, dtype=torch.int64, device=device)
    state[: K.value + 1].fill_(k)
    short_table, inner = table, width
    inside = None  # kept until the launches that read it through the table are made
    if isinstance(k, int) and n > SMALL:
        wide = torch.int64 if width == 8 else torch.int32
        stride = sample_stride(n)
        m = -(-n // stride)
        ranks = sample_ranks(k, n=n, m=m)
        room, inner = room_inside(ranks, n=n, m=m), wide.itemsize
        sample, inside = (torch.empty(size, dtype=wide, device=device) for size in (m, room))
        short_table, _ = _table_of([inside], device)
        constants = {"width": width, "per_block": BLOCK}
        take_sample[(triton.cdiv(m, 1024),)](table, tensors, sample, m, stride, width=width, per_block=1024)
        sample = sample.sort().values
        count_and_collect[(programs,)](
            table, tensors, sample, m, *ranks, state, inside, room, **constants, aligned=aligned, num_warps=WARPS
        )
        judge_bracket[(1,)](state, short_table, room, per_block=BLOCK)
    bits = 8 * width - 1
    counts = torch.zeros((-(-bits // 8), BINS.value), dtype=torch.int64, device=device)
    for place, found in enumerate(counts):
        shift = 8 * (len(counts) - 1 - place)
        constants = {"width": width, "inner": inner, "per_block": BLOCK, "aligned": aligned}
        count_digit[(programs,)](table, tensors, short_table, state, found, shift, **constants, num_warps=WARPS)
        choose_digit[(1,)](state, found)
    del inside
    return state[PREFIX.value]


def _programs(device: torch.device) -> int:
    if device.type != "cuda":
        return 3  # Triton's interpreter: more than one, so that they share the work
    return PROGRAMS * torch.cuda.get_device_properties(device).multi_processor_count


def _table_of(views: Sequence[Tensor], device: torch.device) -> tuple[Tensor, int]:
    """Four rows of tensors + 1 numbers, on the device: addresses, first blocks, first coordinates, sizes.

    The second and third end with the totals. How many blocks there are is returned as well.
    """
    addresses, blocks, offsets, sizes = [], [0], [0], []
    for view in views:
        addresses.append(view.data_ptr())
        sizes.append(view.numel())
        blocks.append(blocks[-1] + -(-view.numel() // BLOCK))
        offsets.append(offsets[-1] + view.numel())
    numbers = [*addresses, 0, *blocks, *offsets, *sizes, 0]
    if device.type != "cuda":
        return torch.tensor(numbers), blocks[-1]
    if torch.cuda.is_current_stream_capturing():
        # A replayed graph would read host memory again, which is long gone; a kernel's own arguments stay with it.
        table = torch.zeros(len(numbers), dtype=torch.int64, device=device)
        torch._foreach_add_(table.unbind(), numbers)
        return table, blocks[-1]
    return torch.tensor(numbers).pin_memory().to(device, non_blocking=True), blocks[-1]
