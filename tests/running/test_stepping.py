"""Optimizers that evaluate the loss themselves, and those that differentiate the gradient, against plain loops."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from making import make_run, outcome_of
from running import working
from torch import Tensor, nn

from clipbench.budget import Budget
from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip
from clipbench.contracts import Problem
from clipbench.errors import ClipbenchError
from clipbench.records import (
    RESUME,
    TRAIN_LOSS,
    Arm,
    Choice,
    ClipSettings,
    Measure,
    Record,
    Schedule,
    TrainingSettings,
)
from clipbench.running.equipment import build_optimizer, trainable
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.stepping import Stepping, evaluated, stepping_of
from clipbench.tasks.code_lm import build as code_lm

CPU = torch.device("cpu")
STEPS = 12
SMALL = {"width": 16, "layers": 1, "heads": 2, "context": 16, "batch": 4}
TASK = Choice("code_lm", "code_lm", "clipbench.tasks.code_lm:build", SMALL)


class AuthorsSAM(torch.optim.Optimizer):
    """SAM as its authors' widely used code has it: it moves by the gradient that is there, then calls the closure."""

    def __init__(self, params: Any, lr: float, rho: float = 0.05, by_data: bool = False) -> None:
        super().__init__(params, {"lr": lr})
        self.rho, self.by_data = rho, by_data

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is not None, "Sharpness Aware Minimization requires closure, but it was not provided"
        parameters = [p for group in self.param_groups for p in group["params"]]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]))
        offsets = [p.grad * (self.rho / norm) for p in parameters]
        for p, offset in zip(parameters, offsets, strict=True):
            (p.data if self.by_data else p).add_(offset)
        self.zero_grad()
        torch.enable_grad()(closure)()
        for p, offset in zip(parameters, offsets, strict=True):
            (p.data if self.by_data else p).sub_(offset)
            p.sub_(p.grad, alpha=self.param_groups[0]["lr"])


class Quiet(torch.optim.SGD):
    """Asks for a closure that it never calls."""

    def step(self, closure: Any) -> None:  # type: ignore[override]
        pass


class Descent(torch.optim.Optimizer):
    """Gradient descent that takes whatever its closure raises, or evaluates that of its last step once more."""

    def __init__(self, params: Any, lr: float, keeps: bool = False) -> None:
        super().__init__(params, {"lr": lr})
        self.keeps, self.last = keeps, None

    @torch.no_grad()
    def step(self, closure: Any) -> None:  # type: ignore[override]
        with contextlib.suppress(Exception), torch.enable_grad():
            closure()
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad, alpha=self.param_groups[0]["lr"])
        if self.keeps and self.last is not None:
            torch.enable_grad()(self.last)()
        self.last = closure


class Newton(torch.optim.Optimizer):
    """Divides the gradient by a Hutchinson estimate of the Hessian's diagonal with a fixed vector of ones."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self) -> None:  # type: ignore[override]
        parameters = [p for group in self.param_groups for p in group["params"]]
        rows = torch.autograd.grad([p.grad.sum() for p in parameters], parameters)
        with torch.no_grad():
            for p, row in zip(parameters, rows, strict=True):
                p.sub_(p.grad / (1.0 + row.abs()), alpha=self.param_groups[0]["lr"])


def arm(use: str, **options: Any) -> Arm:
    target = use if ":" in use else f"{__name__}:{use}"
    return Arm(use, Choice(use, use, target, options))


LBFGS = arm("torch.optim:LBFGS", lr=0.1, max_iter=3)
AUTHORS = arm("AuthorsSAM", lr=0.3, rho=0.1)
SAM = replace(
    arm("torch.optim:SGD", lr=0.3), wrap=(Choice("sam", "sam", "clipbench.wrappers.sam:build", {"rho": 0.1}),)
)


def made(of: Arm, results: Path, *, stop_at: int | None = None, **measure: Any) -> Record:
    run = make_run(task=TASK, arm=of, budget=Budget(STEPS, "steps"), measure=Measure(4, 5, **measure))
    return working.made(run, results, stop_at=stop_at)


@pytest.mark.parametrize(
    ("of", "stepping"),
    [
        (arm("torch.optim:SGD", lr=0.1), "gradient"),
        (arm("clipbench.optimizers.lion:build", lr=0.1), "gradient"),
        (LBFGS, "closure"),
        (SAM, "closure"),
        (replace(SAM, clip=ClipSettings(0.1)), "closure"),
        (AUTHORS, "gradient and closure"),
        (arm("AuthorsSAM", lr=0.3, by_data=True), "gradient and closure"),
        (arm("AuthorsSAM", lr=0.3, rho=0.0), "gradient and closure"),
        (arm("Quiet", lr=0.1), "closure"),
        (arm("Descent", lr=0.1), "closure"),
    ],
    ids=lambda case: case.name if isinstance(case, Arm) else case,
)
def test_how_an_optimizer_is_stepped_is_found_by_trying_it(of: Arm, stepping: Stepping) -> None:
    problem = code_lm(0, CPU, **SMALL)
    before = weights_sha256(problem.model)
    assert stepping_of(of, problem) == stepping
    assert weights_sha256(problem.model) == before
    assert all(parameter.grad is None for parameter in problem.model.parameters())


Clipped = Callable[[list[Tensor]], None]


def by_hand(of: Arm, *, first: bool, clip: Clipped = lambda _: None, rate: Callable[[int], float] | None = None) -> str:
    """The optimizer in a plain loop; `first`: a gradient is there before its step. The hash of where it ends."""
    problem = code_lm(0, CPU, **SMALL)
    model, batches = problem.model, problem.train_batches(0)
    optimizer, _ = build_optimizer(replace(of, clip=None), model)
    for step in range(STEPS):
        batch = next(batches)
        if rate is not None:
            optimizer.param_groups[0]["lr"] = rate(step)

        def closure(batch: Any = batch) -> Tensor:
            optimizer.zero_grad()
            loss = problem.loss(model, batch)
            loss.backward()
            clip([p.grad for p in model.parameters() if p.grad is not None])
            return loss

        if first:
            closure()
        optimizer.step(closure)  # type: ignore[arg-type]
    return weights_sha256(model)


def threshold(gradients: list[Tensor]) -> None:
    for gradient in gradients:
        gradient.clamp_(-0.01, 0.01)


def a_tenth(gradients: list[Tensor]) -> None:
    """By sorting all coordinates."""
    magnitudes = torch.cat([gradient.abs().flatten() for gradient in gradients]).sort(descending=True).values
    limit = float(magnitudes[int(len(magnitudes) * 0.1)])
    for gradient in gradients:
        gradient.clamp_(-limit, limit)


@pytest.mark.parametrize(
    ("clip", "hand"),
    [(None, lambda _: None), (ClipSettings(threshold=0.01), threshold), (ClipSettings(0.1), a_tenth)],
    ids=["plain", "threshold", "fraction"],
)
@pytest.mark.parametrize(("of", "first"), [(LBFGS, False), (AUTHORS, True)], ids=["lbfgs", "sam"])
def test_a_run_ends_where_a_plain_loop_ends_and_every_gradient_is_clipped(
    tmp_path: Path, of: Arm, first: bool, clip: ClipSettings | None, hand: Clipped
) -> None:
    record = made(replace(of, clip=clip), tmp_path)
    assert record.weights == by_hand(of, first=first, clip=hand)


def test_a_schedule_reaches_an_optimizer_with_a_closure(tmp_path: Path) -> None:
    record = made(replace(LBFGS, schedule=Schedule("linear")), tmp_path)
    assert record.weights == by_hand(LBFGS, first=False, rate=lambda step: 0.1 * (1 - (step + 0.5) / STEPS))


@pytest.mark.parametrize(
    ("of", "passes"),
    [(arm("torch.optim:SGD", lr=0.3), 1), (SAM, 2), (AUTHORS, 2), (LBFGS, 3)],
    ids=lambda case: str(case),
)
def test_passes_and_their_operations_are_counted_and_the_loss_is_where_the_step_begins(
    tmp_path: Path, of: Arm, passes: int
) -> None:
    record, plain = made(of, tmp_path), made(arm("torch.optim:SGD", lr=0.3), tmp_path / "plain")
    outcome = outcome_of(record)
    assert outcome.passes == passes * STEPS
    assert outcome.step_flops == passes * (outcome_of(plain).step_flops or 0) > 0
    first = record.measurements.series("", TRAIN_LOSS)[0]
    assert first.step == 4
    assert 2.0 < first.value < 6.0


def test_a_closure_of_an_earlier_step_is_a_pass_as_well(tmp_path: Path) -> None:
    plain, keeps = (made(arm("Descent", lr=0.3, keeps=keeps), tmp_path / str(keeps)) for keeps in (False, True))
    assert (outcome_of(plain).passes, outcome_of(keeps).passes) == (STEPS, 2 * STEPS - 1)
    assert plain.weights == keeps.weights == made(arm("torch.optim:SGD", lr=0.3), tmp_path).weights


@pytest.mark.parametrize("of", [LBFGS, AUTHORS, SAM], ids=["lbfgs", "authors' sam", "sam"])
def test_an_interrupted_run_ends_where_one_that_ran_through_ends(tmp_path: Path, of: Arm) -> None:
    through = made(of, tmp_path / "through")
    paused = made(of, tmp_path / "resumed", stop_at=7)
    assert paused.outcome is None
    resumed = made(of, tmp_path / "resumed")
    assert RESUME not in outcome_of(resumed).remarks
    assert resumed.weights == through.weights != ""
    assert outcome_of(resumed).passes == outcome_of(through).passes


@pytest.mark.parametrize(
    ("ghost", "why"),
    [
        (LBFGS, "its step needs a closure, which would evaluate the loss away from the run's path"),
        (SAM, "its step needs a closure"),
        (replace(arm("Newton", lr=0.1), create_graph=True), "it differentiates the gradient, and a run keeps no graph"),
    ],
    ids=["lbfgs", "sam", "newton"],
)
def test_as_a_ghost_it_is_refused_with_a_sentence_and_the_run_goes_on(tmp_path: Path, ghost: Arm, why: str) -> None:
    norms = (Choice("norms", "norms", "clipbench.probes.norms:measure"),)
    plain = made(arm("torch.optim:SGD", lr=0.3), tmp_path, probes=norms)
    beside = made(arm("torch.optim:SGD", lr=0.3), tmp_path / "beside", probes=norms, ghosts=(ghost,))
    [(name, reason)] = outcome_of(beside).failed_probes.items()
    assert name == f"the ghost {ghost.name}"
    assert why in reason
    assert beside.weights == plain.weights


@pytest.mark.parametrize("of", [LBFGS, AUTHORS, SAM], ids=["lbfgs", "authors' sam", "sam"])
def test_a_plain_ghost_beside_it_steps_by_the_gradient_where_the_step_begins(tmp_path: Path, of: Arm) -> None:
    norms = (Choice("norms", "norms", "clipbench.probes.norms:measure"),)
    sgd = arm("torch.optim:SGD", lr=0.3)
    record = made(of, tmp_path, probes=norms, ghosts=(replace(sgd, name="sgd"),))
    assert outcome_of(record).failed_probes == {}
    assert record.weights == made(of, tmp_path / "alone").weights
    lengths = record.measurements.by_step("sgd", "update_norm")
    gradients = record.measurements.by_step("", "gradient_norm")
    assert lengths == {step: pytest.approx(0.3 * gradients[step], rel=1e-5) for step in (5, 10)}


def test_plain_ghosts_beside_one_that_differentiates_the_gradient_leave_its_graph_alone(tmp_path: Path) -> None:
    norms = (Choice("norms", "norms", "clipbench.probes.norms:measure"),)
    adam = replace(arm("torch.optim:Adam", lr=0.01), name="adam", clip=ClipSettings(0.1))
    newton = replace(arm("Newton", lr=0.1), create_graph=True)
    record = made(newton, tmp_path, probes=norms, ghosts=(adam,))
    assert outcome_of(record).failed_probes == {}
    assert record.weights == newton_by_hand()
    assert record.measurements.by_step("adam", "update_norm").keys() == {5, 10}


def test_activations_are_recomputed_for_one_that_differentiates_the_gradient(tmp_path: Path) -> None:
    newton = replace(arm("Newton", lr=0.1), create_graph=True)
    task = replace(TASK, options={**SMALL, "layers": 2})  # a single block is none
    run = make_run(task=task, arm=newton, budget=Budget(STEPS, "steps"), measure=Measure(4, 5))
    ends = [working.made(replace(run, training=TrainingSettings(recompute=each)), tmp_path) for each in (False, True)]
    assert ends[0].weights == ends[1].weights != ""


def test_an_optimizer_that_never_evaluates_its_closure_fails_its_run(tmp_path: Path) -> None:
    record = made(replace(arm("Quiet", lr=0.1), liveness="off"), tmp_path)
    assert outcome_of(record).status == "failed"
    assert "the optimizer took a step without evaluating its closure" in outcome_of(record).reason


def newton_by_hand() -> str:
    """In a plain loop, through attention's plain formula, whose gradient can be differentiated."""
    problem: Problem = code_lm(0, CPU, **SMALL)
    parameters = list(problem.model.parameters())
    batches = problem.train_batches(0)
    for _ in range(STEPS):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            loss = problem.loss(problem.model, next(batches))
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        rows = torch.autograd.grad([gradient.sum() for gradient in gradients], parameters)
        with torch.no_grad():
            for p, gradient, row in zip(parameters, gradients, rows, strict=True):
                p.sub_(gradient / (1.0 + row.abs()), alpha=0.1)
    return weights_sha256(problem.model)


def test_an_optimizer_that_differentiates_the_gradient_runs_with_create_graph(tmp_path: Path) -> None:
    record = made(replace(arm("Newton", lr=0.1), create_graph=True), tmp_path)
    assert record.weights == newton_by_hand()
    assert outcome_of(record).step_flops is None or (outcome_of(record).step_flops or 0) > 0


@pytest.mark.parametrize("clip", ["coordinate", "fixed"])
def test_in_a_loop_of_ones_own_the_first_gradient_of_sam_is_clipped_on_request(clip: str) -> None:
    model = nn.Linear(3, 2)
    optimizer = AuthorsSAM(model.parameters(), lr=0.1)
    attached = CoordinateClip(optimizer, 0.5) if clip == "coordinate" else FixedClip(optimizer, threshold=0.1)
    model(torch.ones(1, 3)).square().sum().backward()
    gradients = [p.grad for p in trainable(model).values() if p.grad is not None]
    before = torch.cat([gradient.flatten() for gradient in gradients]).abs()
    attached.clip_gradients()
    after = torch.cat([gradient.flatten() for gradient in gradients]).abs()
    limit = 0.1 if clip == "fixed" else float(before.sort(descending=True).values[len(before) // 2])
    assert torch.equal(after, before.clamp(max=limit))
    assert attached.last is not None


def test_a_loss_without_a_gradient_is_said_to_be_one() -> None:
    problem = code_lm(0, CPU, **SMALL)
    with pytest.raises(ClipbenchError, match="the task's loss has no gradient"):
        evaluated(replace(problem, loss=lambda *_: torch.tensor(1.0)), next(problem.train_batches(0)))
