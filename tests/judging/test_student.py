"""Student's t in closed form, against SciPy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipbench.judging.student import above, quantile, two_sided

DOFS = (1, 2, 3, 4, 5, 8, 9, 30, 31, 99, 100, 1001, 9999)


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("t", [0.0, 0.3, -0.7, 1.0, 2.0, -3.5, 12.7, 63.0])
def test_the_probabilities_are_scipys(t: float, dof: int) -> None:
    assert two_sided(t, dof) == pytest.approx(2 * stats.t.sf(abs(t), dof), rel=0, abs=1e-12)
    assert above(t, dof) == pytest.approx(stats.t.sf(t, dof), rel=0, abs=1e-12)


def test_near_zero_it_is_cauchys_where_there_is_one_degree_of_freedom() -> None:
    """SciPy 1.17 rounds this one to 1."""
    assert two_sided(1e-9, 1) == pytest.approx(1 - 2e-9 / math.pi, rel=0, abs=1e-15)


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.8, 0.95, 0.975, 0.9995, 1 - 0.025 / 45])
def test_the_quantiles_are_scipys(probability: float, dof: int) -> None:
    assert quantile(probability, dof) == pytest.approx(stats.t.ppf(probability, dof), rel=1e-9, abs=1e-12)


@given(st.floats(0.5, 0.9999), st.integers(1, 200))
def test_a_quantile_has_the_probability_it_was_asked_for(probability: float, dof: int) -> None:
    assert 1 - above(quantile(probability, dof), dof) == pytest.approx(probability, rel=0, abs=1e-12)


def test_an_infinite_t_is_never_chance_and_nan_stays_nan() -> None:
    assert two_sided(math.inf, 3) == 0.0
    assert math.isnan(two_sided(math.nan, 3))


def test_what_has_no_meaning_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one degree"):
        two_sided(1.0, 0)
    for probability in (0.4, 1.0):
        with pytest.raises(ValueError, match=r"at least 0\.5 and below 1"):
            quantile(probability, 3)
