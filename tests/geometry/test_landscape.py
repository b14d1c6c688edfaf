"""Searching a line: minima and crossings against closed forms, and what cannot be bracketed."""

import math
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipbench.geometry.landscape import FACTOR, REACH, explore

MULTIPLES = (0.25, 1.0, 4.0)
FAR = 4.0 * FACTOR**REACH


def parabola(slope: float, bend: float) -> Callable[[float], float]:
    return lambda t: slope * t + 0.5 * bend * t * t


@example(slope=-1.0, critical=0.25)  # the crossing is at a step that is looked at
@example(slope=-1.0, critical=0.0625)
@given(slope=st.floats(-1e3, -1e-3), critical=st.floats(1e-3, 1e3))
def test_on_a_parabola_both_are_exact(slope: float, critical: float) -> None:
    """The slope −c and the curvature s: the minimum is at c/s, as low as c²/2s, and the start is met again at 2c/s."""
    bend = -2 * slope / critical
    found = explore(parabola(slope, bend), MULTIPLES)
    assert found.missing == ()
    assert found.critical_multiple == pytest.approx(critical, rel=1e-5)
    assert found.critical_sharpness == pytest.approx(-bend / slope, rel=1e-5)
    assert found.best_multiple == pytest.approx(critical / 2, rel=1e-3)
    assert found.best_decrease == pytest.approx(slope**2 / (2 * bend), rel=1e-6)  # flat there: the square of the former


def test_every_multiple_is_seen_on_both_sides() -> None:
    found = explore(parabola(-1.0, 1.0), MULTIPLES)
    assert list(found.changes) == [-4.0, -1.0, -0.25, 0.25, 1.0, 4.0]
    assert found.changes[-4.0] == 12.0


@pytest.mark.parametrize("change", [parabola(-1.0, 0.0), parabola(-1.0, -3.0), lambda t: -math.tanh(t)])
def test_a_loss_that_never_rises_has_neither_and_says_so(change: Callable[[float], float]) -> None:
    found = explore(change, MULTIPLES)
    assert math.isnan(found.critical_multiple)
    assert any("still below its start" in why for why in found.missing)
    if change(FAR) < change(1.0) - 0.5:
        assert math.isnan(found.best_multiple)
        assert math.isnan(found.best_decrease)
        assert any("still falls" in why for why in found.missing)


@pytest.mark.parametrize("change", [parabola(1.0, 2.0), parabola(0.0, 2.0), lambda _: 0.0, lambda _: math.nan])
def test_a_loss_that_does_not_fall_has_neither_and_says_so(change: Callable[[float], float]) -> None:
    found = explore(change, MULTIPLES)
    assert found.missing == ("the loss does not fall at any step that rounding lets one see",)
    assert math.isnan(found.critical_sharpness)
    assert math.isnan(found.best_decrease)


def test_a_fall_that_rounding_could_be_is_none() -> None:
    shallow = parabola(-1e-4, 1.0)  # 5e-9 deep at most
    assert explore(shallow, MULTIPLES).critical_multiple == pytest.approx(2e-4, rel=1e-5)
    assert explore(shallow, MULTIPLES, blur=1e-8).missing != ()


def test_a_dip_in_what_comes_before_the_smallest_multiple_is_found() -> None:
    found = explore(parabola(-1.0, 2000.0), MULTIPLES)
    assert found.critical_multiple == pytest.approx(1e-3, rel=1e-5)


@pytest.mark.parametrize("beyond", [math.inf, math.nan, 1e35])
def test_a_cliff_is_a_rise(beyond: float) -> None:
    """Falls all the way to 0.7, where there is no loss any more."""
    found = explore(lambda t: -t if t < 0.7 else beyond, MULTIPLES)
    assert found.critical_multiple == pytest.approx(0.7, rel=1e-5)
    assert found.best_decrease == pytest.approx(0.7, rel=0.01)  # narrowed from the inside
    assert found.missing == ()


def test_of_two_valleys_the_start_is_crossed_where_the_first_ends() -> None:
    def change(t: float) -> float:  # down until 1, a ridge of +1 from 1 to 8, and then a lower valley, which ends
        return math.sin(-math.pi * t) * 0.5 if t <= 1 else 1.0 if t < 8 else -2.0 if t < 40 else 1.0

    found = explore(change, (0.5, 2.0, 10.0))
    assert found.critical_multiple == pytest.approx(1.0, rel=1e-4)
    assert found.best_decrease == pytest.approx(2.0, rel=1e-9)


def test_a_ridge_at_the_start_leaves_no_crossing_from_below() -> None:
    found = explore(lambda t: 1.0 if t < 0.5 else -1.0 if t < 30 else 2.0, MULTIPLES)
    assert any("rises before it falls" in why for why in found.missing)
    assert found.best_decrease == 1.0
