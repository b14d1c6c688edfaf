"""Runs of the tasks of the paper's size, tiny: they resume, and a ghost goes the way of the arm that it is."""

from dataclasses import replace
from pathlib import Path

import pytest
from making import SHARPNESS, make_run, outcome_of
from running.working import made, measured_along
from tasks.papers import MODELS, every_model

from clipbench import store
from clipbench.budget import Budget
from clipbench.records import OWN, Arm, Choice, ClipSettings, Measure, Run, TrainingSettings

pytestmark = pytest.mark.slow  # heavy packages, and models of theirs

pytest.importorskip("transformers", reason="not installed: transformers")

ADAM = Choice("adam", "adam", "clipbench.optimizers.adam:build", {"lr": 0.003})
CLIPPED = Arm("clipped", ADAM, ClipSettings(0.3, of="numerator"))
NORMS = Choice("norms", "norms", "clipbench.probes.norms:measure")


def described(name: str, measure: Measure, training: TrainingSettings) -> Run:
    task, options = MODELS[name]
    choice = Choice(task, task, f"clipbench.tasks.{task}:build", {**options, "dropout": 0.1})
    return make_run(task=choice, arm=CLIPPED, budget=Budget(6, "steps"), measure=measure, training=training)


@every_model
def test_a_run_that_was_interrupted_ends_bit_for_bit_where_one_that_ran_through_ends(name: str, tmp_path: Path) -> None:
    run = described(name, Measure(3, 2, (NORMS,)), TrainingSettings(micro_batch=2, recompute=True))
    through = made(run, tmp_path / "through")
    paused = made(run, tmp_path / "resumed", stop_at=4)
    assert paused.outcome is None
    assert (Path(paused.folder) / store.CHECKPOINT).exists()
    resumed = made(run, tmp_path / "resumed")
    assert resumed.weights == through.weights != ""
    assert measured_along(resumed, OWN) == measured_along(through, OWN) != []


@every_model
def test_a_ghost_of_the_trained_arm_has_its_own_update(name: str, tmp_path: Path) -> None:
    measure = Measure(3, 2, (SHARPNESS, NORMS), ghosts=(replace(CLIPPED, name="itself"),))
    record = made(described(name, measure, TrainingSettings()), tmp_path)
    assert outcome_of(record).failed_probes == {}
    own = measured_along(record, OWN)
    assert {step for step, _, _ in own} == {2, 4}
    assert measured_along(record, "itself") == own
