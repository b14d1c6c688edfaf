"""What a plan will cost, from what like runs cost before."""

from dataclasses import replace

import pytest
from judging.made import ending, record, run, trial

from clipbench.budget import Budget
from clipbench.planning.cost import Cost, costly_probes, expected_cost, steps_of_epochs
from clipbench.records import Choice, Record, TrainingSettings


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


def test_a_trial_costs_what_trials_of_its_arm_cost_whatever_their_settings() -> None:
    made = [record(trial(lr=0.1), [5.0, 3.0]), *(slow(record(run(seed=seed), [5.0, 3.0])) for seed in (0, 1))]
    assert expected_cost([trial(lr=0.3)], made) == Cost(3.0, known=1, unknown=0)
    assert expected_cost([run(seed=2)], made) == Cost(60.0, known=1, unknown=0)


def test_runs_and_trials_are_taken_for_one_another_where_there_is_nothing_better() -> None:
    assert expected_cost([run()], [record(trial(lr=0.1), [5.0, 3.0])]) == Cost(3.0, known=1, unknown=0)
    assert expected_cost([trial(lr=0.1)], [slow(record(run(), [5.0, 3.0]))]) == Cost(60.0, known=1, unknown=0)


def slow(made: Record) -> Record:
    assert made.outcome is not None
    return replace(made, outcome=replace(made.outcome, wall_seconds=60.0))


@pytest.mark.parametrize("training", [TrainingSettings(processes=2), TrainingSettings(4), TrainingSettings(8)])
def test_runs_that_train_otherwise_tell_nothing_of_the_time(training: TrainingSettings) -> None:
    assert expected_cost([run(training=training)], [record(run(), [5.0, 3.0])]) == Cost(0.0, known=0, unknown=1)
    alike = record(run(seed=1, training=training), [5.0, 3.0])
    assert expected_cost([run(training=training)], [alike]) == Cost(3.0, known=1, unknown=0)


def test_a_budget_in_epochs_is_told_in_steps_where_a_run_of_the_task_shows_it() -> None:
    """200 steps of 8 examples are 16 passes through 100 of them: 12.5 steps each."""
    made = ending(record(run(), [5.0, 3.0]), epochs=16.0)
    planned = [run(seed=seed, budget=Budget(amount, "epochs")) for amount in (2, 2.5) for seed in (0, 1)]
    assert steps_of_epochs(planned, [made]) == [
        "2 epochs of code_lm are 25 steps, judging by earlier runs",
        "2.5 epochs of code_lm are 32 steps, judging by earlier runs",
    ]
    elsewhere = run(budget=Budget(2, "epochs"), task="digits")
    assert steps_of_epochs([elsewhere, run()], [made]) == steps_of_epochs(planned, [record(run(), [5.0])]) == []


def test_probes_that_take_far_more_than_sharpness_say_so_for_the_most_directions() -> None:
    names = ("sharpness", "layers", "spectrum")
    probes = tuple(Choice(name, name, f"clipbench.probes.{name}:measure") for name in names)
    few = replace(run(), measure=replace(run().measure, probes=probes))
    many = replace(few, measure=replace(few.measure, ghosts=(run().arm, run().arm)))
    layers, spectrum = costly_probes([many, few])
    assert layers.startswith("probe layers, at each probed step: a curvature for each layer of the model")
    assert "each of 3 directions, where sharpness takes 3" in layers
    assert "up to 200 products" in spectrum
    assert "the direction, where sharpness takes 1" in costly_probes([few])[0]
    fewer = replace(few, measure=replace(few.measure, probes=(replace(probes[2], options={"products": 7}),)))
    assert (
        "up to 7 products of 9 forward passes for each of two eigenvalues, 16 curvatures" in costly_probes([fewer])[0]
    )
    assert costly_probes([run()]) == []
