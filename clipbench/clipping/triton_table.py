"""A list of tensors as a table of addresses and sizes on a GPU, so that one launch works on all of them in blocks."""
# Kernels are written in Triton's language, where an annotation means something else than in Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

# A block is 32 rows of a coordinate for each of a program's 128 threads. A thread loads 4 bytes at a time: with 16
# the collecting store, whose places are scattered, would have every block change hands through shared memory.
WARPS = 4
LANES = 32 * WARPS
ROWS = 32
BLOCK = ROWS * LANES
# Of each multiprocessor: more than can run at once, and so many that the last of them to run do not hold up the rest.
PROGRAMS = 24


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


def on(device: torch.device) -> AbstractContextManager[object]:
    """Launches go to the current device, whichever the tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def programs(device: torch.device) -> int:
    """How many programs share the blocks of a pass."""
    if device.type != "cuda":
        return 3  # Triton's interpreter: more than one, so that they share the work
    return PROGRAMS * torch.cuda.get_device_properties(device).multi_processor_count


def table_of(tensors: Sequence[Tensor]) -> tuple[list[int], int]:
    """Four rows of tensors + 1 numbers, addresses, first blocks, first coordinates and sizes, and the sum of blocks.

    The second and third row end with the totals.
    """
    sizes = [tensor.numel() for tensor in tensors]
    blocks = [0, *accumulate(-(-size // BLOCK) for size in sizes)]
    addresses = [tensor.data_ptr() for tensor in tensors]
    return [*addresses, 0, *blocks, 0, *accumulate(sizes), *sizes, 0], blocks[-1]


def to_device(numbers: Sequence[int], device: torch.device, *, zeros: int = 0) -> Tensor:
    """So many zeros and then the numbers, int64, on the device, without waiting for it."""
    size = zeros + len(numbers)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        # A replayed graph would read host memory again, which is long gone; a kernel's own arguments stay with it.
        filled = torch.zeros(size, dtype=torch.int64, device=device)
        torch._foreach_add_(filled[zeros:].unbind(), list(numbers))
        return filled
    host = torch.zeros(size, dtype=torch.int64, pin_memory=device.type == "cuda")
    host.numpy()[zeros:] = numbers  # NumPy takes a list several times as fast as torch
    return host.to(device, non_blocking=True)
