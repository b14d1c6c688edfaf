"""The selection on a GPU: interpreted on a CPU, compiled for an H100 without one, and run where there is one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import same_bits
from torch import Tensor

from clipbench.clipping.threshold import coordinate_threshold

triton = pytest.importorskip("triton", reason="not installed: triton")

HERE = Path(__file__).parent
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

KEYS = {2: "*i32", 4: "*i32", 8: "*i64"}


def signatures(width: int) -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
    """Of each kernel: the types of its arguments, and its constants."""
    list_of_tensors = {"sheet": "*i64", "tensors": "i32"}
    sample, infinity = KEYS[width], {"infinity": 0x7F80}
    bracket = {"sample": sample, "m": "i32", "first": "i32", "last": "i32"}
    inside = {"inside": sample, "room": "i32"}
    block = {"width": width, "rows": 32, "lanes": 128}
    return {
        "take_sample": (
            {**list_of_tensors, "sample": sample, "m": "i32", "stride": "i32"},
            {"width": width, "per_block": 1024},
        ),
        "count_and_collect": ({**list_of_tensors, **bracket, **inside}, {**block, **infinity}),
        "count_digit": ({**list_of_tensors, **inside, "digit": "i32"}, block),
        "conclude": ({"sheet": "*i64"}, {"width": width, **infinity}),
    }


def compiled(name: str, width: int) -> Any:
    """A kernel for an H100, down to its machine code."""
    from triton.backends.compiler import GPUTarget  # heavy, and only where Triton is
    from triton.compiler import ASTSource

    from clipbench.clipping import triton_select
    from clipbench.clipping.triton_table import WARPS

    kernel = getattr(triton_select, name)
    types, constants = signatures(width)[name]
    source = ASTSource(
        fn=kernel,
        signature={**types, **dict.fromkeys(constants, "constexpr")},
        constexprs={(kernel.arg_names.index(constant),): value for constant, value in constants.items()},
    )
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": WARPS})


@pytest.mark.slow
def test_the_interpreter_finds_what_sorting_finds() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    script = [sys.executable, str(HERE / "interpreted_select.py")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "every kernel agrees with sorting\n", done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")
@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("name", ["take_sample", "count_and_collect", "count_digit", "conclude"])
def test_it_compiles_for_an_h100(name: str, width: int) -> None:
    kernel = compiled(name, width)
    assert len(kernel.asm["cubin"]) > 1000
    assert ".target sm_90" in kernel.asm["ptx"]


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")
def test_the_pass_over_everything_moves_no_block_through_shared_memory_and_waits_for_no_store() -> None:
    kernel = compiled("count_and_collect", 4)
    assert kernel.metadata.shared <= 256  # bytes: the threads' sums, where a block takes 16,384
    assert "atom.global.gpu.relaxed" in kernel.asm["ptx"]
    assert "acq_rel" not in kernel.asm["ptx"]


def heavy_tailed(*sizes: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator(device="cuda").manual_seed(0)
    return [(torch.randn(s, generator=generator, device="cuda") ** 3).to(dtype) for s in sizes]


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(7,), (1000, 1, 30_000), (3_000_000, 5, 1_000_001, *[64] * 100)])
def test_on_a_gpu_it_is_what_the_cpu_finds(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    tensors = heavy_tailed(*sizes, dtype=dtype)
    tensors[0][:2] = torch.tensor([float("nan"), -float("inf")])
    for fraction in (1e-9, 0.1, 0.5, 0.999):
        for ignore_zeros in (False, True):
            found = coordinate_threshold(tensors, fraction, ignore_zeros=ignore_zeros)
            expected = coordinate_threshold([t.cpu() for t in tensors], fraction, ignore_zeros=ignore_zeros)
            assert found.device.type == "cuda"
            assert same_bits(found, expected)


@on_gpu
def test_on_a_gpu_a_constant_and_a_misled_sample_are_still_exact() -> None:
    from clipbench.clipping.bracket import sample_stride

    n = 1_000_003
    values = heavy_tailed(n)[0]
    values[:: sample_stride(n)] = 1e6
    assert same_bits(coordinate_threshold([values], 0.5), coordinate_threshold([values.cpu()], 0.5))
    assert coordinate_threshold([torch.full((n,), -3.0, device="cuda")], 0.5) == 3


@on_gpu
def test_on_a_gpu_nothing_waits() -> None:
    tensors = heavy_tailed(2_000_000, 10)
    coordinate_threshold(tensors, 0.1)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        coordinate_threshold(tensors, 0.1)
        coordinate_threshold(tensors, 0.1, ignore_zeros=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
@pytest.mark.parametrize("n", [1000, 2_000_000])
def test_a_cuda_graph_finds_the_threshold_of_what_is_there_when_it_runs(n: int) -> None:
    tensors = heavy_tailed(n, 10)
    coordinate_threshold(tensors, 0.1)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        threshold = coordinate_threshold(tensors, 0.1)
    for factor in (1.0, 3.0):
        for tensor in tensors:
            tensor.mul_(factor)
        graph.replay()
        assert same_bits(threshold, coordinate_threshold([tensor.cpu() for tensor in tensors], 0.1))


@on_gpu
def test_compiled_code_on_a_gpu_calls_it_in_one_graph() -> None:
    def clip(values: Tensor, other: Tensor) -> Tensor:
        threshold = coordinate_threshold([values, other], 0.3)
        return values.clamp(min=-threshold, max=threshold)

    values, other = heavy_tailed(500_000, 30)
    compiled: Any = torch.compile(clip, fullgraph=True)
    assert torch.equal(compiled(values, other), clip(values, other))


@on_gpu
def test_without_triton_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = heavy_tailed(300_000, 10)
    expected = coordinate_threshold(tensors, 0.1)
    monkeypatch.setattr("clipbench.clipping.threshold._triton_is_there", lambda: False)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = coordinate_threshold(tensors, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert same_bits(found, expected)


@on_gpu
def test_the_memory_it_takes_on_a_gpu_is_a_twentieth_of_the_tensors() -> None:
    tensors = heavy_tailed(30_000_000)
    coordinate_threshold(tensors, 0.5)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    coordinate_threshold(tensors, 0.5)
    assert torch.cuda.max_memory_allocated() - before < 0.05 * 120_000_000 + 3_000_000  # beside the share: the sample
