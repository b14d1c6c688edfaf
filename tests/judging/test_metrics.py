"""How a run ended, and its curve."""

from typing import Any

import pytest
from judging.made import record, run

from clipbench.judging.metrics import losses, status


def test_a_run_that_resumed_keeps_the_order_of_its_steps() -> None:
    assert [step for step, _ in losses(record(run(), {0: 5.0, 100: 3.0, 50: 4.0}))] == [0, 50, 100]


@pytest.mark.parametrize("ended", ["finished", "diverged", "failed", "unfinished"])
def test_a_run_that_has_not_ended_is_unfinished(ended: Any) -> None:
    assert status(record(run(), [5.0, 1.0, 9.0], status=ended)) == ended
