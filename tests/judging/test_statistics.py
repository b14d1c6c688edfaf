import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipbench.judging.statistics import estimate, geometric_mean

losses = st.floats(min_value=-1e6, max_value=1e6)


def test_a_mean_has_the_standard_error_of_its_seeds() -> None:
    of = estimate([3.0, 3.2, 3.1])
    assert of.mean == pytest.approx(3.1)
    assert of.standard_error == pytest.approx(0.1 / math.sqrt(3))
    assert of.n == 3


def test_one_seed_has_a_mean_and_no_error() -> None:
    of = estimate([3.0])
    assert (of.mean, of.n) == (3.0, 1)
    assert math.isnan(of.standard_error)


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
