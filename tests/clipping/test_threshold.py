"""The threshold: the paper's examples, the naive rule, and what must hold whatever the numbers are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import naive_clip
from torch import Tensor

from clipbench.clipping.threshold import coordinate_threshold

QUICK = settings(deadline=None, max_examples=60, derandomize=True)

# Magnitudes that stay normal float32 numbers when scaled by 2^±20.
numbers = st.one_of(
    st.just(0.0),
    st.just(-0.0),
    st.integers(-4, 4).map(float),
    st.floats(2.0**-60, 2.0**60, width=32).flatmap(lambda x: st.sampled_from([x, -x])),
)
vectors = st.lists(numbers, min_size=1, max_size=40)
fractions = st.floats(0.001, 0.999)


def clip(values: Tensor, fraction: float) -> Tensor:
    threshold = coordinate_threshold([values], fraction)
    return values.clamp(min=-threshold, max=threshold)


@pytest.mark.parametrize(("fraction", "expected"), [(0.1, 5), (0.2, 4), (0.4, 3), (0.5, 3), (0.8, 1), (0.99, 1)])
def test_the_examples_of_the_paper_hold(fraction: float, expected: float) -> None:
    shuffled = torch.tensor([3.0, -5.0, 1.0, -4.0, 2.0])
    assert coordinate_threshold([shuffled], fraction) == expected


@QUICK
@given(vectors, fractions)
def test_it_is_the_naive_rule(values: list[float], fraction: float) -> None:
    tensor = torch.tensor(values)
    threshold, clipped = naive_clip(tensor.tolist(), fraction)
    assert float(coordinate_threshold([tensor], fraction)) == threshold
    assert clip(tensor, fraction).tolist() == clipped


@QUICK
@given(vectors, fractions, st.randoms(use_true_random=False))
def test_order_does_not_matter(values: list[float], fraction: float, random: object) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert coordinate_threshold([torch.tensor(values)], fraction) == coordinate_threshold(
        [torch.tensor(shuffled)], fraction
    )


@QUICK
@given(vectors, fractions, st.integers(0, 40), st.integers(0, 40))
def test_how_the_coordinates_are_cut_into_tensors_does_not_matter(
    values: list[float], fraction: float, first: int, second: int
) -> None:
    whole = torch.tensor(values)
    cuts = sorted((min(first, len(values)), min(second, len(values))))
    pieces = whole.tensor_split(cuts)
    assert coordinate_threshold(pieces, fraction) == coordinate_threshold([whole], fraction)


@QUICK
@given(vectors, fractions, st.integers(-20, 20))
def test_scaling_by_a_power_of_two_scales_it_exactly(values: list[float], fraction: float, power: int) -> None:
    tensor = torch.tensor(values)
    scaled = coordinate_threshold([tensor * 2.0**power], fraction)
    assert scaled == coordinate_threshold([tensor], fraction) * 2.0**power


@QUICK
@given(vectors, fractions)
def test_clipping_again_changes_nothing(values: list[float], fraction: float) -> None:
    once = clip(torch.tensor(values), fraction)
    assert torch.equal(clip(once, fraction), once)


@QUICK
@given(vectors, fractions)
def test_at_most_k_coordinates_are_clipped_and_the_others_keep_their_bits(values: list[float], fraction: float) -> None:
    tensor = torch.tensor(values)
    threshold = coordinate_threshold([tensor], fraction)
    above = tensor.abs() > threshold
    assert int(above.sum()) <= int(len(values) * fraction)
    kept, before = clip(tensor, fraction)[~above], tensor[~above]
    # Where the threshold is 0 the kept coordinates are zeros, and the sign of a zero means nothing.
    assert torch.equal(kept, before)
    if threshold > 0:
        assert torch.equal(kept.view(torch.int32), before.view(torch.int32))


@pytest.mark.parametrize("fraction", [math.nextafter(0, 1), 1e-9, 1 - 2**-53])
@pytest.mark.parametrize("n", [1, 2, 7, 1024])
def test_the_extreme_fractions_stay_within_the_coordinates(fraction: float, n: int) -> None:
    values = torch.arange(1.0, n + 1)
    assert coordinate_threshold([values], fraction) == (n if fraction < 0.5 else 1)


def test_ties_are_one_magnitude() -> None:
    assert coordinate_threshold([torch.tensor([2.0, -2.0, 2.0, 1.0])], 0.5) == 2


def test_up_to_k_nans_leave_a_number_and_more_make_it_nan() -> None:
    values = torch.tensor([math.nan, 1.0, math.inf, -2.0, 0.5, 0.25])
    assert coordinate_threshold([values], 1 / 6 + 1e-9) == math.inf
    assert coordinate_threshold([values], 0.5) == 1
    assert coordinate_threshold([values], 0.1).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_is_a_scalar_of_the_tensors_dtype_and_shares_no_memory(dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, -3.0, 2.0], dtype=dtype)
    threshold = coordinate_threshold([values], 0.5)
    values.zero_()
    assert threshold == 2
    assert (threshold.dtype, threshold.shape) == (dtype, ())


def test_shapes_and_empty_tensors_do_not_matter() -> None:
    tensors = [torch.tensor([[1.0, -5.0]]), torch.empty(0, 3), torch.tensor(4.0), torch.tensor([3.0, 2.0])[::2]]
    assert coordinate_threshold(tensors, 0.5) == 3


def test_mixed_dtypes_are_compared_as_numbers() -> None:
    tensors = [torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([1.4999999, 1.0])]
    assert coordinate_threshold(tensors, 0.4) == tensors[1][0]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_a_fraction_outside_the_open_interval_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        coordinate_threshold([torch.ones(3)], fraction)


@pytest.mark.parametrize("tensors", [[], [torch.empty(0)]])
def test_no_coordinates_are_refused(tensors: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="no coordinates"):
        coordinate_threshold(tensors, 0.5)


def test_several_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="several devices"):
        coordinate_threshold([torch.ones(1), torch.ones(1, device="meta")], 0.5)


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        coordinate_threshold([torch.ones(2, dtype=torch.complex64)], 0.5)
