"""What every pass of the selection on a GPU shares: the sheet that holds its numbers, and how keys are read."""
# Kernels are written in Triton's language, where an annotation means something else than in Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

import triton
import triton.language as tl

# Digits have 8 bits: a Triton histogram costs in proportion to its bins, and after the first pass it is short work.
DIGIT = tl.constexpr(8)
BINS = tl.constexpr(256)

# The sheet: counts above and between, of NaNs, the two results, a pair (index, leading bits) for each digit found;
# from COUNTS on the counts of each digit, one digit for each byte of a key; then the index k and the table.
ABOVE, BETWEEN, NANS, KEY, LARGER, FOUND, COUNTS = (tl.constexpr(place) for place in (0, 1, 2, 3, 4, 6, 32))


@triton.jit
def pointer_to(address, width: tl.constexpr):
    """The address as a pointer to integers of so many bytes."""
    if width == 2:
        pointer = address.to(tl.pointer_type(tl.int16))
    elif width == 4:
        pointer = address.to(tl.pointer_type(tl.int32))
    else:
        pointer = address.to(tl.pointer_type(tl.int64))
    return pointer


@triton.jit
def as_keys(bits, width: tl.constexpr):
    """The bits of floats without their sign; 16-bit ones as 32-bit integers."""
    if width == 2:
        keys = bits.to(tl.int32) & 0x7FFF
    elif width == 4:
        keys = bits & 0x7FFFFFFF
    else:
        keys = bits & 0x7FFFFFFFFFFFFFFF
    return keys


@triton.jit
def load_keys(pointer, left, width: tl.constexpr, rows: tl.constexpr, lanes: tl.constexpr):
    """The keys of a block, with −1, which no key is, where the tensor has ended."""
    places = tl.arange(0, rows)[:, None] * lanes + tl.arange(0, lanes)[None, :]
    if left >= rows * lanes:
        keys = as_keys(tl.load(pointer + places), width)
    else:
        there = places < left
        keys = tl.where(there, as_keys(tl.load(pointer + places, mask=there, other=0), width), -1)
    return keys


@triton.jit
def load_block(table, tensors, tensor, block, width: tl.constexpr, rows: tl.constexpr, lanes: tl.constexpr):
    """The keys of one block of a tensor of the table, numbered over all tensors."""
    begin = (block - tl.load(table + tensors + 1 + tensor)) * (rows * lanes)
    left = tl.load(table + 3 * (tensors + 1) + tensor) - begin
    return load_keys(pointer_to(tl.load(table + tensor), width) + begin, left, width, rows, lanes)
