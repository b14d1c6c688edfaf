"""How many coordinates a threshold clips: known from its rank, and equal to a count of every coordinate."""

import math
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clipbench.clipping import bracket
from clipbench.clipping.bracket import SMALL
from clipbench.clipping.coordinates import find_scope
from clipbench.clipping.keys import FLOATS, kth_largest_by_digits

N = 150_001
ODD = [0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan, 1.0, -1.0]


def counted(tensors: list[Tensor], fraction: float, *, ignore_zeros: bool = False) -> None:
    """Compare a scope with what sorting and comparing every coordinate say."""
    scope = find_scope(tensors, fraction, ignore_zeros=ignore_zeros)
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    assert int(scope.clipped) == int((joined.abs() > scope.threshold).sum())
    assert (scope.clipped.dtype, scope.clipped.shape) == (torch.int64, ())
    n = int((joined != 0).sum()) if ignore_zeros else len(joined)
    assert (scope.n, scope.asked) == (n, int(n * fraction))


def heavy_tailed(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, generator=generator, dtype=torch.float64) ** 3).to(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS)
@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    values=st.lists(st.floats(width=16) | st.sampled_from(ODD), min_size=1, max_size=40),
    fraction=st.floats(0.01, 0.99),
    ignore_zeros=st.booleans(),
)
def test_few_coordinates(dtype: torch.dtype, values: list[float], fraction: float, ignore_zeros: bool) -> None:
    tensor = torch.tensor(values, dtype=torch.float64).to(dtype)
    counted([tensor[:7], tensor[7:]], fraction, ignore_zeros=ignore_zeros)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("nans", [0, 1, 1000, 15_001, 60_000])
@pytest.mark.parametrize("fraction", [1e-9, 0.1, 0.5, 0.9])
def test_many_coordinates_with_nans_among_them(dtype: torch.dtype, nans: int, fraction: float) -> None:
    """Fewer NaNs than are clipped, as many and one more, and more: they take ranks, and are not clipped."""
    values = heavy_tailed(N, dtype)
    values[torch.randperm(N, generator=torch.Generator().manual_seed(1))[:nans]] = math.nan
    values[:5] = math.inf
    counted([*values.split(40_000)], fraction)


@pytest.mark.parametrize("value", [0.0, -3.0, math.inf, math.nan])
@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_coordinates_as_large_as_the_threshold_are_not_clipped(value: float, share: float) -> None:
    values = heavy_tailed(N)
    values[torch.randperm(N, generator=torch.Generator().manual_seed(2))[: int(share * N)]] = value
    for fraction in (0.01, 0.2, 0.8):
        counted([values], fraction)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_sample_that_was_misled(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    by_digits = Mock(wraps=kth_largest_by_digits)
    monkeypatch.setattr(bracket, "kth_largest_by_digits", by_digits)
    values = heavy_tailed(N)
    values[:: bracket.sample_stride(N)] = torch.linspace(1e6, 2e6, len(values[:: bracket.sample_stride(N)]))
    values[1], values[2] = math.nan, math.inf
    counted([values], fraction)
    assert by_digits.call_count == 1


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.6])
def test_subnormal_coordinates_where_the_processor_takes_them_for_zeros(fraction: float) -> None:
    bits = (heavy_tailed(N).abs() * 1e6).clamp(max=2**23 - 1).to(torch.int32)  # all below the smallest normal float
    keys = bits.sort(descending=True).values
    flushed = torch.set_flush_denormal(True)
    try:
        scope = find_scope([bits.view(torch.float32)], fraction, ignore_zeros=False)
    finally:
        torch.set_flush_denormal(False)
    if not flushed:
        pytest.skip("this processor has no such mode")
    assert scope.threshold.view(torch.int32) == keys[int(N * fraction)]
    assert int(scope.clipped) == int((keys > keys[int(N * fraction)]).sum())


@pytest.mark.parametrize("n", [1, 2, SMALL, SMALL + 1])
def test_both_sides_of_the_size_limit(n: int) -> None:
    values = heavy_tailed(n)
    for fraction in (1e-9, 0.3, 1 - 1e-9):
        counted([values], fraction)


def test_coordinates_of_several_dtypes_are_counted_as_their_own_dtype_has_them() -> None:
    """1 + 2⁻³⁰ is above 1 in float64, and is 1 in float32."""
    tensors = [torch.tensor([1.0, 1.0, 0.5]), torch.tensor([1 + 2**-30, 2.0], dtype=torch.float64)]
    scope = find_scope(tensors, 0.3, ignore_zeros=False)
    assert scope.threshold == 1 + 2**-30
    assert int(scope.clipped) == 1
