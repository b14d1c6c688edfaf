"""Arms end where a plain loop ends that knows nothing of clipbench: same weights, same batches, the same bits."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from conftest import NOT_INSTALLED
from making import make_run
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipbench.budget import Budget
from clipbench.contracts import Batch
from clipbench.records import Arm, Choice, Measure
from clipbench.running.environment import seed_generators
from clipbench.running.preparing import LiveArm, assembled
from clipbench.running.stepping import stepping_of
from clipbench.running.train import train
from clipbench.running.vigil import settings
from clipbench.tasks.code_lm import build as code_lm

pytestmark = pytest.mark.slow  # runs are made

STEPS = 20
CPU = torch.device("cpu")
SMALL = {"width": 16, "layers": 1, "heads": 2, "context": 16, "batch": 4}
TASK = Choice("code_lm", "code_lm", "clipbench.tasks.code_lm:build", SMALL)

Weights = list[Tensor]
Factory = Callable[[Weights], Any]


@dataclass(frozen=True)
class Case:
    """An arm, and what a user would write without clipbench."""

    arm: Arm
    build: Factory
    closure: bool = False
    needs: str = "torch"


def of_class(use: str, *, closure: bool = False, create_graph: bool = False, **options: Any) -> Case:
    module, _, name = use.partition(":")
    arm = Arm(name, Choice(name, use, use, options), create_graph=create_graph)
    build: Factory = lambda weights: getattr(__import__(module, fromlist=[name]), name)(weights, **options)  # noqa: E731
    return Case(arm, build, closure, module.partition(".")[0])


def in_lookahead() -> Case:
    wrapper = Choice("Lookahead", "Lookahead", "pytorch_optimizer:Lookahead", {"k": 3})
    sgd = Choice("sgd", "sgd", "torch.optim:SGD", {"lr": 0.1, "momentum": 0.9})

    def build(weights: Weights) -> Any:
        import pytorch_optimizer

        return pytorch_optimizer.Lookahead(torch.optim.SGD(weights, lr=0.1, momentum=0.9), k=3)

    return Case(Arm("Lookahead", sgd, wrap=(wrapper,)), build, needs="pytorch_optimizer")


CASES = (
    of_class("torch.optim:SGD", lr=0.1, momentum=0.9, nesterov=True),
    of_class("torch.optim:Adam", lr=0.003),
    of_class("torch.optim:Adafactor", lr=0.03),
    of_class("torch.optim:Adagrad", lr=0.03),
    of_class("torch.optim:ASGD", lr=0.1, t0=3),
    of_class("torch.optim:LBFGS", lr=0.1, max_iter=4, closure=True),
    of_class("torch.optim:NAdam", lr=0.003, weight_decay=0.1, decoupled_weight_decay=True),
    of_class("torch.optim:RMSprop", lr=0.003, centered=True),
    of_class("torch.optim:Rprop", lr=0.001),
    of_class("pytorch_optimizer:AdaBelief", lr=0.003),
    of_class("pytorch_optimizer:AdaHessian", lr=0.1, create_graph=True),
    of_class("pytorch_optimizer:AliG", closure=True),
    of_class("pytorch_optimizer:Lion", lr=0.001),
    of_class("pytorch_optimizer:MADGRAD", lr=0.01),
    of_class("pytorch_optimizer:Prodigy", lr=1.0),
    of_class("pytorch_optimizer:SOAP", lr=0.003, precondition_frequency=4),
    in_lookahead(),
    of_class("schedulefree:AdamWScheduleFree", lr=0.01),
    of_class("schedulefree:SGDScheduleFreeClosure", lr=0.3, closure=True),
)


def by_clipbench(arm: Arm) -> Weights:
    problem = code_lm(0, CPU, **SMALL)
    run = make_run(task=TASK, arm=arm, budget=Budget(STEPS, "steps"), measure=Measure(STEPS, STEPS + 1))
    live = LiveArm((), {}, (), None, settings(), stepping_of(arm, problem))
    training = assembled(run, problem, live)
    train(training, lambda so_far: so_far.state.spent.steps >= STEPS)
    return list(problem.model.parameters())


def by_hand(case: Case) -> Weights:
    problem = code_lm(0, CPU, **SMALL)
    model, batches = problem.model, problem.train_batches(0)
    optimizer = case.build(list(model.parameters()))
    if hasattr(optimizer, "train"):
        optimizer.train()
    seed_generators(make_run().seed)  # for those that draw
    for _ in range(STEPS):
        batch = next(batches)

        def closure(batch: Batch = batch) -> Tensor:
            optimizer.zero_grad()
            twice = case.arm.create_graph
            with sdpa_kernel(SDPBackend.MATH) if twice else nullcontext(), torch.enable_grad():
                loss = problem.loss(model, batch)
                loss.backward(create_graph=twice)
            return loss

        if case.closure:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return list(model.parameters())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.arm.name)
@pytest.mark.filterwarnings("ignore:Using backward\\(\\) with create_graph=True")
def test_an_arm_ends_where_a_plain_loop_ends(case: Case) -> None:
    pytest.importorskip(case.needs, reason=f"{NOT_INSTALLED}{case.needs}")
    start = list(code_lm(0, CPU, **SMALL).model.parameters())
    ours, theirs = by_clipbench(case.arm), by_hand(case)
    assert not all(map(torch.equal, ours, start))
    assert all(map(torch.equal, ours, theirs))
