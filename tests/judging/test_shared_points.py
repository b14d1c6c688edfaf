"""The shared-point table, from records made by hand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from judging.made import question, record, run, with_rows
from scipy import stats

from clipbench.judging.compare import Asked, compare
from clipbench.judging.paired import Paired
from clipbench.judging.shared_points import SharedRow
from clipbench.measurements import Measurement
from clipbench.records import COSINE, DIRECTIONAL_SHARPNESS, LINE_BEST_DECREASE, OWN, TAYLOR_BEST_DECREASE, Arm, Record

Values = Mapping[str, Sequence[float]]  # by direction, one a probed step


def along(
    trajectory: str,
    sharpness: Values,
    more: Mapping[str, Values] | None = None,
    *,
    seed: int = 0,
    ghosts: Sequence[Arm] = (),
) -> Record:
    """A run of `trajectory` with ghosts; `more` has other quantities by name."""
    of = run(trajectory, seed=seed)
    made = record(replace(of, measure=replace(of.measure, ghosts=tuple(ghosts))), [5.0, 3.0])
    rows = [
        Measurement(40 * place, 0.0, direction, quantity, value)
        for quantity, by_direction in {DIRECTIONAL_SHARPNESS: sharpness, **(more or {})}.items()
        for direction, values in by_direction.items()
        for place, value in enumerate(values, start=1)
    ]
    return with_rows(made, rows)


def ratio(found: Paired | None) -> float:
    assert found is not None
    return found.shown(found.mean)


def shared(records: Sequence[Record], reference: str | None = None) -> dict[tuple[str, str], SharedRow]:
    found = compare(records, question("sgd", "adam"), Asked(reference=reference)).shared
    return {(row.trajectory, row.direction): row for row in found}


def test_a_ratio_is_a_geometric_mean_over_steps_and_then_over_seeds() -> None:
    """Seed 0: 4 and 16, whose mean logarithm is ln 8; seed 1: 2. Over seeds √(8·2) = 4."""
    rows = shared(
        [
            along("sgd", {OWN: [4.0, 16.0], "adam": [1.0, 1.0]}),
            along("sgd", {OWN: [2.0], "adam": [1.0]}, seed=1),
        ]
    )
    row = rows["sgd", "sgd"]
    assert ratio(row.ratio) == pytest.approx(4.0)
    assert (row.low, row.high) == pytest.approx((2.0, 16.0))
    assert row.ratio is not None
    assert (row.ratio.n, row.cells, row.excluded) == (2, 3, 0)
    low, high = stats.t.interval(0.95, 1, math.log(4), stats.sem([math.log(8), math.log(2)]))
    assert row.ratio.interval() == pytest.approx((low, high))


def test_each_trajectory_has_its_own_rows_with_its_own_arm_by_name() -> None:
    rows = shared(
        [
            along("sgd", {OWN: [8.0], "adam": [2.0], "lion": [1.0]}),
            along("adam", {"sgd": [3.0], OWN: [1.0], "lion": [2.0]}),
        ]
    )
    ratios = {place: ratio(row.ratio) if row.ratio else None for place, row in rows.items()}
    assert ratios == {
        ("sgd", "sgd"): pytest.approx(4.0),
        ("sgd", "adam"): None,
        ("sgd", "lion"): pytest.approx(0.5),
        ("adam", "adam"): None,
        ("adam", "sgd"): pytest.approx(3.0),
        ("adam", "lion"): pytest.approx(2.0),
    }


def test_the_ghost_of_the_trained_arm_itself_is_no_second_row() -> None:
    rows = shared([along("sgd", {OWN: [4.0], "sgd": [999.0], "adam": [1.0]})])
    assert rows["sgd", "sgd"].high == pytest.approx(4.0)
    assert len(rows) == 2


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_ratio_needs_two_positive_values_and_the_others_are_counted(value: float) -> None:
    rows = shared([along("sgd", {OWN: [value, 4.0, 4.0], "adam": [1.0, value, 2.0]})])
    row = rows["sgd", "sgd"]
    assert (row.cells, row.excluded) == (1, 2)
    assert ratio(row.ratio) == pytest.approx(2.0)


def test_a_step_at_which_one_of_the_two_is_missing_is_counted_as_left_out() -> None:
    rows = shared([along("sgd", {OWN: [4.0, 4.0], "adam": [1.0]})])
    assert (rows["sgd", "sgd"].cells, rows["sgd", "sgd"].excluded) == (1, 1)


def test_nothing_positive_leaves_no_ratio() -> None:
    row = shared([along("sgd", {OWN: [-4.0], "adam": [1.0]})])["sgd", "sgd"]
    assert row.ratio is not None
    assert (row.ratio.n, row.cells, row.excluded) == (0, 0, 1)
    assert math.isnan(row.low)


def test_cosines_are_averaged_over_steps_and_then_over_seeds() -> None:
    rows = shared(
        [
            along("sgd", {OWN: [1.0], "adam": [1.0]}, {COSINE: {OWN: [0.2, 0.4], "adam": [0.9]}}),
            along("sgd", {OWN: [1.0], "adam": [1.0]}, {COSINE: {OWN: [0.5, math.nan]}}, seed=1),
        ]
    )
    assert rows["sgd", "sgd"].cosine.mean == pytest.approx((0.3 + 0.5) / 2)
    assert (rows["sgd", "sgd"].cosine.n, rows["sgd", "adam"].cosine.n) == (2, 1)


def test_the_decrease_found_along_the_line_goes_before_the_modelled_one() -> None:
    both = {TAYLOR_BEST_DECREASE: {OWN: [9.0], "adam": [1.0]}, LINE_BEST_DECREASE: {OWN: [3.0], "adam": [1.0]}}
    row = shared([along("sgd", {OWN: [1.0], "adam": [1.0]}, both)])["sgd", "sgd"]
    assert (ratio(row.decrease), row.decrease_of) == pytest.approx((3.0, "line"))
    modelled = {TAYLOR_BEST_DECREASE: {OWN: [9.0, -1.0], "adam": [1.0, 1.0]}, LINE_BEST_DECREASE: {OWN: [3.0]}}
    row = shared([along("sgd", {OWN: [1.0], "adam": [1.0]}, modelled)])["sgd", "sgd"]
    assert (ratio(row.decrease), row.decrease_of, row.decrease_excluded) == pytest.approx((9.0, "taylor", 1))


def test_without_a_decrease_there_is_none() -> None:
    row = shared([along("sgd", {OWN: [1.0], "adam": [1.0]})])["sgd", "sgd"]
    assert (row.decrease, row.decrease_of) == (None, None)
    assert row.decrease_excluded == 0


def test_the_reference_has_no_ratio_to_itself() -> None:
    decreases = {LINE_BEST_DECREASE: {OWN: [3.0], "adam": [1.0]}}
    row = shared([along("sgd", {OWN: [1.0], "adam": [1.0]}, decreases)])["sgd", "adam"]
    assert (row.reference, row.decrease_of) == ("adam", "line")
    assert row.ratio is row.decrease is None


def test_the_reference_may_be_chosen() -> None:
    records = [along("sgd", {OWN: [4.0], "adam": [2.0], "lion": [1.0]}, ghosts=[run("adam").arm, run("lion").arm])]
    rows = shared(records, reference="lion")
    assert rows["sgd", "lion"].ratio is None
    assert ratio(rows["sgd", "adam"].ratio) == pytest.approx(2.0)


def test_a_trajectory_along_which_the_baseline_was_not_measured_is_its_own_reference() -> None:
    rows = shared([along("lion", {OWN: [4.0], "sign": [1.0]})])
    assert [(row.direction, row.reference, row.excluded) for row in rows.values()] == [
        ("lion", "lion", 0),
        ("sign", "lion", 0),
    ]


def test_without_one_called_adam_the_reference_is_the_unclipped_arm_that_uses_it_else_the_baseline() -> None:
    ghosts = [run("adam+clip", clip=0.5).arm, run("tuned", use="adam").arm]
    rows = shared([along("sgd", {OWN: [4.0], "adam+clip": [1.0], "tuned": [2.0]}, ghosts=ghosts)])
    assert {row.reference for row in rows.values()} == {"tuned"}
    rows = shared([along("lion", {OWN: [4.0], "sgd": [2.0]}), record(run(), [5.0, 3.0])])
    assert {row.reference for row in rows.values()} == {"sgd"}


def test_directions_stand_in_the_order_of_the_ghosts() -> None:
    ghosts = [run(name).arm for name in ("lion", "adam")]
    rows = shared([along("sgd", {"adam": [1.0], OWN: [4.0], "unnamed": [1.0], "lion": [1.0]}, ghosts=ghosts)])
    assert [direction for _, direction in rows] == ["sgd", "lion", "adam", "unnamed"]


def test_runs_that_did_not_finish_are_not_in_the_table() -> None:
    made = along("sgd", {OWN: [4.0], "adam": [1.0]})
    assert made.outcome is not None
    diverged = replace(made, outcome=replace(made.outcome, status="diverged"))
    assert shared([diverged]) == {}


@pytest.mark.parametrize("status", ["diverged", "failed", "unfinished"])
def test_of_runs_along_one_trajectory_those_that_did_not_finish_are_counted(status: Any) -> None:
    """The same number that a claim about these runs would have."""
    sound = [along("sgd", {OWN: [4.0, 4.0], "adam": [1.0, 1.0]}, seed=seed) for seed in (0, 1)]
    broken = along("sgd", {OWN: [1000.0], "adam": [1.0]}, seed=2)
    broken = replace(broken, outcome=record(broken.run, [5.0], status=status).outcome)
    rows = shared([*sound, broken])
    assert ratio(rows["sgd", "sgd"].ratio) == pytest.approx(4.0)
    assert {(row.cells, row.left_out) for row in rows.values()} == {(4, 1)}
    assert {row.left_out for row in shared(sound).values()} == {0}


def test_without_ghosts_there_is_no_table_and_with_them_the_own_path_keeps_its_column() -> None:
    """An arm's own-trajectory value is of its own direction alone, whatever ghosts were tried beside it."""
    assert compare([record(run(), [5.0, 3.0], sharpness=[1.0])], question("sgd")).shared == ()
    [row] = compare([along("sgd", {OWN: [4.0, 4.0], "adam": [1.0, 1.0]})], question("sgd")).rows
    assert row.sharpness.mean.mean == pytest.approx(4.0)
    assert row.sharpness.total == 2
