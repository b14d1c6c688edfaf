"""p-values, their correction, and the seeds an effect needs, against SciPy and naive search."""

import math
from itertools import combinations, count

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from clipbench.judging.chance import (
    holm,
    holm_levels,
    p_beyond,
    p_value,
    seeds_needed,
    seeds_to_show,
    sign_test,
)
from clipbench.judging.statistics import Estimate, estimate

VALUES = [0.3, -0.1, 0.5, 0.2]


def test_p_is_the_one_sample_t_tests() -> None:
    assert p_value(estimate(VALUES)) == pytest.approx(stats.ttest_1samp(VALUES, 0.0).pvalue, rel=1e-9)


def test_where_nothing_can_be_said_p_is_one() -> None:
    assert [p_value(estimate(values)) for values in ([], [1.0], [0.0, 0.0], [math.inf, 1.0])] == [1.0] * 4
    assert [p_beyond(estimate(values), 0.1) for values in ([], [1.0], [math.nan, 1.0])] == [1.0] * 3


@pytest.mark.parametrize(
    "of", [Estimate(0.1, 0.01, 1), Estimate(math.inf, 0.01, 3), Estimate(0.1, math.inf, 3), Estimate(0.1, math.nan, 3)]
)
def test_of_one_value_or_one_that_is_not_finite_nothing_can_be_said_whatever_the_rest(of: Estimate) -> None:
    assert (p_value(of), p_beyond(of, 1.0)) == (1.0, 1.0)
    assert math.isnan(seeds_needed(of))


def test_equal_values_leave_no_doubt() -> None:
    assert p_value(estimate([2.0, 2.0])) == 0.0
    assert p_beyond(estimate([0.5, 0.5]), 1.0) == 0.0
    assert p_beyond(estimate([0.5, 0.5]), 0.5) == 1.0


def test_being_within_a_margin_is_two_one_sided_tests() -> None:
    below = stats.ttest_1samp(VALUES, 1.0, alternative="less").pvalue
    above = stats.ttest_1samp(VALUES, -1.0, alternative="greater").pvalue
    assert p_beyond(estimate(VALUES), 1.0) == pytest.approx(max(below, above), rel=1e-9)
    assert p_beyond(estimate(VALUES), 0.1) > 0.5  # the mean itself lies outside


@given(st.integers(0, 12), st.integers(0, 12))
def test_the_sign_test_is_the_binomial_one(ahead: int, behind: int) -> None:
    expected = stats.binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0
    assert sign_test(ahead, behind) == pytest.approx(expected, rel=1e-9)


def test_holm_is_worked_out_by_hand() -> None:
    """0.01·4, 0.02·3, then 0.03·2 = 0.06 and 0.04·1, which is no less than the one before it."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_steps_down_reject(probabilities: list[float]) -> None:
    """The definition: from the least p on, reject while p ≤ 0.05/(how many are left)."""
    left, rejected = len(probabilities), set()
    for place in sorted(range(len(probabilities)), key=probabilities.__getitem__):
        if probabilities[place] * left > 0.05:
            break
        rejected.add(place)
        left -= 1
    assert {place for place, p in enumerate(holm(probabilities)) if p <= 0.05} == rejected


def test_the_levels_of_holm_are_worked_out_by_hand() -> None:
    """0.001 ≤ 0.05/4 and 0.01 ≤ 0.05/3; 0.03 > 0.05/2, and there the level stays."""
    assert holm_levels([0.03, 0.001, 0.04, 0.01]) == [0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3]
    assert holm_levels([0.025, 0.9]) == [0.025, 0.05]  # what is at its level is rejected
    assert holm_levels([]) == []
    assert holm_levels([0.2]) == [0.05]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_judging_at_holms_levels_rejects_what_corrected_probabilities_reject(probabilities: list[float]) -> None:
    levels, corrected = holm_levels(probabilities), holm(probabilities)
    for place, p in enumerate(probabilities):
        if not math.isclose(corrected[place], 0.05, rel_tol=1e-9):
            assert (p <= levels[place]) == (corrected[place] <= 0.05)


def test_weighted_levels_are_worked_out_by_hand() -> None:
    """p/w is 0.002, 0.02 and 0.03; then, the other way, the first of them is above its level and all weights stay."""
    assert holm_levels([0.02, 0.016, 0.03], [1, 8, 1]) == pytest.approx([0.05 / 2, 0.05 * 8 / 10, 0.05])
    assert holm_levels([0.03, 0.05, 0.03], [1, 8, 1]) == pytest.approx([0.05 / 10, 0.05 * 8 / 10, 0.05 / 10])


tested = st.tuples(st.floats(0, 0.1), st.sampled_from([0.5, 1.0, 3.0, 8.0]))


@given(st.lists(tested, min_size=1, max_size=6))
def test_weighted_levels_reject_what_closed_testing_rejects(family: list[tuple[float, float]]) -> None:
    """The definition: a hypothesis is rejected where every subset that holds it is, by weighted Bonferroni: some p of
    the subset is at most 0.05 times its weight over the subset's."""

    def bound(place: int, subset: tuple[int, ...]) -> float:
        return 0.05 * family[place][1] / sum(family[other][1] for other in subset)

    places = range(len(family))
    subsets = [chosen for size in range(1, len(family) + 1) for chosen in combinations(places, size)]
    assume(all(not math.isclose(family[i][0], bound(i, s), rel_tol=1e-9) for s in subsets for i in s))
    falls = {subset: any(family[i][0] <= bound(i, subset) for i in subset) for subset in subsets}
    expected = [all(falls[subset] for subset in subsets if place in subset) for place in places]
    levels = holm_levels([p for p, _ in family], [weight for _, weight in family])
    assert [p <= level for (p, _), level in zip(family, levels, strict=True)] == expected


# By a power of two, and not towards 0, every p divides exactly: rounding could make two that differ a tie.
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.sampled_from([1.0, 0.125]))
def test_equal_weights_are_no_weights(probabilities: list[float], weight: float) -> None:
    assert holm_levels(probabilities, [weight] * len(probabilities)) == pytest.approx(holm_levels(probabilities))


@pytest.mark.parametrize("tests", [1, 6])
@pytest.mark.parametrize(
    ("mean", "spread"), [(1.0, 1.0), (0.1, 0.2), (-0.5, 2.0), (1.0, 0.01), (1.0, 0.33), (1.0, 1.14)]
)
def test_the_seeds_needed_are_the_first_that_suffice(mean: float, spread: float, tests: int) -> None:
    def suffice(n: int) -> bool:
        needed = stats.t.ppf(1 - 0.025 / tests, n - 1) + stats.t.ppf(0.8, n - 1)
        return bool(needed * spread / math.sqrt(n) <= abs(mean))

    expected = next(n for n in count(2) if suffice(n))
    assert seeds_needed(Estimate(mean, spread / math.sqrt(3), 3), tests=tests) == expected


def test_with_that_many_seeds_four_in_five_experiments_decide() -> None:
    """The power of the t test at the n it names, by the noncentral t distribution: the formula is a close guide."""
    n = seeds_needed(Estimate(0.5, 1.0 / math.sqrt(3), 3))
    threshold = stats.t.ppf(0.975, n - 1)
    assert 1 - stats.nct.cdf(threshold, n - 1, 0.5 * math.sqrt(n)) == pytest.approx(0.8, abs=0.02)


def test_without_an_effect_or_a_spread_no_number_of_seeds_is_named() -> None:
    assert seeds_needed(Estimate(0.0, 1.0, 3)) == math.inf
    assert seeds_needed(Estimate(1e-6, 1.0, 3)) == math.inf
    assert math.isnan(seeds_needed(Estimate(1.0, math.nan, 1)))
    assert seeds_to_show(0.1, 0.0) == 2
    assert seeds_to_show(1e-9, 1.0) == math.inf
