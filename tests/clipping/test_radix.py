"""Radix selection: the same element as sorting, by counting digits, on any device and without reading it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from clipbench.clipping import keys
from clipbench.clipping.keys import (
    DIGITS,
    count_nonzero,
    counts_of_arrays,
    counts_of_views,
    integer_view,
    key_arrays,
    kth_largest_by_digits,
    largest_key,
    share_of,
)

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
CPU = torch.device("cpu")


def keys_of(values: Tensor) -> list[int]:
    return sorted((int(key) & largest_key(values.dtype) for key in integer_view(values)), reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=30)
@given(values=st.lists(st.floats(width=16) | st.sampled_from([0.0, -0.0, 1.0]), min_size=1, max_size=30))
def test_every_place_is_that_of_the_sorted_list(dtype: torch.dtype, values: list[float]) -> None:
    tensor = torch.tensor(values, dtype=torch.float64).to(dtype)
    parts = [tensor[:3], tensor[3:]]
    for k, key in enumerate(keys_of(tensor)):
        for count in (counts_of_arrays(key_arrays(parts)), counts_of_views(list(map(integer_view, parts)), CPU)):
            assert int(kth_largest_by_digits(count, k, width=dtype.itemsize)) == key


def test_counting_in_pieces_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_PIECE", 7)
    values = torch.randn(5, 10, generator=torch.Generator().manual_seed(0)).t()
    found = kth_largest_by_digits(counts_of_views([integer_view(values)], CPU), 11, width=4)
    assert int(found) == keys_of(values.flatten())[11]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_digits_make_up_the_key(dtype: torch.dtype) -> None:
    assert sum(DIGITS[dtype.itemsize]) == 8 * dtype.itemsize - 1


def test_the_index_may_come_from_the_number_of_keys() -> None:
    values = torch.tensor([3.0, -1.0, 2.0, 4.0])
    count = counts_of_views([integer_view(values)], CPU)
    assert int(kth_largest_by_digits(count, lambda n: share_of(n, 0.5), width=4)) == keys_of(values)[2]


def test_no_key_at_all_is_zero() -> None:
    assert int(kth_largest_by_digits(counts_of_arrays([]), lambda n: n, width=4)) == 0


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.integers(1, 2**40), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_share_on_the_device_is_rounded_as_python_does(n: int, fraction: float) -> None:
    assert int(share_of(torch.tensor(n), fraction)) == int(n * fraction)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_of_both_signs_are_not_counted(dtype: torch.dtype) -> None:
    values = [torch.tensor([0.0, -0.0, 1.0, -2.0], dtype=dtype), torch.tensor([float("nan"), -0.0], dtype=dtype)]
    assert int(count_nonzero([integer_view(tensor) for tensor in values])) == 3


def test_it_never_waits_for_the_device() -> None:
    with FakeTensorMode():  # which knows no value, so that reading one is an error
        views = [integer_view(torch.empty(1000, 3, device="cuda")), integer_view(torch.empty(7, device="cuda"))]
        count = counts_of_views(views, torch.device("cuda"))
        key = kth_largest_by_digits(count, share_of(count_nonzero(views), 0.1), width=4, device="cuda")
        assert (key.shape, key.dtype, key.device.type) == ((), torch.int64, "cuda")
        with pytest.raises(Exception, match="_local_scalar_dense"):
            key.item()
