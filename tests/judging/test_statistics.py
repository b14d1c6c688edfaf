import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipbench.judging.statistics import (
    estimate,
    geometric_mean,
    half_width,
    logs_of_positive,
    not_surer_than,
    paired_difference,
    paired_ratio,
)

losses = st.floats(min_value=-1e6, max_value=1e6)
by_seed = st.dictionaries(st.integers(0, 9), losses, min_size=3)


def test_a_mean_has_the_standard_error_of_its_seeds() -> None:
    of = estimate([3.0, 3.2, 3.1])
    assert of.mean == pytest.approx(3.1)
    assert of.standard_error == pytest.approx(0.1 / math.sqrt(3))
    assert of.n == 3


def test_one_seed_has_a_mean_and_no_error() -> None:
    of = estimate([3.0])
    assert (of.mean, of.n) == (3.0, 1)
    assert math.isnan(of.standard_error)


def test_values_that_were_read_in_steps_are_no_surer_than_the_steps() -> None:
    alike, apart = estimate([0.1, 0.1, 0.1, 0.1]), estimate([0.0, 4.0])
    assert not_surer_than(0.5, alike).standard_error == pytest.approx(0.25)
    assert not_surer_than(0.5, apart) == apart
    assert not_surer_than(0.0, alike) == alike
    assert not_surer_than(0.5, estimate([3.0, 3.0])).standard_error == pytest.approx(0.5 / math.sqrt(2))
    assert math.isnan(not_surer_than(0.5, estimate([3.0])).standard_error)


def test_no_seed_has_neither_mean_nor_error() -> None:
    of = estimate([])
    assert of.n == 0
    assert math.isnan(of.mean)
    assert math.isnan(of.standard_error)


def test_a_nan_stays_visible_in_the_mean() -> None:
    assert math.isnan(estimate([1.0, math.nan]).mean)


def test_a_huge_value_gives_an_infinite_error_and_no_exception() -> None:
    assert estimate([1e200, -1e200]).standard_error == math.inf


@given(st.lists(losses, min_size=2))
def test_the_standard_error_is_scipys(values: list[float]) -> None:
    # two summations of up to 1e6 in size agree to rounding of the largest
    assert estimate(values).standard_error == pytest.approx(stats.sem(values), rel=1e-6, abs=1e-7)


def test_a_geometric_mean_has_a_multiplicative_error() -> None:
    of = geometric_mean([math.log(1.0), math.log(4.0)])
    assert of.mean == pytest.approx(2.0)
    # the logs are ±ln 2 around ln 2, so their standard error is ln 2
    assert of.factor == pytest.approx(2.0)
    assert of.n == 2


def test_a_geometric_mean_beyond_the_largest_float_is_infinite() -> None:
    assert geometric_mean([1000.0, 1000.0]).mean == math.inf


def test_a_paired_difference_is_worked_out_by_hand() -> None:
    of = paired_difference({0: 2.9, 1: 3.0, 2: 3.0}, {0: 3.0, 1: 3.2, 2: 3.1})
    assert of.n == 3
    assert of.mean == pytest.approx(-0.4 / 3)
    assert of.standard_error == pytest.approx(1 / 30)
    # t(0.975, 2) = 4.30265 from a printed table
    assert of.low == pytest.approx(-0.4 / 3 - 4.30265 / 30, abs=1e-6)
    assert of.high == pytest.approx(-0.4 / 3 + 4.30265 / 30, abs=1e-6)
    assert of.direction == "undecided"


def test_only_common_seeds_are_paired() -> None:
    of = paired_difference({0: 1.0, 1: 2.0, 7: 100.0}, {0: 2.0, 1: 3.5, 2: -100.0})
    assert (of.n, of.mean) == (2, -1.25)


def test_pairing_removes_what_the_seeds_share() -> None:
    of = paired_difference({0: 1.0, 1: 101.0, 2: 51.02}, {0: 2.0, 1: 102.01, 2: 52.01})
    assert of.direction == "lower"


@pytest.mark.parametrize(
    ("candidate", "direction"),
    [
        ({0: 1.0, 1: 1.1, 2: 1.0}, "higher"),
        ({0: -1.0, 1: -0.9, 2: -1.0}, "lower"),
        ({0: 0.0, 1: 0.0}, "equal"),
        ({0: 1.0, 1: -1.0}, "undecided"),
        ({0: -1.0}, "undecided"),
        ({0: 0.0}, "undecided"),
        ({}, "undecided"),
        ({0: math.nan, 1: 1.0}, "undecided"),
    ],
)
def test_a_difference_is_decided_by_its_whole_interval(candidate: dict[int, float], direction: str) -> None:
    assert paired_difference(candidate, dict.fromkeys(range(3), 0.0)).direction == direction


@given(by_seed, by_seed)
def test_the_interval_is_scipys_one_sample_t_interval(a: dict[int, float], b: dict[int, float]) -> None:
    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    if len(differences) < 2 or len(set(differences)) == 1:
        return
    of = paired_difference(a, b)
    expected = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    # the interval's ends may cancel: they are as exact as its width and centre are
    scale = 1e-9 * max(1.0, *map(abs, differences)) * half_width(len(differences))
    assert of.low == pytest.approx(expected.low, abs=scale)
    assert of.high == pytest.approx(expected.high, abs=scale)


@given(by_seed, by_seed)
def test_swapping_the_two_sides_turns_the_sign(a: dict[int, float], b: dict[int, float]) -> None:
    one, other = paired_difference(a, b), paired_difference(b, a)
    if one.n == 0:
        assert other.n == 0
        return
    assert one.mean == -other.mean
    assert one.n == other.n


def test_a_ratio_is_the_exponential_of_the_paired_logs() -> None:
    of = paired_ratio({0: math.log(2.0), 1: math.log(8.0)}, {0: math.log(1.0), 1: math.log(2.0)})
    assert of.ratio == pytest.approx(math.sqrt(2 * 4))
    assert of.low < of.ratio < of.high
    assert math.log(of.high / of.ratio) == pytest.approx(math.log(of.ratio / of.low))


def test_a_ratio_of_one_on_every_seed_is_equal() -> None:
    assert paired_ratio({0: 1.5, 1: 2.5}, {0: 1.5, 1: 2.5}).direction == "equal"


def test_a_ratio_below_one_on_every_seed_is_lower() -> None:
    assert paired_ratio({0: -2.0, 1: -2.1, 2: -2.0}, dict.fromkeys(range(3), 0.0)).direction == "lower"


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_half_width_is_students(n: int) -> None:
    assert half_width(n) == pytest.approx(stats.t.ppf(0.975, n - 1))


def test_logs_are_of_positive_finite_values_only() -> None:
    assert logs_of_positive([1.0, 0.0, -2.0, math.nan, math.inf, math.e]) == [0.0, 1.0]
