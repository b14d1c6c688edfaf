from dataclasses import replace

import pytest
from judging.made import question, quickstart, record, run

from clipbench.budget import Budget
from clipbench.errors import ClipbenchError
from clipbench.judging.compare import Asked, compare
from clipbench.judging.moments import Moment, as_of
from clipbench.records import Record

STEP_100 = Moment(100, "step")


def last_steps(records: list[Record], moment: Moment) -> list[int]:
    return [max(measured.step for measured in one.measurements) for one in as_of(records, moment)[0]]


def test_an_earlier_moment_is_compared_as_if_the_runs_had_ended_there() -> None:
    early = compare(quickstart(), question("sgd", "sgd+clip", "adam", target=3.3), Asked(at=STEP_100))
    sgd, clip, _ = early.rows
    assert (sgd.final_loss.mean, clip.final_loss.mean) == pytest.approx((3.5, 3.2))
    assert sgd.steps is not None and clip.steps is not None  # noqa: PT018
    assert (sgd.steps.hits, clip.steps.hits) == (0, 3)
    assert any(caveat.startswith("Compared at step 100, not at the end") for caveat in early.caveats)


@pytest.mark.parametrize(
    ("budget", "fraction", "last"),
    [
        (Budget(200, "steps"), 0.5, 100),
        (Budget(500, "steps"), 0.3, 150),  # 0.3 · 500 is a little less than 150 in floats
        (Budget(2.0, "seconds"), 0.25, 50),
        (Budget(3200, "samples"), 0.5, 100),
        (Budget(9999, "tokens"), 1.0, 200),
    ],
)
def test_a_share_of_the_budget_is_in_the_budgets_unit(budget: Budget, fraction: float, last: int) -> None:
    """Of samples and tokens it is a share of the 200 steps that the run made."""
    made = [record(run(budget=budget), {0: 5.0, 50: 4.0, 100: 3.0, 150: 2.5, 200: 2.0})]
    assert last_steps(made, Moment(fraction, "fraction")) == [last]


def test_an_unfinished_run_of_samples_is_left_as_it_is() -> None:
    waiting = [record(run(budget=Budget(3200, "samples")), {0: 5.0, 150: 2.0}, status="unfinished")]
    assert last_steps(waiting, Moment(0.5, "fraction")) == [150]


def test_runs_whose_last_evaluations_differ_are_said() -> None:
    uneven = [record(run(), {0: 5.0, 90: 3.0, 200: 2.0}), record(run("adam"), {0: 5.0, 96: 3.0, 200: 2.0})]
    assert "(the runs' last are at steps 90 and 96)" in as_of(uneven, STEP_100)[1]
    assert "the runs' last" not in as_of([uneven[1], replace(uneven[1], run=run())], STEP_100)[1]


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (Moment(500, "step"), "no run has a step 500"),
        (Moment(0.0, "fraction"), "there is no 0 % of the budget in a run"),
        (Moment(1.5, "fraction"), "there is no 150 % of the budget in a run"),
    ],
)
def test_a_moment_outside_of_every_run_is_an_error(moment: Moment, message: str) -> None:
    with pytest.raises(ClipbenchError, match=message):
        as_of(quickstart(), moment)


def test_the_very_start_is_a_moment() -> None:
    assert last_steps(quickstart()[:1], Moment(0, "step")) == [0]


def test_a_share_of_the_budget_of_runs_that_got_no_further_than_their_start_is_that_start() -> None:
    waiting = [record(run(), [5.0], status="unfinished")]
    assert last_steps(waiting, Moment(0.5, "fraction")) == [0]


def test_the_last_step_is_a_moment() -> None:
    assert last_steps([record(run(), [5.0, 4.0, 3.0])], STEP_100) == [100]
