"""What a record keeps of how a run began, what it drew, and why it failed."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from making import make_run
from torch import nn

from clipbench import store
from clipbench.budget import Budget
from clipbench.contracts import Batch, Problem
from clipbench.records import (
    EVAL_LOSS,
    EVALUATION_BATCHES,
    FIRST_BATCHES,
    INITIAL_WEIGHTS,
    PROBE_BATCHES,
    Arm,
    Choice,
    Measure,
    Outcome,
    Record,
    Run,
)
from clipbench.running.evaluation import change
from clipbench.running.fingerprints import batch_sha256, batches_sha256, weights_sha256
from clipbench.running.worker import work

SGD = "torch.optim:SGD"


def described(task: str = "faulty:noisy", optimizer: str = SGD, *, lr: float = 0.01, **options: Any) -> Run:
    arm = Arm("arm", Choice("o", optimizer, optimizer, {"lr": lr}))
    return make_run(task=Choice("t", task, task, options), arm=arm, budget=Budget(6, "steps"), measure=Measure(3, 4))


def make(run: Run, results: Path) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    return store.read(folder)


def outcome(run: Run, results: Path) -> Outcome:
    record = make(run, results)
    assert record.outcome is not None
    return record.outcome


# How a run began


def test_arms_of_one_seed_have_equal_fingerprints_and_other_seeds_others(tmp_path: Path) -> None:
    sgd, adam = (outcome(described(optimizer=f"torch.optim:{name}"), tmp_path) for name in ("SGD", "Adam"))
    assert sgd.fingerprints == adam.fingerprints
    assert set(sgd.fingerprints) == {INITIAL_WEIGHTS, FIRST_BATCHES, EVALUATION_BATCHES}
    other = outcome(replace(described(), seed=1), tmp_path)
    assert all(other.fingerprints[name] != sgd.fingerprints[name] for name in (INITIAL_WEIGHTS, FIRST_BATCHES))


def test_probe_batches_have_a_fingerprint_where_there_are_probes(tmp_path: Path) -> None:
    probe = Choice("norms", "norms", "clipbench.probes.norms:measure")
    run = replace(described(), measure=Measure(3, 4, (probe,)))
    assert PROBE_BATCHES in outcome(run, tmp_path).fingerprints


PLAIN = Batch({"x": torch.arange(4.0), "y": torch.zeros(2, dtype=torch.bool)}, samples=2)


@pytest.mark.parametrize(
    "other",
    [
        Batch({"x": torch.tensor([0.0, 1, 2, 4]), "y": PLAIN["y"]}, samples=2),
        Batch({"x": PLAIN["x"].double(), "y": PLAIN["y"]}, samples=2),
        Batch({"x": PLAIN["x"].view(2, 2), "y": PLAIN["y"]}, samples=2),
        Batch({"z": PLAIN["x"], "y": PLAIN["y"]}, samples=2),
        Batch(PLAIN.tensors, samples=3),
        Batch(PLAIN.tensors, samples=2, tokens=2),
    ],
)
def test_a_batch_that_differs_in_anything_has_another_fingerprint(other: Batch) -> None:
    assert batch_sha256(other) != batch_sha256(PLAIN) == batch_sha256(replace(PLAIN))
    assert batches_sha256([PLAIN, other]) != batches_sha256([other, PLAIN])


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_a_sparse_batch_has_a_fingerprint_of_its_numbers(layout: torch.layout) -> None:
    def batch(value: float) -> Batch:
        dense = torch.diag(torch.tensor([1.0, value, 3.0]))
        return Batch({"x": dense.to_sparse(layout=layout)}, samples=3)

    assert batch_sha256(batch(2.0)) == batch_sha256(batch(2.0)) != batch_sha256(batch(2.5))


# What it drew


def drawing(seed: int, device: torch.device) -> Problem:
    """Draws from every global generator, in building, in batches and in the loss."""
    import random

    import numpy as np

    def draw() -> float:
        return random.random() + float(np.random.random()) + float(torch.rand(()))

    model = nn.Linear(3, 1).to(device)
    with torch.no_grad():
        model.bias.fill_(draw())

    def batches(_: int) -> Any:
        while True:
            yield Batch({"x": torch.full((4, 3), draw())}, samples=4)

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        noise = draw() if model.training else 1.0
        return (model(batch["x"]) * noise).square().mean()  # type: ignore[no-any-return]

    fixed = [Batch({"x": torch.ones(4, 3) * (1 + seed)}, samples=4)]
    return Problem(model, loss, batches, fixed, fixed)


def test_what_is_drawn_from_global_generators_goes_by_the_seed_alone(tmp_path: Path) -> None:
    import random

    import numpy as np

    run = described(f"{__name__}:drawing", lr=1e-4)
    first = outcome(run, tmp_path / "first")
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    again = outcome(run, tmp_path / "again")
    assert again.weights_sha256 == first.weights_sha256
    assert again.fingerprints == first.fingerprints
    other = outcome(replace(run, seed=1), tmp_path / "first")
    assert other.fingerprints[INITIAL_WEIGHTS] != first.fingerprints[INITIAL_WEIGHTS]
    assert other.fingerprints[FIRST_BATCHES] != first.fingerprints[FIRST_BATCHES]


def test_the_largest_seed_is_no_error(tmp_path: Path) -> None:
    assert outcome(replace(described(f"{__name__}:drawing", lr=1e-4), seed=2**63 - 1), tmp_path).status == "finished"


# How it ended


def test_the_change_has_the_standard_error_of_the_paired_differences() -> None:
    """By hand: three batches of weights 1, 1 and 2, whose losses fall by 1, 2 and 3."""
    batches = [Batch({"x": torch.zeros(1)}, samples=weight) for weight in (1, 1, 2)]
    problem = Problem(nn.Linear(1, 1), lambda *_: torch.zeros(()), lambda _: iter(()), batches, [])
    found = change(problem, [2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    mean = -(1 + 2 + 2 * 3) / 4
    spread = (1 * (-1 - mean)) ** 2 + (1 * (-2 - mean)) ** 2 + (2 * (-3 - mean)) ** 2
    assert (found.first, found.last) == (4.5, 2.25)
    assert found.error == pytest.approx((3 / 2 * spread) ** 0.5 / 4)


def test_the_record_has_the_first_and_the_last_evaluation(tmp_path: Path) -> None:
    record = make(described("forgetful:task"), tmp_path)
    assert record.outcome is not None
    found = record.outcome.change
    curve = record.measurements.series("", EVAL_LOSS)
    assert found is not None
    assert (found.first, found.last) == (curve[0].value, curve[-1].value)
    assert 0 < found.error < abs(found.first)


@pytest.mark.parametrize(
    ("task", "optimizer", "options", "reason"),
    [
        ("forgetful:ending", SGD, {"batches": 4}, "the task's training batches ended at step 4"),
        (f"{__name__}:ending_inside", SGD, {}, "the task's training batches ended at step 4"),
        (f"{__name__}:frozen", SGD, {}, "built a problem with no trainable parameter"),
        (f"{__name__}:unevaluated", SGD, {}, "built a problem with no evaluation batches"),
        (f"{__name__}:weightless", SGD, {}, "built a problem with no evaluation batches, or none with a term"),
        ("faulty:noisy", f"{__name__}:Leaving", {}, "the code of the run ended Python: sys.exit(75)"),
        ("faulty:noisy", f"{__name__}:Verbose", {}, "… (the log has all of it)"),
    ],
)
def test_a_reason_says_what_happened(
    tmp_path: Path, task: str, optimizer: str, options: dict[str, Any], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = outcome(described(task, optimizer, **options), tmp_path)
    assert found.status == "failed"
    assert reason in found.reason
    assert len(found.reason) < 400
    assert "\n" not in found.reason
    assert "Traceback" in capfd.readouterr().err


def test_a_budget_of_fewer_steps_than_there_are_batches_needs_no_more_of_them(tmp_path: Path) -> None:
    assert outcome(described("forgetful:ending", batches=6), tmp_path).status == "finished"


def ending_inside(seed: int, device: torch.device) -> Problem:
    """A generator inside which another ends: Python makes a RuntimeError of it."""
    from forgetful import batch, problem

    def batches(start: int) -> Any:
        inner = iter([batch(seed, i) for i in range(start, 4)])
        while True:
            yield next(inner)

    return problem(nn.Linear(6, 1).to(device), seed, batches)


def frozen(seed: int, device: torch.device) -> Problem:
    from forgetful import problem

    return problem(nn.Linear(6, 1).to(device).requires_grad_(False), seed)


def unevaluated(seed: int, device: torch.device) -> Problem:
    from forgetful import problem

    return replace(problem(nn.Linear(6, 1).to(device), seed), eval_batches=[])


def weightless(seed: int, device: torch.device) -> Problem:
    from forgetful import batch, problem

    empty = replace(batch(seed, 0), tokens=0)
    return replace(problem(nn.Linear(6, 1).to(device), seed), eval_batches=[empty])


class Leaving(torch.optim.SGD):
    """Ends Python in its fifth step, by an exit code that has a meaning of its own among workers."""

    steps = 0

    def step(self) -> None:  # type: ignore[override]
        super().step()
        self.steps += 1
        if self.steps == 5:
            sys.exit(75)


class Verbose(torch.optim.SGD):
    """Raises at some length in its fifth step."""

    steps = 0

    def step(self) -> None:  # type: ignore[override]
        super().step()
        self.steps += 1
        if self.steps == 5:
            raise RuntimeError("\n".join(f"frame {i}: somewhere in the machine room" for i in range(100)))


class Wandering(torch.optim.SGD):
    """Changes the working directory."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        os.chdir("/")


def test_a_change_of_the_working_directory_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = described(optimizer=f"{__name__}:Wandering")
    folder = store.folder_of(run, Path("results"))
    store.describe(run, folder)
    assert work(folder, device="cpu", side_by_side=1, stop=lambda: False) == 0
    monkeypatch.chdir(tmp_path)
    found = store.read(folder).outcome
    assert found is not None
    assert found.status == "finished"


class Forking(torch.optim.SGD):
    """Forks in every step, and the child comes out of the step by an exception."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        child = os.fork()
        if not child:
            raise RuntimeError("in the child")
        os.waitpid(child, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_comes_out_of_a_step_writes_nothing(tmp_path: Path) -> None:
    record = make(described(optimizer=f"{__name__}:Forking"), tmp_path)
    plain = make(described(), tmp_path)
    assert record.outcome is not None
    assert record.outcome.status == "finished"
    assert [row[::4] for row in record.measurements] == [row[::4] for row in plain.measurements]
    assert weights_sha256(nn.Linear(1, 1)) != record.outcome.weights_sha256
