"""What a plan will cost, from what like runs cost before."""

from judging.made import record, run

from clipbench.budget import Budget
from clipbench.judging.cost import Cost, expected_cost


def test_the_cost_is_the_median_wall_time_of_like_runs() -> None:
    made = [record(run(seed=seed), [5.0, 3.0]) for seed in (0, 1)]  # three seconds of wall time each
    planned = [run(seed=2), run(seed=3), run("adam", seed=2)]
    assert expected_cost(planned, made) == Cost(6.0, known=2, unknown=1)


def test_a_crash_an_unfinished_run_and_another_budget_tell_nothing() -> None:
    made = [
        record(run(), [5.0], status="failed"),
        record(run(seed=1), [5.0], status="unfinished"),
        record(run(seed=2, budget=Budget(10, "steps")), [5.0, 3.0]),
    ]
    assert expected_cost([run(seed=3)], made) == Cost(0.0, known=0, unknown=1)


def test_a_diverged_run_took_its_time_as_well() -> None:
    assert expected_cost([run(seed=1)], [record(run(), [5.0, 9.0], status="diverged")]).known == 1
