"""Runs for tests: the smallest description that is complete."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipbench.budget import Budget
from clipbench.records import Arm, Choice, Measure, Outcome, Record, Run

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


def sparse(path: Path, size: int) -> None:
    """A file of so many bytes that takes no room on the disk."""
    path.touch()
    os.truncate(path, size)


def outcome_of(record: Record) -> Outcome:
    """How a run ended, of a run that has ended."""
    assert record.outcome is not None
    return record.outcome
