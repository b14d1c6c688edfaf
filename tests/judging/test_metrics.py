import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging.made import record, run, with_rows

from clipbench.judging.metrics import (
    Sharpness,
    clipped_fraction,
    final_loss,
    losses,
    metrics,
    status,
    steps_to_target,
    typical,
)
from clipbench.measurements import Measurement
from clipbench.records import DIRECTIONAL_SHARPNESS, Record


def _sharpness(made: Record) -> Sharpness:
    return metrics(made, target=None).sharpness


def test_the_final_loss_is_the_last_and_not_the_least() -> None:
    assert final_loss(record(run(), [5.0, 2.0, 3.0])) == 3.0


def test_the_final_loss_is_the_last_by_step_whatever_the_order_in_the_file() -> None:
    assert final_loss(record(run(), {200: 3.0, 0: 5.0, 50: 2.0})) == 3.0


def test_a_nan_at_the_end_is_the_final_loss_and_not_zero() -> None:
    assert math.isnan(final_loss(record(run(), [5.0, 2.0, math.nan])))


def test_a_run_without_an_evaluation_has_no_final_loss() -> None:
    assert math.isnan(final_loss(record(run(), [])))


def test_the_target_is_hit_at_the_first_evaluated_step_at_or_below_it() -> None:
    assert steps_to_target(record(run(), [5.0, 3.0, 2.0, 4.0, 1.0]), 3.0) == 50


def test_a_target_may_have_to_hold_for_several_evaluations_in_a_row() -> None:
    """At or below 2 at steps 50, 150, 200, then above, then at 300 to the end."""
    curve = [5.0, 2.0, 3.0, 1.9, 1.8, 2.5, 1.0, 1.0, 1.0]
    found = [steps_to_target(record(run(), curve), 2.0, consecutive=k) for k in (1, 2, 3, 4)]
    assert found == [50, 150, 300, math.inf]


def test_not_a_number_breaks_a_row_of_evaluations() -> None:
    assert steps_to_target(record(run(), [5.0, 1.0, math.nan, 1.0, 1.0]), 2.0, consecutive=2) == 150


def test_the_least_step_counts_under_an_uneven_cadence() -> None:
    # evaluation 1 is at step 150, evaluation 2 at step 40: the index of an evaluation is not its time
    curve = {0: 5.0, 150: 1.0, 40: 1.5, 170: 0.5}
    assert steps_to_target(record(run(), curve), 2.0) == 40


def test_a_target_below_every_loss_is_never_reached() -> None:
    assert steps_to_target(record(run(), [5.0, 3.0]), 2.9) == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_never_hit_a_target(value: float) -> None:
    assert steps_to_target(record(run(), [5.0, value, 4.0]), 3.0) == math.inf


@pytest.mark.parametrize("ended", ["diverged", "failed"])
def test_a_run_that_diverged_or_failed_misses_the_target_it_touched(ended: str) -> None:
    assert steps_to_target(record(run(), [5.0, 1.0, 9.0], status=ended), 3.0) == math.inf  # type: ignore[arg-type]


def test_steps_to_a_target_are_known_to_the_cadence_and_a_miss_is_not_read_at_all() -> None:
    """Evaluated every 50 steps: 100 may be anything above 50, uniformly."""
    curve = [5.0, 4.0, 2.0]
    found = metrics(record(run(), curve), target=2.5)
    assert found.target_rounding == pytest.approx(50 / 100 / math.sqrt(12))
    for target in (1.0, 9.0, None):
        assert metrics(record(run(), curve), target=target).target_rounding == 0.0
    at_once = metrics(record(run(), {0: 5.0, 1: 2.0}), target=2.5)
    assert at_once.target_rounding == pytest.approx(50 / math.sqrt(12))


def test_seconds_to_a_target_are_those_at_which_it_was_seen() -> None:
    made = record(run(), [5.0, 4.0, 2.0], step_seconds=0.01)
    found = {target: metrics(made, target=target).seconds_to_target for target in (2.5, 1.0, None)}
    assert found == {2.5: pytest.approx(1.0), 1.0: math.inf, None: None}
    assert (metrics(made, target=2.5).steps_to_target, metrics(made, target=2.5).final_loss) == (100, 2.0)


def test_the_typical_rounding_is_of_what_was_read() -> None:
    assert typical([0.0, 0.2, 0.4]) == pytest.approx(0.3)
    assert typical([0.0]) == typical([]) == 0.0


def test_an_unfinished_run_has_neither_hit_nor_missed() -> None:
    unfinished = record(run(), [5.0, 1.0], status="unfinished")
    assert steps_to_target(unfinished, 3.0) is None
    assert status(unfinished) == "unfinished"


@given(st.lists(st.floats(0.1, 10.0), min_size=1), st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_a_harder_target_never_takes_fewer_steps(curve: list[float], one: float, other: float) -> None:
    made = record(run(), curve)
    easy, hard = steps_to_target(made, max(one, other)), steps_to_target(made, min(one, other))
    assert easy is not None
    assert hard is not None
    assert easy <= hard


def test_sharpness_is_the_mean_log_of_positive_values_and_counts_the_rest() -> None:
    of = _sharpness(record(run(), [5.0], sharpness=[4.0, 1.0, -2.0, 0.0, math.nan, math.inf]))
    assert of.mean_log == pytest.approx(math.log(2.0))
    assert (of.positive, of.non_positive, of.undefined) == (2, 2, 2)


def test_sharpness_without_a_positive_value_has_no_mean() -> None:
    of = _sharpness(record(run(), [5.0], sharpness=[-1.0]))
    assert math.isnan(of.mean_log)
    assert (of.positive, of.non_positive) == (0, 1)


def test_sharpness_along_another_direction_is_another_quantity() -> None:
    made = record(run(), [5.0], sharpness=[4.0])
    ghost = Measurement(50, 0.0, "adam", DIRECTIONAL_SHARPNESS, 1e6)
    assert _sharpness(made) == _sharpness(with_rows(made, [ghost]))


def test_the_clipped_fraction_is_the_mean_of_what_was_measured() -> None:
    assert clipped_fraction(record(run(clip=0.1), [5.0], clipped=[0.1, 0.3])) == pytest.approx(0.2)


def test_an_arm_without_a_clip_has_no_clipped_fraction() -> None:
    assert clipped_fraction(record(run(), [5.0])) is None


def test_a_clip_that_was_never_measured_is_undefined_and_not_zero() -> None:
    measured = clipped_fraction(record(run(clip=0.1), [5.0]))
    assert measured is not None
    assert math.isnan(measured)


def test_milliseconds_a_step_are_the_outcomes_median() -> None:
    assert metrics(record(run(), [5.0], step_seconds=0.0123), target=None).step_milliseconds == pytest.approx(12.3)


def test_without_a_target_there_are_no_steps_to_it() -> None:
    assert metrics(record(run(), [5.0]), target=None).steps_to_target is None


def test_a_run_that_resumed_keeps_the_order_of_its_steps() -> None:
    assert [step for step, _ in losses(record(run(), {0: 5.0, 100: 3.0, 50: 4.0}))] == [0, 50, 100]
