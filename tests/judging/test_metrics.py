"""How a run ended, its curve, and the step at which it was at a target."""

import math
from typing import Any

import pytest
from judging.made import record, run

from clipbench.judging.metrics import losses, status, steps_to_target


def test_a_run_that_resumed_keeps_the_order_of_its_steps() -> None:
    assert [step for step, _ in losses(record(run(), {0: 5.0, 100: 3.0, 50: 4.0}))] == [0, 50, 100]


@pytest.mark.parametrize(
    ("ended", "steps"), [("finished", 50), ("diverged", math.inf), ("failed", math.inf), ("unfinished", None)]
)
def test_a_run_that_broke_misses_the_target_it_touched_and_one_that_has_not_ended_is_open(
    ended: Any, steps: float | None
) -> None:
    made = record(run(), [5.0, 1.0, 9.0], status=ended)
    assert (steps_to_target(made, 3.0), status(made)) == (steps, ended)


def test_a_target_that_was_not_held_for_so_long_is_missed() -> None:
    made = record(run(), [5.0, 1.0, 9.0])
    assert (steps_to_target(made, 0.5), steps_to_target(made, 3.0, consecutive=2)) == (math.inf, math.inf)
