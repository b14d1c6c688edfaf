import math

import pytest
from judging.made import question, record, run

from clipbench.judging.compare import compare
from clipbench.judging.matched import MatchedRow, sharpness_at
from clipbench.judging.paired import Paired, half_width
from clipbench.measurements import Measurement
from clipbench.records import DIRECTIONAL_SHARPNESS, OWN, Record


def matched(records: list[Record]) -> dict[str, MatchedRow]:
    return {row.arm: row for row in compare(records, question("sgd", "adam")).matched}


def ratio(found: Paired | None) -> float:
    assert found is not None
    return found.shown(found.mean)


def pair(
    sgd: list[float], adam: list[float], *, seed: int = 0, sharpness: tuple[list[float], list[float]] = ([], [])
) -> list[Record]:
    return [
        record(run(arm, seed=seed), curve, sharpness=sharp)
        for arm, curve, sharp in zip(("sgd", "adam"), (sgd, adam), sharpness, strict=True)
    ]


def probed(values: dict[int, float]) -> list[Measurement]:
    return [Measurement(step, 0.0, OWN, DIRECTIONAL_SHARPNESS, value) for step, value in values.items()]


def test_an_arm_meets_the_baseline_at_the_higher_of_their_final_losses() -> None:
    """sgd ends at 3, so that is the loss: sgd is there at its end, at step 150, adam at step 50."""
    rows = matched(pair([5, 4, 3.5, 3], [5, 2.9, 2.5, 2]))
    assert rows["sgd"].loss.mean == rows["adam"].loss.mean == 3.0
    assert (rows["sgd"].steps.mean, rows["adam"].steps.mean) == (150, 50)
    assert ratio(rows["adam"].steps_ratio) == pytest.approx(1 / 3)
    assert rows["sgd"].steps_ratio is rows["sgd"].sharpness_ratio is None


def test_steps_at_the_common_loss_are_no_surer_than_the_evaluations_they_are_read_at() -> None:
    """150 against 50 with both seeds, read at each 50th step."""
    rows = matched([each for seed in (0, 1) for each in pair([5, 4, 3.5, 3], [5, 2.9, 2.5, 2], seed=seed)])
    off = 50 / math.sqrt(12) * math.hypot(1 / 150, 1 / 50)
    found = rows["adam"].steps_ratio
    assert found is not None
    assert found.interval()[0] == pytest.approx(math.log(1 / 3) - half_width(2) * off / math.sqrt(2))


def test_identical_steps_are_no_surer_than_the_evaluations_either_and_identical_all_the_same() -> None:
    rows = matched([each for seed in (0, 1) for each in pair([5, 4, 3], [5, 4, 3], seed=seed)])
    found = rows["adam"].steps_ratio
    assert found is not None
    assert (found.mean, found.identical) == (0.0, True)
    assert found.error == pytest.approx(50 / math.sqrt(12) * math.hypot(1 / 100, 1 / 100) / math.sqrt(2))


def test_no_third_arm_rules_where_two_arms_meet() -> None:
    """lion ends at 4.5: it alone meets sgd there; adam and sgd meet at 3 as if it were not among them."""
    both = pair([5, 4, 3.5, 3], [5, 2.9, 2.5, 2])
    rows = matched([*both, record(run("lion"), [5, 5, 5, 4.5])])
    assert {arm: (row.loss.mean, row.steps.mean) for arm, row in rows.items()} == {
        "sgd": (3.0, 150),
        "adam": (3.0, 50),
        "lion": (4.5, 150),
    }
    assert ratio(rows["lion"].steps_ratio) == pytest.approx(3.0)  # sgd is below 4.5 from step 50 on
    assert {arm: repr(rows[arm]) for arm in ("sgd", "adam")} == {arm: repr(row) for arm, row in matched(both).items()}


def test_the_baseline_stands_at_its_own_final_loss() -> None:
    """Of 3 and 4, where adam ends lower on one seed and higher on the other."""
    rows = matched(pair([5, 3], [5, 2]) + pair([5, 4], [5, 4.5], seed=1))
    assert (rows["sgd"].loss.mean, rows["sgd"].loss.n, rows["sgd"].steps.mean) == (3.5, 2, 50)


def test_without_a_finished_baseline_there_is_nothing_to_meet() -> None:
    lost = record(run("sgd"), [5, 3], status="diverged")
    others = [record(run(arm), [5, 2]) for arm in ("adam", "lion")]
    assert matched([lost, *others]) == matched(others) == {}


def test_each_seed_has_its_own_common_loss() -> None:
    rows = matched(pair([5, 3], [5, 2]) + pair([5, 4], [5, 4.5], seed=1))
    assert rows["adam"].loss.mean == pytest.approx((3 + 4.5) / 2)


def test_the_sharpness_is_the_one_at_that_loss_and_not_the_mean_of_the_path() -> None:
    """Probed at 0, 50, 100 and 150: sgd meets the loss at 150 and adam at 50."""
    rows = matched(pair([5, 4, 3.5, 3], [5, 2.9, 2.5, 2], sharpness=([1, 2, 4, 8], [1, 4, 9, 9])))
    assert rows["sgd"].sharpness.mean == pytest.approx(8)
    assert rows["adam"].sharpness.mean == pytest.approx(4)
    assert ratio(rows["adam"].sharpness_ratio) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(20, 1.0), (60, 2.0), (40, math.sqrt(2)), (100, 4.0), (70, 2 * 2**0.25), (0, 1.0), (500, 4.0)],
)
def test_between_two_probed_steps_the_logarithm_is_linear_and_outside_it_stays(step: int, expected: float) -> None:
    curve = probed({20: 1.0, 60: 2.0, 100: 4.0})
    assert math.exp(sharpness_at(step, curve)) == pytest.approx(expected)


def test_where_a_neighbour_is_not_positive_there_is_no_sharpness() -> None:
    curve = probed({20: 1.0, 60: -2.0, 100: math.inf})
    assert math.isnan(sharpness_at(30, curve))
    assert math.isnan(sharpness_at(60, curve))
    assert math.isnan(sharpness_at(100, curve))
    assert sharpness_at(20, curve) == 0.0
    assert math.isnan(sharpness_at(5, []))
    assert math.isnan(sharpness_at(80, probed({60: math.inf, 100: 4.0})))
    flat = probed({20: 1.0, 60: 0.0, 100: 4.0})
    assert all(math.isnan(sharpness_at(step, flat)) for step in (30, 60, 70))


def test_seeds_without_a_sharpness_there_are_counted() -> None:
    rows = matched(
        pair([5, 3], [5, 2], sharpness=([1, 2], [1, -1])) + pair([5, 3], [5, 2], seed=1, sharpness=([1, 2], [1, 3]))
    )
    assert (rows["adam"].sharpness.n, rows["adam"].no_sharpness) == (1, 1)
    assert rows["sgd"].no_sharpness == 0


def test_a_diverged_arm_does_not_drag_the_common_loss_up() -> None:
    lost = record(run("lion"), [5, 100], status="diverged")
    rows = matched([*pair([5, 3], [5, 2]), lost])
    assert rows["sgd"].loss.mean == 3.0
    assert "lion" not in rows


def test_a_loss_that_is_no_number_matches_nothing() -> None:
    rows = matched(pair([5, math.nan], [5, 2]) + pair([5, 3], [5, 2], seed=1))
    assert (rows["sgd"].loss.n, rows["adam"].loss.n) == (1, 1)
    rows = matched(pair([5, 4], [5, math.inf]) + pair([5, 3], [5, 2], seed=1))
    assert (rows["sgd"].loss.n, rows["adam"].loss.n) == (2, 1)


def test_a_seed_that_one_arm_alone_finished_is_not_matched() -> None:
    rows = matched([*pair([5, 3], [5, 2]), record(run("adam", seed=1), [5, 2])])
    assert rows["adam"].steps.n == 1


def test_a_single_arm_has_nothing_to_match() -> None:
    assert compare([record(run(), [5, 3])], question("sgd")).matched == ()


def test_an_arm_that_starts_at_the_common_loss_is_in_no_ratio_of_steps() -> None:
    rows = matched(pair([2, 2], [5, 2]))
    assert (rows["sgd"].steps.mean, rows["adam"].steps.mean) == (0, 50)
    assert rows["adam"].steps_ratio is not None
    assert rows["adam"].steps_ratio.n == 0
