"""A run ends at the same weights however often it is evaluated and probed on its way."""

from dataclasses import replace
from pathlib import Path

import pytest
from making import SHARPNESS, make_run

from clipbench import store
from clipbench.budget import Budget
from clipbench.records import Arm, Choice, Measure, Outcome, Run
from clipbench.running.worker import work

pytestmark = pytest.mark.slow  # runs of every kind are made

MEMORIES = (
    "a number in a closure",
    "a loss that is a module with a buffer",
    "a generator of torch in a closure",
    "a method of an object",
    "a module by object.__setattr__",
    "an attribute of a class",
    "a hook with a closure",
)


def remembering(memory: str) -> Run:
    arm = Arm("sgd", Choice("sgd", "torch.optim:SGD", "torch.optim:SGD", {"lr": 0.01}), liveness="warn")
    task = Choice("remembering", "remembering:build", "remembering:build", {"memory": memory})
    return make_run(task=task, arm=arm, budget=Budget(30, "steps"))


def make(run: Run, results: Path) -> Outcome:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    outcome = store.read(folder).outcome
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("memory", MEMORIES)
def test_how_often_a_run_is_looked_at_changes_no_bit_of_its_weights(memory: str, tmp_path: Path) -> None:
    seldom, often = Measure(40, 99), Measure(3, 7, probes=(SHARPNESS,))
    first, second = (
        make(replace(remembering(memory), measure=measure), tmp_path / str(i))
        for i, measure in enumerate((seldom, often))
    )
    assert first.status == second.status == "finished"
    assert first.weights_sha256 == second.weights_sha256
