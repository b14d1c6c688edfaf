"""The threshold over raw bit patterns: it is what sorting their magnitudes as integers says."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import same_bits
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from clipbench.clipping import keys, threshold
from clipbench.clipping.bracket import kth_largest_and_larger
from clipbench.clipping.threshold import coordinate_threshold

QUICK = settings(deadline=None, max_examples=80, derandomize=True)

INTEGERS = {torch.float16: "i2", torch.bfloat16: "i2", torch.float32: "i4", torch.float64: "i8"}
# Fields that matter: zero, subnormals, one, the largest number, infinity, quiet and signalling NaN.
CORNERS = {
    torch.float16: [0, 1, 0x3FF, 0x3C00, 0x7BFF, 0x7C00, 0x7E01, 0x7C01],
    torch.bfloat16: [0, 1, 0x7F, 0x3F80, 0x7F7F, 0x7F80, 0x7FC1, 0x7F81],
    torch.float32: [0, 1, 0x7FFFFF, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00001, 0x7F800001],
    torch.float64: [0, 1, 0xFFFFFFFFFFFFF, 0x3FF0 << 48, 0x7FEFFFFFFFFFFFFF, 0x7FF0 << 48, (0x7FF8 << 48) + 1],
}


@st.composite
def bit_patterns(draw: Any) -> tuple[torch.dtype, list[int]]:
    """A dtype and the unsigned bits of some of its floats."""
    dtype = draw(st.sampled_from(list(INTEGERS)))
    bits = 8 * dtype.itemsize
    corner = st.sampled_from(CORNERS[dtype]).flatmap(lambda c: st.sampled_from([c, c | 1 << (bits - 1)]))
    return dtype, draw(st.lists(st.integers(0, 2**bits - 1) | corner, min_size=1, max_size=40))


def floats(dtype: torch.dtype, bits: list[int]) -> Tensor:
    unsigned = np.array(bits, dtype=INTEGERS[dtype].replace("i", "u"))
    return torch.from_numpy(unsigned.view(INTEGERS[dtype])).view(dtype)


def expected(dtype: torch.dtype, bits: list[int], fraction: float) -> Tensor:
    """Sort Python integers, without the sign bit."""
    keys = sorted((b & ((1 << (8 * dtype.itemsize - 1)) - 1) for b in bits), reverse=True)
    return floats(dtype, [keys[int(len(keys) * fraction)]])[0]


@QUICK
@given(bit_patterns(), st.data())
def test_any_bits_at_any_fraction(patterns: tuple[torch.dtype, list[int]], data: Any) -> None:
    dtype, bits = patterns
    whole = st.integers(1, len(bits)).map(lambda j: j / (len(bits) + 1)) | st.just(1 / len(bits))
    fraction = data.draw(st.floats(1e-6, 1 - 1e-6) | whole.filter(lambda f: f < 1))
    assert same_bits(coordinate_threshold([floats(dtype, bits)], fraction), expected(dtype, bits, fraction))


@QUICK
@given(bit_patterns(), st.permutations(range(5)), st.floats(0.01, 0.99))
def test_any_layout_of_the_memory(patterns: tuple[torch.dtype, list[int]], order: list[int], fraction: float) -> None:
    dtype, bits = patterns
    plain = floats(dtype, bits)
    with_gaps = torch.stack([plain, torch.zeros_like(plain)], 1)[:, 0]
    transposed = torch.stack([plain, plain], 1).t()
    pieces = [with_gaps, transposed, plain[:1].expand(3), torch.empty(0, 3, dtype=dtype), plain[0]]
    seen = bits * 3 + bits[:1] * 4
    found = coordinate_threshold([pieces[i] for i in order], fraction)
    assert same_bits(found, expected(dtype, seen, fraction))


def test_memory_without_gaps_is_read_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FEW", 0)
    seen: list[Any] = []
    kept = kth_largest_and_larger

    def noted(arrays: Any, k: int, *, infinity: int) -> tuple[int, int]:
        seen.extend(arrays)
        return kept(arrays, k, infinity=infinity)

    monkeypatch.setattr(threshold, "kth_largest_and_larger", noted)
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    matrix = torch.randn(6, 7).t()
    coordinate_threshold([images, matrix, torch.randn(())], 0.3)
    assert [array.ctypes.data for array in seen[:2]] == [images.data_ptr(), matrix.data_ptr()]


def test_a_parameter_that_is_being_trained_is_read_and_left_alone() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
    doubled = weight * 2
    threshold = coordinate_threshold([weight, doubled], 0.3)
    assert threshold == 3
    assert not threshold.requires_grad
    assert doubled.requires_grad


def test_a_lazily_negated_view_is_read_as_its_magnitudes() -> None:
    imaginary = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    assert imaginary.is_neg()
    assert coordinate_threshold([imaginary], 0.1) == 4


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 3), (0.2, 4), (0.99, 1)])
def test_zeros_can_be_left_out_of_the_count(fraction: float, expected: float) -> None:
    values = torch.tensor([0.0, 5.0, -0.0, -4.0, 0.0, 3.0, 2.0, -1.0, 0.0, 0.0, 0.0])
    assert coordinate_threshold([values], fraction, ignore_zeros=True) == expected
    assert coordinate_threshold([values[values != 0]], fraction) == expected


def test_nothing_but_zeros_leaves_zero_where_zeros_do_not_count() -> None:
    assert coordinate_threshold([torch.zeros(3)], 0.5, ignore_zeros=True) == 0


def test_integers_and_sparse_tensors_are_refused() -> None:
    with pytest.raises(TypeError, match=r"not among torch\.int64"):
        coordinate_threshold([torch.arange(3)], 0.5)
    with pytest.raises(TypeError, match="sparse"):
        coordinate_threshold([torch.eye(3).to_sparse()], 0.5)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors_go_through_so_nothing_waits_for_the_device(device: str) -> None:
    with FakeTensorMode():
        tensors = [torch.empty(3, 4, device=device, dtype=torch.bfloat16), torch.empty(5, device=device)]
        threshold = coordinate_threshold(tensors, 0.5)
    assert (threshold.shape, threshold.dtype, threshold.device.type) == ((), torch.float32, device)


@pytest.mark.slow
def test_compiled_code_calls_it_in_one_graph() -> None:
    def clip(values: Tensor, other: Tensor) -> Tensor:
        threshold = coordinate_threshold([values, other], 0.3)
        return values.clamp(min=-threshold, max=threshold)

    values, other = torch.tensor([5.0, -4.0, 1.0]), torch.tensor([[2.0, 3.0]])
    compiled: Any = torch.compile(clip, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(values, other), clip(values, other))
    assert clip(values, other).tolist() == [4.0, -4.0, 1.0]


@pytest.mark.slow
def test_neither_triton_nor_the_distributed_tensors_are_imported_on_a_cpu() -> None:
    code = (
        "import sys, torch; from clipbench.clipping.threshold import coordinate_threshold as f;"
        "assert f([torch.ones(2)], 0.5) == 1;"
        "print(sorted({'triton', 'torch.distributed.tensor', 'clipbench.clipping.sharded'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
