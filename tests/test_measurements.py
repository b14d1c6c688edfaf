import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipbench.measurements import NOTHING, Layout, Measurement, Measurements

ROWS = st.lists(
    st.builds(
        Measurement,
        st.integers(0, 100),
        st.floats(0, 10),
        st.sampled_from(["", "own", "adam"]),
        st.sampled_from(["eval_loss", "slope"]),
        st.floats(-10, 10),
    )
)


@given(ROWS)
def test_measurements_give_back_their_rows_in_order_one_by_one_and_together(rows: list[Measurement]) -> None:
    kept = Measurements.of(rows)
    assert list(kept) == rows
    assert [kept[place] for place in range(len(kept))] == rows
    assert kept[1:3] == tuple(rows[1:3])
    assert kept == Measurements.of(rows)
    assert hash(kept) == hash(Measurements.of(rows))
    assert kept.last_step == max([row.step for row in rows] or [0])


@given(ROWS)
def test_a_series_has_the_rows_of_its_direction_and_quantity_alone(rows: list[Measurement]) -> None:
    kept = Measurements.of(rows)
    assert kept.along == {row.direction for row in rows}
    assert list(kept.places) == list(dict.fromkeys((row.direction, row.quantity) for row in rows))
    for direction, quantity in kept.places:
        naive = [row for row in rows if (row.direction, row.quantity) == (direction, quantity)]
        naive.sort(key=lambda row: row.step)
        assert kept.series(direction, quantity) == naive
        assert kept.series(direction, quantity) is kept.series(direction, quantity)
    assert kept.series("muon", "slope") == ()


def test_rows_are_typed_as_they_were_measured() -> None:
    [row] = Measurements.of([Measurement(3, 0.5, "own", "slope", -math.inf)]).series("own", "slope")
    assert row == (3, 0.5, "own", "slope", -math.inf)
    assert isinstance(row, Measurement)


def test_other_numbers_are_other_measurements() -> None:
    row = Measurement(3, 0.5, "own", "slope", 1.0)
    assert Measurements.of([row]) != Measurements.of([row._replace(value=2.0)])
    assert Measurements.of([row]) != (row,)
    assert "slope" in repr(Measurements.of([row]))
    assert len(NOTHING) == 0
    with pytest.raises(IndexError):
        NOTHING[0]


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows have 2 times and 1 values"):
        Measurements(Layout((1,), ("",), ("eval_loss",)), [0.0, 1.0], [2.0])
