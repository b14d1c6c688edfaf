"""The steps that a plan announces before step 0 are those that a run takes."""

from dataclasses import replace
from itertools import repeat
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from making import SGD, make_run, outcome_of
from running.working import made
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.planning.cost import cost_before, steps_before
from clipbench.records import Arm, Choice, ClipSettings, Measure, TrainingSettings

COUNTED = Choice("counted", "counted", f"{__name__}:counted")
ARM = Arm("sgd", SGD)
LOOKAHEAD = Choice("lookahead", "lookahead", "clipbench.wrappers.lookahead:build", {"k": 2, "alpha": 0.5})
PLAIN = make_run(steps=2, task=COUNTED, measure=Measure(2, 2))
RUNS = {
    "plain": PLAIN,
    "a clip": replace(PLAIN, arm=replace(ARM, clip=ClipSettings(0.5))),
    "no check of life": replace(PLAIN, arm=replace(ARM, liveness="off")),
    "a wrapper": replace(PLAIN, arm=replace(ARM, wrap=(LOOKAHEAD,))),
    "ghosts": replace(PLAIN, measure=Measure(2, 2, ghosts=(replace(ARM, name="a"), replace(ARM, name="b")))),
    "micro-batches": replace(PLAIN, training=TrainingSettings(micro_batch=1)),
    "micro-batches and a clip": replace(
        PLAIN, arm=replace(ARM, clip=ClipSettings(0.5)), training=TrainingSettings(micro_batch=1)
    ),
}


PASSES = Mock()  # each forward pass of training; what a trial counts in plain attributes is put back after it
BUILT = Mock()


def counted(seed: int, device: torch.device) -> Problem:
    """A line, and batches of two examples."""
    BUILT()
    batch = Batch({"x": torch.tensor([[0.5], [2.0]])}, 2)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        if torch.is_grad_enabled() and model.training:
            PASSES()
        mean: Tensor = model(batch["x"]).square().mean()
        return mean

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Linear(1, 1).to(device)
    return Problem(model, loss, lambda _: repeat(batch), [batch], [batch])


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_as_many_steps_are_announced_as_are_tried(name: str, tmp_path: Path) -> None:
    run, pieces = RUNS[name], 2 if RUNS[name].training.micro_batch else 1
    PASSES.reset_mock()
    BUILT.reset_mock()
    outcome = outcome_of(made(run, tmp_path))
    assert outcome.status == "finished"
    announced = steps_before(run)
    assert PASSES.call_count - 2 * pieces == announced.whole * pieces + announced.of_life
    assert BUILT.call_count == 3


def test_compiling_takes_one_more() -> None:
    compiled = replace(PLAIN, training=TrainingSettings(compile=True))
    assert steps_before(compiled) == replace(steps_before(PLAIN), whole=steps_before(PLAIN).whole + 1)


def test_the_line_has_the_range_of_all_runs() -> None:
    assert cost_before([]) == ""
    assert cost_before([PLAIN]) == "before step 0, each run builds its model up to 3 times and tries 8 steps or more"
    assert cost_before([RUNS["plain"], RUNS["a clip"]]).endswith("tries 8 to 11 steps or more")
    pieces = [RUNS["micro-batches"], RUNS["micro-batches and a clip"]]
    assert cost_before(pieces).endswith("tries 8 to 11 steps or more, 3 to 6 of them of a micro-batch")
