"""Verdicts on several comparisons at once, their correction and the ranks, against SciPy and the definitions."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from clipbench.judging import families
from clipbench.judging.families import Judged, Ranks, Verdict, holm, judge, ranks
from clipbench.judging.paired import Paired, Side, paired, seeds_to_show
from clipbench.quantities import Reading

LOWER, HIGHER, OPEN = (-1.0, -1.1, -1.05), (1.0, 1.1, 1.05), (0.1, 0.4, -0.1)

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def about(*differences: float, misses: Mapping[str, int] | None = None, **more: Any) -> families.Test:
    """A question about these differences, with so many misses among them."""
    return families.Test(Paired("linear", dict(enumerate(differences)), **(misses or {})), **more)


def alone(*differences: float, **more: Any) -> Verdict:
    [verdict] = judge([about(*differences, **more)])
    return verdict


def p_of(differences: tuple[float, ...], alternative: str = "two-sided") -> float:
    return float(stats.ttest_1samp(differences, 0.0, alternative=alternative).pvalue)


# Holm's correction


def test_holm_is_worked_out_by_hand() -> None:
    """0.01·4, 0.02·3, then 0.03·2 = 0.06 and 0.04·1, which is no less than the one before it."""
    assert [each.p for each in holm([0.03, 0.01, 0.04, 0.02])] == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []
    assert [each.p for each in holm([0.5, 0.9])] == [1.0, 1.0]


def test_the_levels_of_holm_are_worked_out_by_hand() -> None:
    """0.001 ≤ 0.05/4 and 0.01 ≤ 0.05/3; 0.03 > 0.05/2, and there the level stays."""
    assert [each.level for each in holm([0.03, 0.001, 0.04, 0.01])] == [0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3]
    assert [each.level for each in holm([0.025, 0.9])] == [0.025, 0.05]  # what is at its level is rejected
    assert holm([0.2]) == [Judged(0.2, 0.05)]


@given(p_values)
def test_holm_rejects_what_its_steps_down_reject(probabilities: list[float]) -> None:
    """The definition: from the least p on, reject while p ≤ 0.05/(how many are left)."""
    left, rejected = len(probabilities), set()
    for place in sorted(range(len(probabilities)), key=probabilities.__getitem__):
        if probabilities[place] * left > 0.05:
            break
        rejected.add(place)
        left -= 1
    assert {place for place, each in enumerate(holm(probabilities)) if each.p <= 0.05} == rejected


tested = st.tuples(st.floats(0, 0.1), st.sampled_from([0.5, 1.0, 3.0, 8.0]))


@given(st.lists(tested, min_size=1, max_size=12))
def test_judging_at_the_levels_rejects_what_corrected_p_values_reject(family: list[tuple[float, float]]) -> None:
    judged = holm([p for p, _ in family], [weight for _, weight in family])
    for (p, _), each in zip(family, judged, strict=True):
        if not math.isclose(each.p, 0.05, rel_tol=1e-9):
            assert (p <= each.level) == (each.p <= 0.05)


def test_weighted_levels_are_worked_out_by_hand() -> None:
    """p/w is 0.002, 0.02 and 0.03; then, the other way, the first of them is above its level and all weights stay."""
    judged = holm([0.02, 0.016, 0.03], [1, 8, 1])
    assert [each.level for each in judged] == pytest.approx([0.05 / 2, 0.05 * 8 / 10, 0.05])
    assert [each.p for each in judged] == pytest.approx([0.02 * 2, 0.016 * 10 / 8, 0.04])
    judged = holm([0.03, 0.05, 0.03], [1, 8, 1])
    assert [each.level for each in judged] == pytest.approx([0.05 / 10, 0.05 * 8 / 10, 0.05 / 10])


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
    judged = holm([p for p, _ in family], [weight for _, weight in family])
    assert [p <= each.level for (p, _), each in zip(family, judged, strict=True)] == expected


# By a power of two, and not towards 0, every p divides exactly: rounding could make two that differ a tie.
@given(p_values, st.sampled_from([1.0, 0.125]))
def test_equal_weights_are_no_weights(probabilities: list[float], weight: float) -> None:
    weighted, plain = holm(probabilities, [weight] * len(probabilities)), holm(probabilities)
    assert [each.level for each in weighted] == pytest.approx([each.level for each in plain])
    assert [each.p for each in weighted] == pytest.approx([each.p for each in plain])


# Verdicts on both sides


@pytest.mark.parametrize(
    ("differences", "margin", "word"),
    [
        (LOWER, None, "lower"),
        (HIGHER, None, "higher"),
        (OPEN, None, "undecided"),
        ((0.0, 0.0), None, "identical"),
        ((0.0, 0.0), 0.5, "identical"),
        ((0.0,), None, "undecided"),
        ((-1.0,), 5.0, "undecided"),
        ((), 5.0, "undecided"),
        ((math.nan, 1.0), 5.0, "undecided"),
        (LOWER, 0.5, "lower"),
        (LOWER, 2.0, "equivalent"),  # lower all the same, by what does not matter
        (HIGHER, 2.0, "equivalent"),
        (OPEN, 0.5, "undecided"),
        (OPEN, 2.0, "equivalent"),
    ],
)
def test_the_word_of_a_comparison_by_itself(differences: tuple[float, ...], margin: float | None, word: str) -> None:
    assert alone(*differences, margin=margin).word == word


def test_a_verdict_has_the_corrected_p_the_level_and_the_interval_at_it() -> None:
    """Two tests: the clearer one is judged at 0.05/2, and the other, as that one is decided, at 0.05."""
    first, second = judge([about(*LOWER), about(*OPEN)])
    assert (first.p, first.level) == pytest.approx((2 * p_of(LOWER), 0.025))
    assert (second.p, second.level) == pytest.approx((p_of(OPEN), 0.05))
    for verdict, differences in ((first, LOWER), (second, OPEN)):
        expected = stats.ttest_1samp(differences, 0.0).confidence_interval(1 - verdict.level)
        assert (verdict.low, verdict.high) == pytest.approx((expected.low, expected.high))


def test_a_comparison_that_is_decided_by_itself_is_not_among_many() -> None:
    found = (-0.5, -0.4, -0.6)
    assert alone(*found).word == "lower"
    among = judge([about(*found), *(about(0.1 * place, 0.3, -0.2) for place in range(8))])
    assert (among[0].word, among[0].level) == pytest.approx(("undecided", 0.05 / 9))


def test_a_single_pair_takes_no_part_in_the_correction() -> None:
    """Nor has it an interval; its level is the least of the family, for it has been given none of its own."""
    decided, single, empty = judge([about(*LOWER), about(-1.0), about()])
    assert (decided.word, decided.p, decided.level) == pytest.approx(("lower", p_of(LOWER), 0.05))
    assert [each.level for each in judge([about(-1.0), about(*LOWER), about(*OPEN)])] == [0.025, 0.025, 0.05]
    for untested in (single, empty):
        assert (untested.word, untested.p, untested.level) == ("undecided", 1.0, 0.05)
        assert math.isnan(untested.low)
        assert math.isnan(untested.seeds_needed)


def test_the_seeds_that_are_asked_for_are_those_at_the_comparisons_own_level() -> None:
    """Two that stay open are judged at 0.05/2 both; beside one that is decided, one is judged at 0.05."""
    spread = float(stats.tstd(OPEN))
    both = judge([about(*OPEN), about(*(2 * each for each in OPEN))])
    assert [each.seeds_needed for each in both] == [seeds_to_show(0.4 / 3, spread, level=0.025)] * 2
    open_one, settled = judge([about(*OPEN), about(*LOWER)])
    assert open_one.seeds_needed == seeds_to_show(0.4 / 3, spread, level=0.05)
    assert math.isnan(settled.seeds_needed)


def test_equivalence_is_corrected_among_itself() -> None:
    """A margin that is kept by itself is not kept among many that are not."""
    margin = next(0.3 + 0.01 * at for at in range(500) if alone(*OPEN, margin=0.3 + 0.01 * at).word == "equivalent")
    others = [about(0.1 * place, 3.0, -2.0, margin=margin) for place in range(4)]
    assert judge([about(*OPEN, margin=margin), *others])[0].word == "undecided"
    assert judge([about(*OPEN, margin=margin), about(*HIGHER)])[0].word == "undecided"  # that one has no margin
    assert judge([about(*OPEN, margin=4 * margin), *others])[0].word == "equivalent"


@pytest.mark.parametrize(
    ("misses", "low", "high"),
    [
        ({"ahead": 1}, "lower", "undecided"),  # they missed: it is at most so high
        ({"behind": 1}, "undecided", "higher"),
        ({"ahead": 1, "behind": 1}, "lower", "higher"),
    ],
)
def test_a_mean_with_a_miss_is_never_shown_against_what_is_known_of_it_and_nothing_is_equal(
    misses: dict[str, int], low: str, high: str
) -> None:
    assert alone(*LOWER, misses=misses).word == low
    assert alone(*HIGHER, misses=misses).word == high
    assert alone(*OPEN, misses=misses, margin=100.0).word == "undecided"
    assert alone(0.0, 0.0, misses=misses).word == "undecided"
    assert alone(*OPEN, misses=misses).seeds_needed == alone(*OPEN).seeds_needed


# Verdicts on one side


@pytest.mark.parametrize(
    ("differences", "margin", "word"),
    [
        (HIGHER, None, "higher"),
        (HIGHER, 0.5, "higher"),
        (HIGHER, 2.0, "not higher"),  # above 0, and by what does not matter
        (HIGHER, 1.06, "undecided"),
        (LOWER, None, "not higher"),
        ((0.0, 0.0), 0.5, "not higher"),
        ((0.0, 0.0), None, "undecided"),  # at the margin, which is not below it
        (OPEN, 0.3, "undecided"),
        (OPEN, 1.0, "not higher"),
        ((-1.0,), 1.0, "undecided"),
    ],
)
def test_the_word_of_a_one_sided_comparison(differences: tuple[float, ...], margin: float | None, word: str) -> None:
    assert alone(*differences, side="higher", margin=margin).word == word


def test_a_one_sided_verdict_has_a_bound_at_its_level_and_one_at_five_percent() -> None:
    first, second = judge([about(*HIGHER, side="higher", weight=3.0), about(*OPEN, side="higher")])
    assert (first.p, first.level) == pytest.approx((4 / 3 * p_of(HIGHER, "greater"), 0.05 * 3 / 4))
    assert second.level == 0.05
    above = stats.ttest_1samp(HIGHER, 0.0, alternative="greater").confidence_interval(1 - first.level)
    below = stats.ttest_1samp(HIGHER, 0.0, alternative="less").confidence_interval(0.95)
    assert (first.low, first.high) == pytest.approx((above.low, below.high))


def test_a_target_that_the_candidate_missed_is_never_not_higher() -> None:
    """Where it was the baseline that missed, the mean is at most what is seen."""
    assert alone(*LOWER, side="higher", margin=1.0, misses={"behind": 1}).word == "undecided"
    assert alone(*LOWER, side="higher", margin=1.0, misses={"ahead": 1}).word == "not higher"
    assert alone(*HIGHER, side="higher", margin=0.5, misses={"behind": 1}).word == "higher"


def test_of_a_one_sided_comparison_seeds_are_for_the_side_of_the_margin_that_it_is_on() -> None:
    """Above the margin the mean is to be shown above 0, at the level of the family; below it the distance that is left
    to it, at 5 %."""
    above = (0.5, 1.5, -0.6)
    found = judge([about(*differences, side="higher", margin=0.3) for differences in (above, OPEN)])
    assert [(each.word, each.level) for each in found] == [("undecided", 0.025)] * 2
    assert [each.seeds_needed for each in found] == [
        seeds_to_show(1.4 / 3, float(stats.tstd(above)), level=0.025, two_sided=False),
        seeds_to_show(0.3 - 0.4 / 3, float(stats.tstd(OPEN)), level=0.05, two_sided=False),
    ]


def test_a_mean_at_the_margin_is_beyond_any_number_of_seeds() -> None:
    assert alone(0.0, 1.0, side="higher", margin=0.5).seeds_needed == math.inf


# Ranks

Losses = Mapping[str, Mapping[int, float]]


def ranked(values: Losses, better: Side = "lower") -> dict[str, Ranks]:
    samples = {arm: {seed: Reading(value) for seed, value in of_arm.items()} for arm, of_arm in values.items()}
    return ranks(list(values), lambda one, other: paired(samples[one], samples[other], "linear"), better=better)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (((1.0, 1.1), (2.0, 2.1), (3.0, 3.1)), ((1, 1), (2, 2), (3, 3))),
        (((3.0, 3.1), (1.0, 1.1), (2.0, 2.1)), ((3, 3), (1, 1), (2, 2))),
        (((1.0, 9.0), (2.0, 2.1), (3.0, 3.1)), ((1, 3), (1, 2), (2, 3))),  # what is not decided is tied
        (((1.0,), (2.0,)), ((1, 2), (1, 2))),  # one seed ties everything
        (((1.0, 1.1), (1.0, 1.1)), ((1, 2), (1, 2))),
        (((1.0,),), ((1, 1),)),
        ((), ()),
    ],
)
def test_what_is_decided_is_ordered_and_the_rest_is_tied(
    values: tuple[tuple[float, ...], ...], expected: tuple[tuple[int, int], ...]
) -> None:
    of_arms = {arm: dict(enumerate(of_arm)) for arm, of_arm in zip("abc", values, strict=False)}
    turned = {arm: {seed: -value for seed, value in of_arm.items()} for arm, of_arm in of_arms.items()}
    for of in (ranked(of_arms), ranked(turned, better="higher")):
        assert of == {arm: Ranks(*of_arm) for arm, of_arm in zip("abc", expected, strict=False)}


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_every_pair_of_arms_is_corrected_for_all_pairs(seeds: int) -> None:
    """Against SciPy's paired t tests of all pairs, and the correction over them."""
    values = {
        arm: {seed: math.sin(7 * place + 3.1 * seed) + 0.4 * place for seed in range(seeds)}
        for place, arm in enumerate("abcdef")
    }
    pairs = [(one, other) for one in values for other in values if one < other]
    raw = [stats.ttest_rel(list(values[one].values()), list(values[other].values())) for one, other in pairs]
    corrected = holm([float(test.pvalue) for test in raw])
    decided = [(pair, test.statistic < 0) for pair, test, of in zip(pairs, raw, corrected, strict=True) if of.p <= 0.05]
    above = {arm: sum(pair[0 if lower else 1] != arm for pair, lower in decided if arm in pair) for arm in values}
    below = {arm: sum(pair[0 if lower else 1] == arm for pair, lower in decided if arm in pair) for arm in values}
    assert ranked(values) == {arm: Ranks(1 + above[arm], 6 - below[arm]) for arm in values}


def test_arms_are_ranked_by_the_seeds_that_both_have() -> None:
    """By all of its own seeds the first would be the worse."""
    few, many = {0: 2.0, 1: 2.1}, {0: 1.0, 1: 1.1, 2: 50.0}
    for values in ({"many": many, "few": few}, {"few": few, "many": many}):
        assert ranked(values) == {"many": Ranks(1, 1), "few": Ranks(2, 2)}
