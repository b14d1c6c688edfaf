"""Optimizers with weights to train at and others to use: which are evaluated, and that looking leaves no trace."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making import make_run
from torch import nn

from clipbench import store
from clipbench.budget import Budget
from clipbench.records import EVAL_LOSS, TRAINING_POINT_LOSS, Arm, Choice, Measure, Record, Run
from clipbench.running.evaluation import at_evaluation_weights, has_two_states
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.worker import work
from clipbench.tasks.quadratic import build as quadratic

TASK = Choice("quadratic", "quadratic", "clipbench.tasks.quadratic:build", {"dimension": 20, "noise": 0.1})


def averaging(target: str = "forgetful:Averaging", **options: float) -> Run:
    arm = Arm("averaging", Choice("a", target, target, {"lr": 0.05, **options}))
    return make_run(task=TASK, arm=arm, budget=Budget(30, "steps"), measure=Measure(10, 7))


def make(run: Run, results: Path) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    return store.read(folder)


def losses(record: Record, quantity: str) -> list[float]:
    return [row.value for row in record.measurements.series("", quantity)]


def by_hand(steps: int) -> tuple[float, float, str]:
    """Plain SGD and the plain mean of its iterates: the loss at the last iterate, at the mean, and the mean's hash."""
    problem = quadratic(0, torch.device("cpu"), dimension=20, noise=0.1)
    [x] = problem.model.parameters()
    batches, mean = problem.train_batches(0), torch.zeros_like(x)
    for step in range(steps):
        problem.model.zero_grad()
        problem.loss(problem.model, next(batches)).backward()
        gradient = x.grad
        assert gradient is not None
        with torch.no_grad():
            x.sub_(gradient, alpha=0.05)
            mean += (x - mean) / (step + 1)
    with torch.no_grad():
        [batch] = problem.eval_batches
        last = float(problem.loss(problem.model, batch))
        x.copy_(mean)
        return last, float(problem.loss(problem.model, batch)), weights_sha256(problem.model)


def test_the_reported_loss_is_that_of_the_weights_a_user_ends_with(tmp_path: Path) -> None:
    record = make(averaging(), tmp_path)
    assert record.outcome is not None
    last, mean, _ = by_hand(30)
    assert losses(record, EVAL_LOSS)[-1] == pytest.approx(mean, rel=1e-4)  # the mean is kept in float32 on both sides
    assert losses(record, TRAINING_POINT_LOSS)[-1] == last
    assert abs(mean / last - 1) > 0.01
    assert record.outcome.change is not None
    assert record.outcome.change.last == losses(record, EVAL_LOSS)[-1]


def test_the_final_weights_are_those_of_eval(tmp_path: Path) -> None:
    trained, averaged = (
        make(averaging(), tmp_path / "a"),
        make(replace(averaging(), budget=Budget(31, "steps")), tmp_path / "b"),
    )
    assert trained.outcome is not None
    assert averaged.outcome is not None
    assert trained.outcome.weights_sha256 != averaged.outcome.weights_sha256
    plain = make(averaging("torch.optim:SGD"), tmp_path / "c")
    assert plain.outcome is not None
    assert plain.outcome.weights_sha256 != trained.outcome.weights_sha256
    assert losses(plain, EVAL_LOSS)[-1] == losses(trained, TRAINING_POINT_LOSS)[-1]  # one path, two ways to end it


def test_the_cadence_of_evaluation_leaves_no_trace_in_the_path(tmp_path: Path) -> None:
    seldom = make(averaging(), tmp_path / "seldom")
    often = make(replace(averaging(), measure=Measure(1, 7)), tmp_path / "often")
    assert seldom.outcome is not None
    assert often.outcome is not None
    assert often.outcome.weights_sha256 == seldom.outcome.weights_sha256
    assert losses(often, TRAINING_POINT_LOSS)[::10] == losses(seldom, TRAINING_POINT_LOSS)


def test_an_optimizer_without_the_two_modes_records_one_loss(tmp_path: Path) -> None:
    record = make(averaging("torch.optim:SGD"), tmp_path)
    assert not losses(record, TRAINING_POINT_LOSS)
    assert len(losses(record, EVAL_LOSS)) == 4


class Inexact(torch.optim.SGD):
    """train() rounds what eval() took, drops a state and adds another."""

    @torch.no_grad()
    def eval(self) -> None:
        for state, parameter in self._all():
            parameter.div_(3)
            state["momentum_buffer"].zero_()
            state["new"] = torch.ones(1)

    @torch.no_grad()
    def train(self) -> None:
        for state, parameter in self._all():
            parameter.mul_(3)
            state.pop("momentum_buffer", None)

    def _all(self) -> list[tuple[dict[str, torch.Tensor], nn.Parameter]]:
        return [(self.state[p], p) for group in self.param_groups for p in group["params"]]


def test_weights_and_state_come_back_from_copies_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = Inexact(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 5)).sum().backward()
    optimizer.step()
    weights = [p.detach().clone() for p in model.parameters()]
    state = [{name: value.clone() for name, value in s.items()} for s, _ in optimizer._all()]
    with at_evaluation_weights(optimizer, steps=1):
        assert not torch.equal(model.weight, weights[0])
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    for (now, _), before in zip(optimizer._all(), state, strict=True):
        assert now.keys() == before.keys()
        assert all(torch.equal(now[name], before[name]) for name in before)


class Unready(torch.optim.SGD):
    """eval() raises before the first step, draws, and moves the rate; train() is given a rate of its own."""

    def eval(self) -> None:
        if not self.state:
            raise RuntimeError("no step was taken yet")
        torch.rand(())
        self.param_groups[0]["lr"] = 0.0
        self.looks = getattr(self, "looks", 0) + 1

    def train(self) -> None:
        self.param_groups[0].setdefault("seen", 1)


def test_nothing_that_eval_and_train_do_beside_the_weights_is_left(tmp_path: Path) -> None:
    run = averaging(f"{__name__}:Unready", momentum=0.9)
    seldom = make(run, tmp_path / "seldom")
    often = make(replace(run, measure=Measure(1, 7)), tmp_path / "often")
    plain = make(averaging("torch.optim:SGD", momentum=0.9), tmp_path / "plain")
    ends = [record.outcome.weights_sha256 for record in (seldom, often, plain) if record.outcome]
    assert len(ends) == 3
    assert len(set(ends)) == 1


class Otherwise(torch.optim.SGD):
    """Methods of these names that mean something else."""

    def eval(self, closure: object) -> None: ...
    def train(self, loader: object) -> None: ...


def test_methods_that_want_arguments_are_no_modes(tmp_path: Path) -> None:
    record = make(averaging(f"{__name__}:Otherwise"), tmp_path)
    assert record.outcome is not None
    assert record.outcome.status == "finished"
    assert not losses(record, TRAINING_POINT_LOSS)


def test_torchs_own_optimizers_have_one_state() -> None:
    assert not has_two_states(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    assert has_two_states(Inexact([nn.Parameter(torch.zeros(1))], lr=0.1))
