import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipbench.judging.gate.shift import Shift, seeds_to_decide, shift
from clipbench.judging.paired import MOST_SEEDS

values = st.lists(st.floats(min_value=-1.0, max_value=1.0), min_size=2, max_size=12)


@given(values)
def test_the_p_value_and_the_bounds_are_scipys(differences: list[float]) -> None:
    if len(set(differences)) == 1 or stats.tstd(differences) < 1e-6:
        return
    of = shift(differences)
    expected = stats.ttest_1samp(differences, 0.0, alternative="greater")
    # where all values are close to one another, the standard deviation has lost digits to cancellation
    assert of.p == pytest.approx(expected.pvalue, rel=1e-4, abs=1e-9)
    assert of.low(0.05) == pytest.approx(expected.confidence_interval(0.95).low, rel=1e-4, abs=1e-9)
    below = stats.ttest_1samp(differences, 0.0, alternative="less")
    assert of.high() == pytest.approx(below.confidence_interval(0.95).high, rel=1e-4, abs=1e-9)


@given(values, st.floats(min_value=0.001, max_value=0.5))
def test_a_p_value_is_below_a_level_exactly_where_the_bound_is_above_zero(
    differences: list[float], level: float
) -> None:
    of = shift(differences)
    if abs(of.p - level) > 1e-6 and of.deviation > 1e-6:
        assert (of.p < level) == (of.low(level) > 0)


@pytest.mark.parametrize(("mean", "p"), [(0.5, 0.0), (0.0, 1.0), (-0.5, 1.0)])
def test_differences_without_spread_are_certain(mean: float, p: float) -> None:
    assert shift([mean, mean, mean]).p == p


def test_readings_that_agree_to_their_step_are_not_certain() -> None:
    """Two rounding errors, each uniform over a step of 0.1, have a standard deviation of 0.1/√6 together."""
    of = shift([0.1, 0.1], resolution=0.1)
    assert of.deviation == pytest.approx(0.1 / math.sqrt(6))
    assert of.p > 0.05
    assert shift([0.5, -0.5], resolution=0.1).deviation == pytest.approx(math.sqrt(0.5))


def test_the_seeds_needed_are_the_fewest_that_would_decide() -> None:
    """By counting up, in place of a search by halves."""
    for of, tolerance, level in (
        (Shift(0.05, 0.03, 3), 0.02, 0.001),
        (Shift(0.01, 0.03, 3), 0.02, 0.001),
        (Shift(-0.01, 0.5, 5), 0.02, 0.001),
    ):
        margin, at = (of.mean, level) if of.mean > tolerance else (tolerance - of.mean, 0.05)
        naive = next(n for n in range(2, MOST_SEEDS) if stats.t.ppf(1 - at, n - 1) * of.deviation / n**0.5 < margin)
        assert seeds_to_decide(of, tolerance, level=level) == naive


def test_a_mean_at_the_tolerance_is_beyond_any_number_of_seeds() -> None:
    assert seeds_to_decide(Shift(0.02, 0.01, 5), 0.02, level=0.05) is None
