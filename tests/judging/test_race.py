import math

import pytest
from judging.made import compared, question, record, run

from clipbench.judging.compare import compare
from clipbench.judging.paired import half_width
from clipbench.judging.race import RACE_FACTORS, RaceRow, SpeedUp
from clipbench.records import Record

NEVER = [9.0, 9.0, 9.0, 9.0, 9.0]


def there_at(step: int) -> list[float]:
    """A curve, evaluated every 50 steps, that is at the target of 1 at this step."""
    return [1.0 if 50 * place >= step else 9.0 for place in range(5)]


def raced(records: list[Record], metric: str = "final_loss") -> dict[str, RaceRow]:
    of = compared(records, question("sgd", "adam", "lion"), metric, target=1.0)
    return {row.arm: row for row in of.race}


def factor(of: SpeedUp | None) -> float:
    assert of is not None
    return of.paired.shown(of.paired.mean)


def one_task(steps: dict[str, list[int | None]], task: str = "code_lm", **changes: object) -> list[Record]:
    return [
        record(run(arm, seed=seed, task=task), NEVER if step is None else there_at(step), **changes)  # type: ignore[arg-type]
        for arm, at in steps.items()
        for seed, step in enumerate(at)
    ]


def test_a_speed_up_is_a_geometric_mean_over_the_seeds_of_one_task() -> None:
    """200/50 = 4 and 200/100 = 2: √8."""
    rows = raced(one_task({"sgd": [200, 200], "adam": [50, 100]}))
    speed_up = rows["adam"].steps
    assert speed_up is not None
    assert factor(speed_up) == pytest.approx(math.sqrt(8))
    assert (speed_up.paired.n, speed_up.over) == (2, "seeds")
    assert rows["sgd"].steps is rows["sgd"].seconds is None


def test_speed_ups_are_no_surer_than_the_evaluations_that_steps_are_read_at() -> None:
    """Twice as soon with every seed, read at each 50th step: ln 2 ± t·50/√12·√(1/200² + 1/100²)/√3 over three seeds."""
    off = 50 / math.sqrt(12) * math.hypot(1 / 200, 1 / 100)
    row = raced(one_task({"sgd": [200] * 3, "adam": [100] * 3}))["adam"]
    for speed_up in (row.steps, row.seconds):
        assert speed_up is not None
        assert speed_up.paired.interval()[1] == pytest.approx(math.log(2) + half_width(3) * off / math.sqrt(3))
    tasks = [one_task({"sgd": [200] * 3, "adam": [100] * 3}, task=task) for task in ("one", "another")]
    over_tasks = raced([record for of_task in tasks for record in of_task])["adam"].steps
    assert over_tasks is not None
    assert over_tasks.paired.interval()[1] == pytest.approx(math.log(2) + half_width(2) * off / math.sqrt(3 * 2))


def test_over_tasks_each_task_counts_once_however_many_seeds_it_has() -> None:
    """4 on one task (both seeds), 1 on the other (one seed): √4."""
    records = one_task({"sgd": [200, 200], "adam": [50, 50]}) + one_task({"sgd": [100], "adam": [100]}, task="digits")
    speed_up = raced(records)["adam"].steps
    assert speed_up is not None
    assert factor(speed_up) == pytest.approx(2.0)
    assert (speed_up.paired.n, speed_up.over) == (2, "tasks")


def test_of_several_tasks_one_alone_that_any_reached_is_one_task_and_has_no_interval() -> None:
    nobody = one_task({"sgd": [None], "adam": [None]}, task="digits")
    speed_up = raced(one_task({"sgd": [200, 200], "adam": [50, 100]}) + nobody)["adam"].steps
    assert speed_up is not None
    assert (speed_up.paired.n, speed_up.paired.neither, speed_up.over) == (1, 1, "tasks")
    assert math.isnan(speed_up.paired.interval()[0])


def test_a_task_in_which_one_side_missed_is_one_of_the_tasks_and_bounds_the_speed_up() -> None:
    """200/100 on one task; on the other 250 steps, the end and one evaluation, over 50."""
    records = one_task({"sgd": [200], "adam": [100]}) + one_task({"sgd": [None], "adam": [50]}, task="digits")
    speed_up = raced(records)["adam"].steps
    assert factor(speed_up) == pytest.approx(math.sqrt(2 * 5))
    assert speed_up is not None
    assert (speed_up.paired.n, speed_up.paired.ahead, speed_up.paired.behind) == (2, 0, 1)  # of the baseline


def test_seconds_are_a_race_of_their_own() -> None:
    records = one_task({"sgd": [100, 100]}, step_seconds=0.01) + one_task({"adam": [50, 50]}, step_seconds=0.04)
    row = raced(records)["adam"]
    assert (factor(row.steps), factor(row.seconds)) == pytest.approx((2.0, 0.5))


def test_misses_are_counted_and_in_the_mean_where_one_side_alone_missed() -> None:
    """200/100, 250/50 and 100/250: a miss counts as 200 steps and one evaluation; of two misses nothing is known."""
    row = raced(one_task({"sgd": [200, None, 100, None], "adam": [100, 50, None, None]}))["adam"]
    assert (row.both, row.only_arm, row.only_baseline, row.neither) == (1, 1, 1, 1)
    assert factor(row.steps) == pytest.approx((2 * 5 * 0.4) ** (1 / 3))
    assert factor(row.seconds) == pytest.approx((2 * 5 * 0.4) ** (1 / 3))
    assert row.steps is not None
    assert (row.steps.paired.n, row.steps.paired.neither) == (3, 1)
    assert (row.reached, row.instances) == (2, 4)


def test_a_run_that_diverged_counts_as_its_whole_budget_and_one_evaluation() -> None:
    """100/250 in steps and in seconds: a step takes as long."""
    broken = [record(run("adam", seed=seed), there_at(50), status="diverged") for seed in (0, 1)]
    row = raced([*one_task({"sgd": [100, 100]}), *broken])["adam"]
    assert factor(row.steps) == pytest.approx(100 / 250)
    assert factor(row.seconds) == pytest.approx(100 / 250)
    assert (row.only_baseline, row.both) == (2, 0)


def test_a_performance_profile_is_dolan_and_mores() -> None:
    """Times the first there, seed by seed: adam 1, 1, 2; sgd 4, ∞, 1; lion is nowhere."""
    assert RACE_FACTORS == (1.0, 1.5, 2.0, 4.0)
    rows = raced(one_task({"sgd": [200, None, 100], "adam": [50, 100, 200], "lion": [None] * 3}))
    assert rows["adam"].within == pytest.approx((2 / 3, 2 / 3, 1.0, 1.0))
    assert rows["sgd"].within == pytest.approx((1 / 3, 1 / 3, 1 / 3, 2 / 3))
    assert rows["lion"].within == (0.0, 0.0, 0.0, 0.0)


def test_a_seed_that_nobody_solved_counts_against_all() -> None:
    assert raced(one_task({"sgd": [100, None], "adam": [100, None]}))["adam"].within[0] == 0.5


def test_with_seconds_as_the_metric_the_profile_is_in_seconds() -> None:
    records = one_task({"sgd": [100, 100]}, step_seconds=0.01) + one_task({"adam": [50, 50]}, step_seconds=0.04)
    assert raced(records)["adam"].within[0] == 1.0
    assert raced(records, metric="seconds")["adam"].within[:3] == (0.0, 0.0, 1.0)


def test_a_target_reached_at_the_start_is_no_speed_up_and_nobody_is_behind() -> None:
    row = raced(one_task({"sgd": [0, 0], "adam": [0, 0]}))["adam"]
    assert row.steps is not None
    assert (row.steps.paired.n, row.both) == (0, 2)
    assert row.within[0] == 1.0


def test_an_arm_that_is_late_where_another_starts_at_the_target_is_infinitely_behind() -> None:
    assert raced(one_task({"sgd": [0], "adam": [50]}))["adam"].within == (0.0, 0.0, 0.0, 0.0)


def test_diverged_runs_miss_and_unfinished_ones_are_not_in_the_race() -> None:
    records = [
        *one_task({"sgd": [100, 100]}),
        record(run("adam", seed=0), there_at(50), status="diverged"),
        record(run("adam", seed=1), there_at(50), status="unfinished"),
    ]
    row = raced(records)["adam"]
    assert (row.only_baseline, row.instances, row.reached) == (1, 1, 0)
    waiting = [*one_task({"sgd": [100]}), record(run("adam"), there_at(50), status="unfinished")]
    assert all(math.isnan(share) for share in raced(waiting)["adam"].within)


def test_without_a_target_there_is_no_race() -> None:
    assert compare(one_task({"sgd": [100]}), question("sgd")).race == ()


def test_a_seed_that_the_baseline_does_not_have_is_in_the_race_and_in_no_pair() -> None:
    row = raced(one_task({"sgd": [200], "adam": [100, 50]}))["adam"]
    assert (row.both, row.only_arm, row.only_baseline, row.neither) == (1, 0, 0, 0)
    assert (row.instances, row.reached) == (2, 2)
    assert row.steps is not None
    assert (factor(row.steps), row.steps.paired.n) == pytest.approx((2.0, 1))


def test_one_side_that_starts_at_the_target_is_in_no_speed_up() -> None:
    for steps in ({"sgd": [100], "adam": [0]}, {"sgd": [0], "adam": [100]}):
        row = raced(one_task(steps))["adam"]  # type: ignore[arg-type]
        assert row.steps is not None
        assert (row.steps.paired.n, row.both) == (0, 1)
