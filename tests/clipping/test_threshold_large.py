"""The threshold of many coordinates: sample, one pass, and what happens when the sample was misled."""

import tracemalloc
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from oracles import flat, same_bits
from torch import Tensor

from clipbench.clipping import bracket, keys
from clipbench.clipping.bracket import SMALL, kth_largest_and_larger, sample_stride
from clipbench.clipping.keys import BLOCK, INFINITY, blocks, key_arrays, kth_largest_by_digits
from clipbench.clipping.threshold import coordinate_threshold

FRACTIONS = [1e-9, 1e-4, 0.1, 0.5, 0.9, 1 - 1e-9]
N = 150_001


def heavy_tailed(n: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, generator=generator, dtype=torch.float64) ** 3).to(dtype)


def by_sorting(tensors: list[Tensor], fraction: float) -> Tensor:
    values = flat(tensors).abs()
    return values.sort(descending=True).values[int(len(values) * fraction)]


@pytest.fixture
def fallbacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time the digits had to be counted, because the sample had not told the truth."""
    taken: list[int] = []
    kept: Callable[..., Tensor] = kth_largest_by_digits

    def noted(count: Any, k: int, **options: Any) -> Tensor:
        taken.append(k)
        return kept(count, k, **options)

    monkeypatch.setattr(bracket, "kth_largest_by_digits", noted)
    return taken


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_random_coordinates_are_found_in_one_pass(
    dtype: torch.dtype, fraction: float, fallbacks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Mock(wraps=blocks)
    monkeypatch.setattr(bracket, "blocks", passes)
    monkeypatch.setattr(keys, "FEW", 0)
    tensors = [*heavy_tailed(N, dtype=dtype).split([50_000, 3, 100_000 - 3, 1])]
    assert same_bits(coordinate_threshold(tensors, fraction), by_sorting(tensors, fraction))
    assert (passes.call_count, fallbacks) == (1, [])


@pytest.mark.parametrize("n", [SMALL, SMALL + 1, BLOCK, BLOCK + 1])
def test_both_sides_of_every_size_limit(n: int) -> None:
    values = heavy_tailed(n)
    for fraction in FRACTIONS:
        assert same_bits(coordinate_threshold([values], fraction), by_sorting([values], fraction))


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("value", [0.0, -3.0, float("inf")])
def test_equal_coordinates_are_counted_and_not_collected(value: float, fraction: float, fallbacks: list[int]) -> None:
    assert coordinate_threshold([torch.full((N,), value)], fraction) == abs(value)
    assert not fallbacks


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_equal_coordinates_beyond_the_ends_of_the_sample_go_to_the_digits(
    fraction: float, fallbacks: list[int]
) -> None:
    assert coordinate_threshold([torch.full((N,), -3.0)], fraction) == 3
    assert fallbacks == [int(N * fraction)]


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_period_equal_to_the_stride_misleads_the_sample_and_not_the_answer(
    fraction: float, fallbacks: list[int]
) -> None:
    values = heavy_tailed(N)
    values[:: sample_stride(N)] = torch.linspace(1e6, 2e6, len(values[:: sample_stride(N)]))
    assert same_bits(coordinate_threshold([values], fraction), by_sorting([values], fraction))
    assert fallbacks == [int(N * fraction)]


def test_more_ties_than_there_is_room_for_go_to_the_digits(fallbacks: list[int]) -> None:
    values = torch.zeros(N)
    values[: int(N * 0.3)] = heavy_tailed(int(N * 0.3)).abs() + 1e-3
    values = values[torch.randperm(N, generator=torch.Generator().manual_seed(0))]
    assert same_bits(coordinate_threshold([values], 0.3), by_sorting([values], 0.3))
    assert len(fallbacks) == 1


def test_a_number_of_tiny_tensors_is_joined_into_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FEW", 0)
    values = heavy_tailed(N)
    tensors = [*values.split(37)]
    assert same_bits(coordinate_threshold(tensors, 0.1), coordinate_threshold([values], 0.1))
    assert len(list(blocks(key_arrays(tensors)))) == -(-N // (BLOCK - BLOCK % 37))


def test_a_few_coordinates_in_many_tensors_become_one_array() -> None:
    tensors = [*heavy_tailed(N).split(37)]
    arrays = key_arrays(tensors)
    assert [array.size for array in arrays] == [N]
    assert len(key_arrays([*tensors, heavy_tailed(keys.FEW)])) == len(tensors) + 1


def test_blocks_hold_every_coordinate_once() -> None:
    sizes = [1, BLOCK // 4, BLOCK // 4 + 1, 3 * BLOCK + 5, 7, BLOCK, 2]
    arrays = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    cut = list(blocks(arrays))
    assert max(block.size for block in cut) <= BLOCK
    assert sorted(np.concatenate(cut).tolist()) == list(range(sum(sizes)))


@pytest.mark.parametrize("n", [8193, 10**5, 10**6, 10**7, 10**9, 7 * 10**9])
def test_the_stride_is_a_prime_that_takes_three_thousand_to_seventy_thousand_samples(n: int) -> None:
    stride = sample_stride(n)
    assert all(stride % divisor for divisor in range(2, int(stride**0.5) + 1))
    assert 3_000 <= n // stride <= 70_000


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_the_memory_it_takes_is_a_twentieth_of_the_tensors(fraction: float) -> None:
    tensors = [heavy_tailed(6_000_000)]
    arrays = key_arrays(tensors)
    tracemalloc.start()  # NumPy reports its arrays there
    try:
        kth_largest_and_larger(arrays, int(6_000_000 * fraction), infinity=INFINITY[torch.float32])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1_000_000 / 20 < peak < 0.05 * 24_000_000 + 900_000  # beside the share: sample and blocks, whatever n is
