"""The approximate threshold: its rank is off by no more than the stated standard error allows."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clipbench.clipping.sampled import sampled_threshold
from clipbench.clipping.threshold import coordinate_threshold

N = 60_000


def tensors(*, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    values = torch.randn(N, generator=torch.Generator().manual_seed(0)) ** 3
    first, second = values[:40_000].view(400, 100).to(dtype).t(), values[40_000:].to(dtype)
    return [first, torch.empty(0, dtype=dtype), second]


def share_above(threshold: Tensor) -> float:
    return sum(int((tensor.abs() > threshold).sum()) for tensor in tensors()) / N


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(0.01, 0.99), st.integers(200, 5000), st.integers(0, 2**32))
def test_the_rank_is_within_five_standard_errors(fraction: float, samples: int, seed: int) -> None:
    found = sampled_threshold(tensors(), fraction, samples=samples, seed=seed)
    # 5 standard errors are passed once in a million draws; 3/m more for a binomial that is no normal variable.
    allowed = 5 * math.sqrt(fraction * (1 - fraction) / samples) + 3 / samples
    assert abs(share_above(found) - fraction) < allowed


def test_the_standard_error_is_the_one_that_is_stated() -> None:
    shares = torch.tensor(
        [share_above(sampled_threshold(tensors(), 0.3, samples=1000, seed=seed)) for seed in range(200)]
    )
    # The standard deviation of 200 draws is known to 5 %, their mean to 1/14 of one.
    assert float(shares.std()) == pytest.approx(math.sqrt(0.3 * 0.7 / 1000), rel=0.2)
    assert float(shares.mean()) == pytest.approx(0.3, abs=0.003)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_is_one_of_the_magnitudes_in_their_dtype(dtype: torch.dtype) -> None:
    given = tensors(dtype=dtype)
    found = sampled_threshold(given, 0.2, samples=500)
    assert (found.dtype, found.shape) == (dtype, ())
    assert any(bool((tensor.abs() == found).any()) for tensor in given)


def test_a_seed_decides_the_draw() -> None:
    found = [float(sampled_threshold(tensors(), 0.2, samples=500, seed=seed)) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_no_more_coordinates_than_samples_give_the_exact_threshold() -> None:
    assert sampled_threshold(tensors(), 0.37, samples=N) == coordinate_threshold(tensors(), 0.37)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="draw at least 1"):
        sampled_threshold(tensors(), 0.1, samples=0)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        sampled_threshold(tensors(), 1.0)
    with pytest.raises(ValueError, match="no coordinates"):
        sampled_threshold([torch.empty(0)], 0.5)
