"""One more trial for every arm, so that looking beyond an edge costs all of them the same."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipbench.judging.tuning.trials import TrialResult
from clipbench.planning.extending import extension, narrowed, widened
from clipbench.records import Options

INF = math.inf


def tries(losses: Mapping[float, float], setting: str = "lr") -> list[TrialResult]:
    return [TrialResult({setting: value}, (loss,), loss, loss) for value, loss in losses.items()]


def many(*tried: tuple[Options, float]) -> list[TrialResult]:
    return [TrialResult(settings, (loss,), loss, loss) for settings, loss in tried]


@pytest.mark.parametrize(
    ("losses", "further"),
    [
        ({0.1: 3, 0.3: 2, 1.0: 1}, 3.333),  # 1 · 1/0.3
        ({0.1: 1, 0.3: 2, 1.0: 3}, 0.03333),  # 0.1 · 0.1/0.3
        ({1.0: 1, 0.1: 3, 0.3: 2}, 3.333),  # whatever the order in the spec
        ({2: 3, 4: 1}, 8),
        ({-2.0: 3, -1.0: 1}, -0.5),
        ({0.0: 3, 0.5: 1}, 1.0),  # from zero there is no ratio, and it is the step: 0.5 + 0.5
        ({-1.0: 3, 0.5: 1}, 2.0),
    ],
)
def test_a_value_is_added_beyond_the_edge_by_the_ratio_of_the_last_two(
    losses: dict[float, float], further: float
) -> None:
    assert widened(tries(losses)) == {"lr": further}
    assert repr(widened(tries(losses))) == repr({"lr": further})  # a whole number stays one


def test_a_bracketed_best_is_not_widened() -> None:
    assert widened(tries({0.1: 3, 0.3: 1, 1.0: 2})) is None


def test_a_rate_that_diverged_brackets_the_one_below() -> None:
    assert widened(tries({0.1: 3, 0.3: 1, 1.0: INF})) is None


def test_what_cannot_be_exceeded_is_not_widened() -> None:
    assert widened(tries({0.25: 3, 0.75: 1}, "clip.fraction")) is None
    assert widened(tries({0.25: 3, 0.5: 1}, "clip.fraction")) is None  # all of them is no fraction either
    assert widened(tries({0.0: 1, 0.5: 2}, "clip.fraction")) is None
    assert widened(tries({0.5: 1})) is None  # one value has no ratio
    assert widened(tries({1: 1, 3: 2}, "every")) is None  # a whole number below 1 would be 0
    assert widened(many(({"form": "a"}, 1), ({"form": "b"}, 2))) is None


def test_the_first_setting_at_an_edge_is_moved_and_the_others_stay() -> None:
    grid = many(*(({"lr": lr, "f": f}, lr + f) for lr in (0.1, 1.0) for f in (0.1, 0.2)))
    assert widened(grid) == {"lr": 0.01, "f": 0.1}


def test_a_refinement_lies_halfway_to_the_better_neighbour_in_the_logarithm() -> None:
    assert narrowed(tries({0.1: 3, 1.0: 1, 10.0: 2})) == {"lr": 3.162}
    assert narrowed(tries({0.1: 2, 1.0: 1, 10.0: 3})) == {"lr": 0.3162}
    assert narrowed(tries({0.0: 2, 0.5: 1, 1.0: 3}, "momentum")) == {"momentum": 0.25}


def test_a_refinement_crosses_the_wider_gap() -> None:
    assert narrowed(tries({0.1: 3, 1.0: 1, 3.0: 2})) == {"lr": 0.3162}
    assert narrowed(tries({0.1: 3, 0.3: 1, 1.0: 2})) == {"lr": 0.5477}  # 3 and 3.33 are one ratio


def test_where_not_all_values_are_positive_gaps_are_as_wide_to_a_tenth_of_all_that_was_tried() -> None:
    assert narrowed(tries({-1.0: 3, 0.0: 1, 1.0: 2}, "momentum")) == {"momentum": 0.5}
    assert narrowed(tries({0.0: 2, 50.0: 1, 104.0: 3}, "warmup")) == {"warmup": 25.0}  # 48 % and 52 % are both a half
    assert narrowed(tries({0.0: 2, 50.0: 1, 150.0: 3}, "warmup")) == {"warmup": 100.0}


def test_a_best_at_an_edge_that_cannot_be_widened_is_refined_inwards() -> None:
    assert narrowed(tries({0.25: 2, 0.75: 1}, "clip.fraction")) == {"clip.fraction": 0.433}


def test_neighbouring_whole_numbers_and_words_leave_nothing_to_refine() -> None:
    assert narrowed(tries({1: 3, 2: 1, 3: 2}, "every")) is None
    assert narrowed(many(({"form": "a"}, 1), ({"form": "b"}, 2))) is None


@given(st.lists(st.tuples(st.floats(1e-4, 1e4), st.floats(0, 10)), min_size=2, max_size=6, unique_by=lambda x: x[0]))
def test_a_refinement_is_new_and_lies_within_what_was_tried(tried: list[tuple[float, float]]) -> None:
    losses = dict(tried)
    if (found := narrowed(tries(losses))) is not None:
        rate = found["lr"]
        assert isinstance(rate, float)
        assert rate not in losses
        assert min(losses) * 0.9999 <= rate <= max(losses) * 1.0001  # rounded to four digits


EDGE, INSIDE, LOST = tries({0.1: 2, 0.3: 1}), tries({0.1: 3, 0.3: 1, 1.0: 2}), tries({0.1: INF, 0.3: INF})


def test_every_arm_gets_one_trial_while_one_of_them_is_at_an_edge() -> None:
    assert extension({"sgd": EDGE, "adam": INSIDE}) == {"sgd": {"lr": 0.9}, "adam": {"lr": 0.5477}}


def test_there_is_no_extension_where_every_best_is_bracketed() -> None:
    assert extension({"sgd": INSIDE, "adam": INSIDE}) == {}


def test_an_arm_of_which_no_trial_finished_needs_no_further_one() -> None:
    assert extension({"sgd": EDGE, "wild": LOST}) == {"sgd": {"lr": 0.9}}
    assert extension({"wild": LOST}) == {}


def test_counts_stay_equal_where_an_arm_has_nothing_left_to_try() -> None:
    words = many(({"form": "a"}, 1), ({"form": "b"}, 2))
    assert extension({"sgd": EDGE, "fixed": words}) == {}
