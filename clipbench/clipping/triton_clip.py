"""The clip itself on a GPU: one launch for a list of tensors, which reads each once and writes what changes.

torch's clamp between two tensors makes five passes, and each tensor of the list is a launch or several.
"""
# Kernels are written in Triton's language, where an annotation means something else than in Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from clipbench.clipping.triton_table import BLOCK, WARPS, on, programs, table_of, tensor_of, to_device

ELEMENTS = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}


@triton.jit
def clip_block(values, moments, there, limit, weight, element: tl.constexpr, shift: tl.constexpr):
    """Clip a block where `values` points to, and move the second moment; blocks that nothing changes are only read."""
    work: tl.constexpr = tl.float64 if element == tl.float64 else tl.float32
    raw = tl.load(values, mask=there).to(work)
    changes = (tl.abs(raw) <= limit) == 0  # of a NaN as well, and where the limit is one
    if there is not None:
        changes = changes & there
    if tl.max(changes.to(tl.int32), 0) > 0:
        clipped = tl.where(changes & (raw == raw), tl.where(raw < 0, -limit, limit), raw)
        tl.store(values, clipped.to(element), mask=there)
        if shift:
            before = tl.load(moments, mask=there).to(work)
            after = before + weight * (raw - clipped) * (raw + clipped)
            tl.store(moments, tl.where(changes, after, before).to(element), mask=there)


@triton.jit(do_not_specialize=["tensors", "weight"])
def clip_all(
    table, tensors, threshold, weight,
    element: tl.constexpr, shift: tl.constexpr, aligned: tl.constexpr, per_block: tl.constexpr,
):  # fmt: skip
    """a ← sign(a)·min(|a|, τ) in every tensor of the table, and with `shift` v ← v + weight·(g−c)(g+c)."""
    work: tl.constexpr = tl.float64 if element == tl.float64 else tl.float32
    limit = tl.load(threshold).to(work)
    blocks = tl.load(table + 2 * tensors + 1)
    share = tl.cdiv(blocks, tl.num_programs(0))
    start = tl.program_id(0) * share
    end = tl.minimum(start + share, blocks)
    places = tl.arange(0, per_block)
    if start < end:
        tensor = tensor_of(table + tensors + 1, tensors, start)
        for block in range(start, end):
            while tl.load(table + tensors + 2 + tensor) <= block:
                tensor += 1
            begin = (block - tl.load(table + tensors + 1 + tensor)) * per_block
            left = tl.load(table + 3 * (tensors + 1) + tensor) - begin
            values = tl.load(table + tensor).to(tl.pointer_type(element)) + begin
            moments = values
            if shift:
                moments = tl.load(table + 4 * (tensors + 1) + tensor).to(tl.pointer_type(element)) + begin
            if aligned:  # 16 bytes are read and written at once then
                values = tl.multiple_of(values, 16)
                moments = tl.multiple_of(moments, 16)
            if left >= per_block:
                clip_block(values + places, moments + places, None, limit, weight, element, shift)
            else:
                clip_block(values + places, moments + places, places < left, limit, weight, element, shift)


def clip_on_gpu(
    tensors: Sequence[Tensor], threshold: Tensor, *, moments: Sequence[Tensor] = (), weight: float = 0.0
) -> None:
    """Clip the tensors at a threshold that is on the device, in place, and move their second moments, if given.

    c = sign(g)·min(|g|, τ),    v ← v + weight·(g − c)(g + c),    g ← c

    The difference of squares is taken as a product, in float32 for narrower ones, and rounded once: a second moment
    whose coordinate is not clipped keeps its bits. A NaN stays one, and a threshold that is NaN makes all of them NaN.

    Args:
        tensors: contiguous, of one dtype, on one device; those with moments do not share memory.
        threshold: τ, 0-d, of the same dtype and device.
        moments: v of each tensor, alike in dtype, device and shape and contiguous; not in float64, since the weight
            reaches the kernel as a float32.
        weight: κ.
    """
    device = threshold.device
    table, blocks = table_of(tensors)
    if blocks == 0:
        return
    if moments:
        table += [*(moment.data_ptr() for moment in moments), 0]
    aligned = all(tensor.data_ptr() % 16 == 0 for tensor in (*tensors, *moments))
    with on(device):
        clip_all[(min(blocks, programs(device)),)](
            to_device(table, device), len(tensors), threshold, weight,
            element=ELEMENTS[threshold.dtype], shift=bool(moments), aligned=aligned, per_block=BLOCK, num_warps=WARPS,
        )  # fmt: skip
    torch.autograd.graph.increment_version([*tensors, *moments])  # as every operation in place does
