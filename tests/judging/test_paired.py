"""The paired comparison of two samples, and the pairs an effect needs, against SciPy and by hand."""

import math
from collections.abc import Mapping
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipbench.judging.paired import Paired, Points, half_width, paired, seeds_to_show, so_many, typical
from clipbench.quantities import Reading
from clipbench.questions import Scale

VALUES = [0.3, -0.1, 0.5, 0.2]
LN2 = math.log(2)

by_seed = st.dictionaries(st.integers(0, 9), st.floats(-1e6, 1e6), min_size=3)
small = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


def of(*differences: float, **more: float) -> Paired:
    return Paired("linear", dict(enumerate(differences)), **more)  # type: ignore[arg-type]


def apart(ours: Mapping[int, float], theirs: Mapping[int, float], scale: Scale = "linear") -> Paired:
    """Two samples of plain numbers, paired."""
    mine, others = ({seed: Reading(value) for seed, value in side.items()} for side in (ours, theirs))
    return paired(mine, others, scale)


def test_a_paired_difference_is_worked_out_by_hand() -> None:
    found = apart({0: 2.9, 1: 3.0, 2: 3.0}, {0: 3.0, 1: 3.2, 2: 3.1})
    assert (found.n, found.mean, found.error) == pytest.approx((3, -0.4 / 3, 1 / 30))
    # t(0.975, 2) = 4.30265 from a printed table
    assert found.interval() == pytest.approx((-0.4 / 3 - 4.30265 / 30, -0.4 / 3 + 4.30265 / 30), abs=1e-6)


def test_only_common_seeds_are_paired() -> None:
    found = apart({0: 1.0, 1: 2.0, 7: 100.0}, {0: 2.0, 1: 3.5, 2: -100.0})
    assert (found.differences, found.mean) == ({0: -1.0, 1: -1.5}, -1.25)


def test_pairing_removes_what_the_seeds_share() -> None:
    assert apart({0: 1.0, 1: 101.0, 2: 51.02}, {0: 2.0, 1: 102.01, 2: 52.01}).p < 0.001


def test_a_ratio_is_the_exponential_of_the_paired_logs() -> None:
    found = apart({0: 2.0, 1: 8.0}, {0: 1.0, 1: 2.0}, "log")
    low, high = map(found.shown, found.interval())
    assert found.shown(found.mean) == pytest.approx(math.sqrt(2 * 4))
    assert math.sqrt(low * high) == pytest.approx(math.sqrt(2 * 4))
    assert of(1.5, 2.5).shown(2.0) == 2.0  # a difference is shown as it is


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_what_has_no_logarithm_is_left_out_of_a_ratio_and_counted(value: float) -> None:
    for ours, theirs in ((value, 1.0), (1.0, value)):
        found = apart({0: ours, 1: 2.0}, {0: theirs, 1: 1.0}, "log")
        assert found.differences == {1: pytest.approx(LN2)}
        assert found.left_out == 1


@given(by_seed, by_seed)
def test_p_and_the_interval_are_those_of_scipys_paired_t_test(a: dict[int, float], b: dict[int, float]) -> None:
    seeds = sorted(a.keys() & b.keys())
    differences = [a[seed] - b[seed] for seed in seeds]
    if len(seeds) < 2 or len(set(differences)) == 1:
        return
    found = apart(a, b)
    expected = stats.ttest_rel([a[seed] for seed in seeds], [b[seed] for seed in seeds])
    assert found.p == pytest.approx(expected.pvalue, rel=1e-4, abs=1e-9)
    interval = expected.confidence_interval(0.95)
    # the interval's ends may cancel: they are as exact as its width and centre are
    scale = 1e-9 * max(1.0, *map(abs, differences)) * half_width(len(differences))
    assert found.interval() == pytest.approx((interval.low, interval.high), abs=scale)


@given(small, st.floats(-0.5, 0.5), st.sampled_from([0.05, 0.001]))
def test_one_sided_p_values_and_bounds_are_scipys(differences: list[float], beyond: float, level: float) -> None:
    if max(differences) - min(differences) < 1e-6:
        return
    found = of(*differences)
    above = stats.ttest_1samp(differences, beyond, alternative="greater")
    below = stats.ttest_1samp(differences, beyond, alternative="less")
    # where all values are close to one another, the standard deviation has lost digits to cancellation
    assert found.p_higher(beyond) == pytest.approx(above.pvalue, rel=1e-4, abs=1e-9)
    assert found.p_lower(beyond) == pytest.approx(below.pvalue, rel=1e-4, abs=1e-9)
    assert found.bound(level, -1) == pytest.approx(above.confidence_interval(1 - level).low, rel=1e-4, abs=1e-9)
    assert found.bound(level, 1) == pytest.approx(below.confidence_interval(1 - level).high, rel=1e-4, abs=1e-9)


@given(small, st.floats(0.001, 0.5))
def test_a_p_value_is_below_a_level_exactly_where_zero_lies_outside_the_interval(
    differences: list[float], level: float
) -> None:
    found = of(*differences)
    if found.error < 1e-6:
        return
    low, high = found.interval(level)
    if abs(found.p - level) > 1e-6:
        assert (found.p < level) == (low > 0 or high < 0)
    if abs(found.p_higher() - level) > 1e-6:
        assert (found.p_higher() < level) == (found.bound(level, -1) > 0)


@given(small, st.floats(0.01, 1))
def test_being_within_a_margin_is_two_one_sided_tests(differences: list[float], margin: float) -> None:
    if max(differences) - min(differences) < 1e-6:
        return
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    assert of(*differences).p_within(margin) == pytest.approx(max(below, above), rel=1e-4, abs=1e-9)


def test_a_mean_outside_the_margin_is_far_from_shown_to_be_within() -> None:
    assert of(*VALUES).p_within(1.0) < 0.05
    assert of(*VALUES).p_within(0.1) > 0.5


@given(by_seed, by_seed)
def test_swapping_the_two_sides_turns_the_sign(a: dict[int, float], b: dict[int, float]) -> None:
    one, other = apart(a, b), apart(b, a)
    assert one.n == other.n
    if one.n:
        assert (one.mean, one.p) == (-other.mean, other.p)


@pytest.mark.parametrize(
    "found",
    [
        of(),
        of(1.0),
        of(1.0, rounding=0.1),
        of(math.inf, 1.0),
        of(math.nan, 1.0),
        of(1e200, -1e200),
        of(0.1, 0.2, rounding=math.inf),
    ],
)
def test_of_one_pair_or_one_that_is_not_finite_nothing_can_be_said(found: Paired) -> None:
    assert (found.p, found.p_higher(), found.p_lower(), found.p_within(1.0)) == (1.0,) * 4
    assert math.isnan(found.seeds_to_decide())


@pytest.mark.parametrize(("value", "p", "higher", "lower"), [(2.0, 0, 0, 1), (-2.0, 0, 1, 0), (0.0, 1, 1, 1)])
def test_equal_differences_leave_no_doubt(value: float, p: float, higher: float, lower: float) -> None:
    found = of(value, value)
    assert (found.p, found.p_higher(), found.p_lower()) == (p, higher, lower)
    assert (found.p_within(3.0), found.p_within(2.0)) == (0.0, float(value != 0))


def test_a_difference_of_nothing_on_every_seed_is_identical() -> None:
    assert of(0.0, 0.0).identical
    assert of(0.0, 0.0, rounding=0.1).identical  # however coarsely it was read
    for found in (of(0.0), of(), of(0.0, 1e-300), of(0.0, 0.0, ahead=1)):
        assert not found.identical


def test_what_was_read_in_steps_is_no_surer_than_the_steps() -> None:
    assert of(0.1, 0.1, 0.1, 0.1, rounding=0.5).error == pytest.approx(0.25)
    assert of(0.0, 0.0, rounding=0.5).error == pytest.approx(0.5 / math.sqrt(2))
    assert of(0.0, 4.0, rounding=0.5).error == of(0.0, 4.0).error  # the seeds differ by more
    assert math.isnan(of(0.1, rounding=0.5).error)


def test_the_rounding_of_a_difference_is_that_of_two_typical_readings() -> None:
    """Over the readings that have any: 0.3 on our side, 0.4 on theirs."""
    ours = {0: Reading(1.0), 1: Reading(2.0, rounding=0.2), 2: Reading(3.0, rounding=0.4)}
    theirs = {seed: Reading(1.0, rounding=0.4) for seed in range(3)}
    assert typical(ours.values()) == pytest.approx(0.3)
    assert typical([Reading(1.0)]) == typical([]) == 0.0
    assert paired(ours, theirs, "linear").rounding == pytest.approx(0.5)
    alone = {3: Reading(math.inf, rounding=math.inf)}
    assert paired(ours | alone, theirs, "linear").rounding == pytest.approx(0.5)  # it is in no pair


SIDES = (
    {0: Reading(1.0), 1: Reading(2.0), 2: Reading(4.0), 3: Reading(8.0, at_least=True), 4: Reading(8.0, at_least=True)},
    {0: Reading(2.0), 1: Reading(4.0), 2: Reading(8.0, at_least=True), 3: Reading(4.0), 4: Reading(9.0, at_least=True)},
)


@pytest.mark.parametrize("turned", [False, True])
def test_a_miss_is_in_the_mean_as_its_least_and_two_are_in_none(turned: bool) -> None:
    """Two pairs both reached it, on one only we did, on one only they, and on one neither: ½, ½, ½, 2."""
    ours, theirs = reversed(SIDES) if turned else SIDES
    found = paired(ours, theirs, "log")
    assert found.mean == pytest.approx(LN2 / 2 if turned else -LN2 / 2)
    assert (found.n, found.ahead, found.behind, found.neither, found.left_out) == (4, 1, 1, 1, 0)
    assert found.p == pytest.approx(stats.ttest_1samp([-LN2, -LN2, -LN2, LN2], 0.0).pvalue)


def test_a_mean_with_a_miss_shows_no_equality() -> None:
    assert of(0.1, 0.11, 0.09).p_within(1.0) < 0.05
    for missed in ({"ahead": 1}, {"behind": 1}):
        found = of(0.1, 0.11, 0.09, **missed)
        assert (found.at_least, found.p_within(1.0)) == (True, 1.0)
        assert found.p == of(0.1, 0.11, 0.09).p  # and a difference as any other
    assert not of(0.1, 0.11, neither=3).at_least


def test_of_pairs_that_are_copies_the_first_counts_but_where_each_was_measured_anew() -> None:
    ours = {seed: Reading(2.0 + seed) for seed in range(4)}
    theirs = {seed: Reading(1.0) for seed in range(4)}
    ends = {0: "a", 1: "a", 2: "b", 3: ""}, {0: "x", 1: "x", 2: "x", 3: "x"}
    assert list(paired(ours, theirs, "linear", ends=ends).differences) == [0, 2, 3]
    assert list(paired(ours, theirs, "linear").differences) == [0, 1, 2, 3]


def test_points_are_averaged_in_their_unit_and_only_units_are_pairs() -> None:
    """Seed 0: 4 and 16 times, whose mean logarithm is ln 8; seed 1: 2 times."""
    points = Points("log")
    for seed, ours, theirs in ((0, 4.0, 1.0), (0, 16.0, 1.0), (1, 4.0, 2.0), (1, -1.0, 1.0), (1, 1.0, math.inf)):
        points.add(seed, ours, theirs)
    found = points.paired(rounding=0.1)
    assert found.differences == {0: pytest.approx(3 * LN2), 1: pytest.approx(LN2)}
    assert (found.rounding, found.left_out) == (0.1, 2)
    assert sorted(points.used) == pytest.approx([LN2, 2 * LN2, 4 * LN2])
    plain = Points("linear")
    plain.add("task", -1.0, 2.0)
    plain.add_difference("task", math.nan)
    assert (plain.paired().differences, plain.left_out) == ({"task": -3.0}, 1)


@pytest.mark.parametrize(("level", "two_sided"), [(0.05, True), (0.05 / 6, True), (0.05, False)])
@pytest.mark.parametrize(("effect", "spread"), [(1.0, 1.0), (0.1, 0.2), (0.5, 2.0), (1.0, 0.01), (1.0, 0.33)])
def test_the_seeds_needed_are_the_first_that_suffice(
    effect: float, spread: float, level: float, two_sided: bool
) -> None:
    def suffice(n: int) -> bool:
        needed = stats.t.ppf(1 - level / (1 + two_sided), n - 1) + stats.t.ppf(0.8, n - 1)
        return bool(needed * spread / math.sqrt(n) <= effect)

    expected = next(n for n in count(2) if suffice(n))
    assert seeds_to_show(effect, spread, level=level, two_sided=two_sided) == expected


def test_a_comparison_asks_for_the_seeds_that_its_own_mean_and_spread_need() -> None:
    """The spread of single differences, and the size of their mean whatever its sign."""
    spread = float(stats.tstd(VALUES))
    for found in (of(*VALUES), of(*(-value for value in VALUES))):
        assert found.seeds_to_decide() == seeds_to_show(0.225, spread)
        assert found.seeds_to_decide(0.01) == seeds_to_show(0.225, spread, level=0.01)


def test_with_that_many_seeds_four_in_five_experiments_decide() -> None:
    """The power of the t test at the n it names, by the noncentral t distribution: the formula is a close guide."""
    n = seeds_to_show(0.5, 1.0)
    threshold = stats.t.ppf(0.975, n - 1)
    assert 1 - stats.nct.cdf(threshold, n - 1, 0.5 * math.sqrt(n)) == pytest.approx(0.8, abs=0.02)


def test_without_an_effect_or_a_spread_no_number_of_seeds_is_named() -> None:
    assert of(0.1, -0.1).seeds_to_decide() == seeds_to_show(1e-9, 1.0) == seeds_to_show(-1.0, 1.0) == math.inf
    assert seeds_to_show(0.1, 0.0) == 2
    assert (so_many(math.inf), so_many(34.0)) == ("more than 10000", "34")


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_half_width_is_students(n: int) -> None:
    assert half_width(n) == pytest.approx(stats.t.ppf(0.975, n - 1))
    assert half_width(n, 0.01) == pytest.approx(stats.t.ppf(0.995, n - 1))


def missed(value: float) -> Reading:
    return Reading(value, at_least=True)


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"),
    [
        (Reading(5.0), missed(10.0), 1),
        (missed(10.0), Reading(5.0), 1),
        (Reading(20.0), missed(10.0), 0),  # they may have been there at 15
        (missed(10.0), Reading(20.0), 0),
        (missed(10.0), Reading(10.0), 0),
        (missed(10.0), missed(20.0), 0),
        (Reading(10.0), Reading(20.0), 1),
    ],
)
def test_a_miss_says_nothing_beside_a_run_that_was_looked_at_for_longer(
    ours: Reading, theirs: Reading, kept: int
) -> None:
    found = paired({0: ours}, {0: theirs}, "log")
    assert (found.n, found.neither) == (kept, 1 - kept)
    assert paired({0: theirs}, {0: ours}, "log").mean == pytest.approx(-found.mean, nan_ok=True)


def test_sides_that_change_places_turn_the_sign_and_who_missed() -> None:
    found = paired({0: Reading(5.0), 1: Reading(1.0)}, {0: missed(10.0), 1: Reading(2.0)}, "log")
    turned = found.turned()
    assert (turned.mean, turned.ahead, turned.behind) == (-found.mean, 0, 1)
    assert (found.can_be("lower"), found.can_be("higher")) == (True, False)
    assert (turned.can_be("lower"), turned.can_be("higher")) == (False, True)
