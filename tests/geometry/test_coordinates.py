"""Shares of coordinates, counted again by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.problems import problem, random_direction
from reference.quadratics import vector
from scipy.stats import spearmanr

from clipbench.errors import ClipbenchError
from clipbench.geometry.coordinates import (
    at_random,
    flattened,
    how_many,
    largest,
    rank_correlation,
    require_percents,
    share,
    shares_of_decades,
    unflattened,
    without,
)


def test_a_vector_goes_to_one_piece_and_back() -> None:
    model = problem("transformer").model
    parameters = dict(model.named_parameters())
    u = random_direction(model, seed=1)
    back = unflattened(flattened(u, parameters), parameters)
    assert list(back) == list(parameters)
    assert all(torch.equal(back[name], u[name]) for name in parameters)


def test_decades_are_half_open_and_zeros_apart() -> None:
    u = torch.tensor([0.0, 0.002, -0.009, 0.01, 5.0, -0.0, 1.0, -7.0], dtype=torch.float64)
    assert shares_of_decades(u) == {None: 2 / 8, -3: 2 / 8, -2: 1 / 8, 0: 3 / 8}


@given(seed=st.integers(0, 50), power=st.floats(0.1, 4))
def test_shares_of_decades_add_up_to_one(seed: int, power: float) -> None:
    u = vector(40, seed=seed).abs() ** power
    u[:3] = 0
    assert math.fsum(shares_of_decades(u).values()) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("percent", "size", "count"), [(0.1, 1000, 1), (0.1, 10, 1), (50, 10, 5), (99.9, 10, 9), (10, 1, 0)]
)
def test_a_percentage_is_some_and_never_all(percent: float, size: int, count: int) -> None:
    assert how_many(percent, size) == count


def test_the_largest_are_removed_and_weighed() -> None:
    u = vector(30, seed=2)
    order = sorted(range(30), key=lambda i: -abs(float(u[i])))
    top = largest(u, 6)
    assert sorted(top.tolist()) == sorted(order[:6])
    kept = without(u, top)
    assert [i for i in range(30) if kept[i] == 0] == sorted(order[:6])
    assert torch.equal(kept + torch.where(kept == 0, u, 0), u)
    expected = sum(float(u[i]) ** 2 for i in order[:6]) / float(u @ u)
    assert share(u.square(), top) == pytest.approx(expected, rel=1e-12)
    assert share(u.square(), top) + share(u.square(), torch.tensor(order[6:])) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("terms", [[1.0, -2.0], [0.0, 0.0], [math.nan, 1.0]])
def test_of_a_sum_that_is_not_positive_there_are_no_shares(terms: list[float]) -> None:
    assert math.isnan(share(torch.tensor(terms), torch.tensor([0])))


def test_random_places_are_distinct_and_the_same_for_a_seed() -> None:
    places = at_random(50, 20, seed=3)
    assert len(set(places.tolist())) == 20
    assert torch.equal(places, at_random(50, 20, seed=3))
    assert not torch.equal(places, at_random(50, 20, seed=4))


def test_rank_correlation_sees_order_alone() -> None:
    a = vector(30, seed=5).abs()
    assert rank_correlation(a, a**3) == pytest.approx(1.0)
    assert rank_correlation(a, 1 / a) == pytest.approx(-1.0)
    b = vector(30, seed=6)
    rank_a, rank_b = (torch.argsort(torch.argsort(x)).double() for x in (a, b))
    by_hand = 1 - 6 * float((rank_a - rank_b).square().sum()) / (30 * (30**2 - 1))  # Spearman's formula, no ties
    assert rank_correlation(a, b) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("digits", [0, 1, 9])  # from many ties to none
@pytest.mark.parametrize("size", [3, 10, 1001])
def test_rank_correlation_is_scipys_to_the_last_bit(size: int, digits: int) -> None:
    a = vector(size, seed=5)
    b = a + vector(size, seed=6)
    a, b = a.round(decimals=digits), b.round(decimals=digits)
    assert rank_correlation(a, b) == float(spearmanr(a.numpy(), b.numpy()).statistic)


def test_what_is_constant_or_not_finite_has_no_rank_correlation() -> None:
    a = vector(5, seed=5)
    for b in (torch.ones(5), torch.full((5,), math.nan), torch.tensor([1.0, 2.0, 3.0, 4.0, math.inf])):
        assert math.isnan(rank_correlation(a, b))
        assert math.isnan(rank_correlation(b, a))


@pytest.mark.parametrize("percents", [(), (0.0,), (100.0,), (-1.0,), (1.0, 1.0), (math.nan,)])
def test_percents_that_make_no_sense_are_refused(percents: tuple[float, ...]) -> None:
    with pytest.raises(ClipbenchError, match="above 0 and below 100"):
        require_percents(percents, where="here")
