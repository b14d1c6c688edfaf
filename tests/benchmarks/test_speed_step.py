"""The benchmark of a training step: that it trains as the loop by hand does, and prints every figure."""

import importlib
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"


@pytest.mark.slow
def test_a_quick_run_prints_every_figure_and_judges_none() -> None:
    done = subprocess.run(
        [sys.executable, str(SPEED / "step.py"), "--quick", "--curvature", "float32", "tf32"],
        capture_output=True,
        text=True,
        check=True,
    )
    for what in ("step, float32", "step, bf16", "probe of 12, auto, float32", "probe of 12, adjoint, tf32"):
        assert what in done.stdout
    assert "NOT MET" not in done.stdout


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_both_loops_take_the_same_steps(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.syspath_prepend(str(SPEED))
    step: Any = importlib.import_module("step")

    make = partial(step.TASKS["code_lm"], 0, torch.device("cpu"), width=16, layers=1, heads=2, batch=4)
    ours, by_hand = step.Ours(make(), precision), step.ByHand(make(), precision)
    batches = make().train_batches(0)
    losses = [(ours.step(batch), by_hand.step(batch)) for batch in (next(batches) for _ in range(4))]
    assert all(mine == theirs for mine, theirs in losses)
    assert losses[0][0] > losses[-1][0]
