"""Runs for tests: the smallest description that is complete."""

from dataclasses import replace
from typing import Any

from clipbench.budget import Budget
from clipbench.records import Arm, Choice, Measure, Run

QUADRATIC = Choice("quadratic", "quadratic", "clipbench.tasks.quadratic:build", {"dimension": 16})
SGD = Choice("sgd", "torch.optim:SGD", "torch.optim:SGD", {"lr": 0.005, "momentum": 0.9})
SHARPNESS = Choice("sharpness", "sharpness", "clipbench.probes.sharpness:measure")


def make_run(*, steps: int = 12, **changes: Any) -> Run:
    run = Run(
        spec="made",
        task=QUADRATIC,
        arm=Arm("sgd", SGD),
        budget=Budget(steps, "steps"),
        seed=0,
        measure=Measure(evaluate_every=4, probe_every=5, probes=(SHARPNESS,)),
    )
    return replace(run, **changes)
