"""The clip's own kernels on a GPU: interpreted on a CPU, compiled for an H100, and run where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracles import same_bits
from torch import nn

from clipbench.clipping import coordinates

triton = pytest.importorskip("triton", reason="not installed: triton")

HERE = Path(__file__).parent
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.slow
def test_the_interpreter_clips_as_torch_does() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    script = [sys.executable, str(HERE / "interpreted_clip.py")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "every clip agrees with torch\n", done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")
@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("element", ["fp16", "bf16", "fp32"])
def test_it_compiles_for_an_h100_and_writes_16_bytes_at_once_where_they_are_aligned(element: str, shift: bool) -> None:
    from triton.backends.compiler import GPUTarget  # heavy, and only where Triton is
    from triton.compiler import ASTSource

    from clipbench.clipping.triton_clip import ELEMENTS, clip_all

    elements = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    wide = {}
    for aligned in (True, False):
        constants = {"element": ELEMENTS[elements[element]], "shift": shift, "aligned": aligned, "per_block": 4096}
        types = {"table": "*i64", "tensors": "i32", "threshold": f"*{element}", "weight": "fp32"}
        source = ASTSource(
            fn=clip_all,
            signature={**types, **dict.fromkeys(constants, "constexpr")},
            constexprs={(clip_all.arg_names.index(name),): value for name, value in constants.items()},
        )
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
        assert len(compiled.asm["cubin"]) > 1000
        wide[aligned] = "st.global.v4.b32" in compiled.asm["ptx"]
    assert wide == {True: True, False: False}


def test_what_the_kernels_cannot_address_is_left_to_torch() -> None:
    values = torch.zeros(6, 4)
    assert coordinates.alike_in_memory([values, torch.zeros(0), torch.zeros(0), nn.Parameter(torch.zeros(3))])
    for other in (values, values.t(), torch.zeros(2).double(), torch._neg_view(torch.zeros(3)), values.to("meta")):
        assert not coordinates.alike_in_memory([values, other])
    assert not coordinates.kernels_fit([values])  # it is on the CPU


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1000, 3_000_001])
def test_threshold_count_and_clip_on_a_gpu_are_the_cpu_s(n: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [(torch.randn(size, generator=generator) ** 3).to(dtype) for size in (n, 7)]
    values[1][:2] = torch.tensor([float("nan"), -float("inf")])
    moved = [value.cuda() for value in values]
    scopes = []
    for tensors in (values, moved):
        scopes.append(coordinates.find_scope(tensors, 0.1, ignore_zeros=False))
        coordinates.clip_([tensors], scopes[-1:], keep_length=False)
    assert same_bits(scopes[1].threshold.cpu(), scopes[0].threshold)
    assert int(scopes[1].clipped) == int(scopes[0].clipped)
    assert all(same_bits(there.cpu(), here) for there, here in zip(moved, values, strict=True))
