"""What is certainly dead is refused, what is late or out of sight is not, and a spec may have it run all the same."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import pytest
import torch
from faulty import noisy
from torch import nn

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Choice, ClipSettings, Value
from clipbench.running import liveness
from clipbench.running.trial import NotLiveError, first_gradients
from clipbench.spec import load
from clipbench.tasks.code_lm import build as code_lm
from clipbench.tasks.quadratic import build as quadratic

CPU = torch.device("cpu")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Check = Callable[[Arm, Problem], tuple[str, ...]]


def of_a_ghost(arm: Arm, problem: Problem) -> tuple[str, ...]:
    return liveness.check_ghost(arm, problem, first_gradients(problem))


@pytest.fixture(params=[liveness.check, of_a_ghost], ids=["the run's own", "a ghost"])
def check(request: pytest.FixtureRequest) -> Check:
    return request.param  # type: ignore[no-any-return]


def arm(name: str, **options: Value) -> Arm:
    target = name if ":" in name else f"{__name__}:{name}"
    return Arm("an arm", Choice(name, name, target, options))


class Descent(torch.optim.Optimizer):
    """Gradient descent that counts its steps, for the others to build on; `factor` scales a step."""

    def __init__(self, parameters: Any, lr: float, **groups: Any) -> None:
        super().__init__(parameters, {"lr": lr, **groups})
        self.steps = 0

    def factor(self) -> float:
        return 1.0

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=group["lr"] * self.factor())
        self.steps += 1


class Late(Descent):
    """Stands still for its first steps, as RAdam does until step 6 and AdaShift until step 10."""

    def __init__(self, parameters: Any, lr: float, wait: int = 10) -> None:
        super().__init__(parameters, lr=lr)
        self.wait = wait

    def factor(self) -> float:
        return float(self.steps >= self.wait)


class Decaying(Descent):
    """Writes its own rate from step to step, as ASGD does."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        self.param_groups[0]["lr"] *= 0.9


class Scaling(Descent):
    """Scales its own rate once, as GrokFast does."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=lr / 3)


class TwoGroups(Descent):
    """Has an option in its second group alone, as optimizers for matrices have those of their vectors."""

    def __init__(self, parameters: Any, lr: float, decay: float = 0.5) -> None:
        first, *rest = parameters
        super().__init__([first], lr=lr)
        self.add_param_group({"params": rest, "decay": decay})


class OfTensors(Descent):
    """Holds its options as float32 tensors."""

    def __init__(self, parameters: Any, lr: float, betas: tuple[float, float]) -> None:
        rate: Any = torch.tensor(lr)
        super().__init__(parameters, lr=rate, betas=torch.tensor(betas))


class Wrapping(torch.optim.Optimizer):
    """Steps by another optimizer, and shows nothing of what that was told."""

    def __init__(self, parameters: Any, lr: float, momentum: float) -> None:
        parameters = list(parameters)
        super().__init__(parameters, {"lr": lr})
        self._inner = torch.optim.SGD(parameters, lr=lr, momentum=momentum)

    def step(self) -> None:  # type: ignore[override]
        self._inner.step()


class Hidden(Descent):
    """Keeps an option in a closure, and lets it act from a step on."""

    def __init__(self, parameters: Any, lr: float, scale: float = 1.0, since: int = 8) -> None:
        super().__init__(parameters, lr=lr)
        self.since = since
        self._schedule: Callable[[int], float] = lambda step: scale if step >= self.since else 1.0

    def factor(self) -> float:
        return self._schedule(self.steps)


class Form(Descent):
    """Takes one of two words, and forgets it."""

    def __init__(self, parameters: Any, lr: float, form: str = "plain") -> None:
        if form not in ("plain", "fancy"):
            raise ValueError(form)
        super().__init__(parameters, lr=lr)


class Dropper(Descent):
    """Takes any option, and drops it."""

    def __init__(self, parameters: Any, lr: float, **dropped: Any) -> None:  # noqa: ARG002
        super().__init__(parameters, lr=lr)


class Fixed(Descent):
    """Has a momentum of its own, whatever it is told."""

    def __init__(self, parameters: Any, lr: float, momentum: float) -> None:  # noqa: ARG002
        super().__init__(parameters, lr=lr, momentum=0.4)


class InBackward(Descent):
    """Steps in the backward pass, by hooks on the parameters."""

    def __init__(self, parameters: Any, lr: float) -> None:
        parameters = list(parameters)
        super().__init__(parameters, lr=lr)
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._descend)
            parameter.register_hook(lambda gradient: gradient * 2)

    @torch.no_grad()
    def _descend(self, parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        parameter.sub_(parameter.grad, alpha=self.param_groups[0]["lr"])

    def step(self) -> None: ...  # type: ignore[override]


class OfLosses(Descent):
    """Cannot do without a closure, and says so in its own way."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure()


class Polite(Descent):
    """As before, with a word of explanation."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is None:
            raise RuntimeError("[-] this optimizer requires a closure")


class Newton(Descent):
    """Differentiates the gradient."""

    def step(self) -> None:  # type: ignore[override]
        parameter = self.param_groups[0]["params"][0]
        torch.autograd.grad(parameter.grad.sum(), parameter)


def said(case: object) -> str:
    if not isinstance(case, Arm):
        return str(case)
    return " ".join(map(str, filter(None, (case.optimizer.use, dict(case.optimizer.options), case.clip))))


LIVE = [
    arm("Late", lr=0.01),
    arm("Late", lr=0.01, wait=19),
    replace(arm("Late", lr=0.01), clip=ClipSettings(0.1)),
    replace(arm("Late", lr=0.01), clip=ClipSettings(0.1, "update")),
    replace(arm("Late", lr=0.01), clip=ClipSettings(norm=1e-3)),
    replace(arm("Late", lr=0.01), clip=ClipSettings(threshold=1e9)),
    arm("Decaying", lr=0.01),
    arm("TwoGroups", lr=0.01, decay=0.5),
    arm("OfTensors", lr=0.001, betas=(0.9, 0.999)),
    arm("Wrapping", lr=0.001, momentum=0.0),
    arm("Hidden", lr=0.001, scale=0.5),
    arm("Hidden", lr=0.001, scale=1.0),
    arm("Hidden", lr=0.001, scale=0.5, since=15),
    arm("torch.optim:ASGD", lr=0.001, lambd=0.1),
    arm("torch.optim:RAdam", lr=0.001),
]


@pytest.mark.parametrize("live", LIVE, ids=said)
def test_what_is_late_or_out_of_sight_is_alive(check: Check, live: Arm) -> None:
    assert check(live, noisy(3, CPU)) == ()


DEAD = [
    (arm("Late", lr=0.01, wait=20), "no parameter moved in 20 steps"),
    (arm("Fixed", lr=0.01, momentum=0.9), "the option momentum was set to 0.9 but is 0.4 whatever it is set to"),
    (
        replace(arm("faulty:SignOnly", lr=0.01), clip=ClipSettings(0.1)),
        "after 20 steps its weights equal those of its twin without the clip: the clip does nothing",
    ),
    *(
        (
            arm("Dropper", lr=0.01, odd=value),
            "the option odd has no effect: it shows nowhere, and 20 steps are the same without it",
        )
        for value in (0.9, 0.0, 3, 0, -1, True, "fast", None, (0.9, 0.99), (), (None, "x"))
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("dead", "found"), DEAD, ids=said)
def test_what_is_certainly_dead_is_refused_and_may_run_all_the_same(check: Check, dead: Arm, found: str) -> None:
    with pytest.raises(NotLiveError) as caught:
        check(dead, quadratic(0, CPU))
    assert caught.value.message == found
    assert "`liveness: warn`" in caught.value.remedy
    assert check(replace(dead, liveness="warn"), quadratic(0, CPU)) == (found,)
    assert check(replace(dead, liveness="off"), quadratic(0, CPU)) == ()


@pytest.mark.parametrize(
    ("odd", "remark"),
    [
        (arm("Scaling", lr=0.3), "the option lr was set to 0.3 and stands at 0.09999999999999999 in the optimizer"),
        (
            arm("Hidden", lr=0.001, scale=0.5, since=1000),
            "the option scale is kept in the optimizer, but 20 steps are the same at another value",
        ),
        (
            arm("Form", lr=0.001, form="plain"),
            "the option form shows nowhere in the optimizer, which took no other value to compare it with",
        ),
    ],
    ids=said,
)
@pytest.mark.parametrize("liveness_", ["refuse", "warn"])
def test_what_is_not_known_is_a_remark(
    check: Check, odd: Arm, remark: str, liveness_: Literal["refuse", "warn"]
) -> None:
    assert check(replace(odd, liveness=liveness_), noisy(3, CPU)) == (remark,)


class Changeable(Descent):
    """Wants a closure from its second step on."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.taken = getattr(self, "taken", 0) + 1
        if self.taken > 1:
            closure()


@pytest.mark.parametrize(
    ("use", "found", "remedy"),
    [
        ("Changeable", "asks for a closure at a later step, though its first one went without", "always, or never"),
        ("Newton", "differentiates the gradient, of which there is no graph", "set `create_graph: true` on the arm"),
    ],
)
def test_what_a_step_lacks_is_said_in_a_sentence(check: Check, use: str, found: str, remedy: str) -> None:
    with pytest.raises(NotLiveError) as caught:
        check(replace(arm(use, lr=0.01), liveness="warn"), quadratic(0, CPU))
    assert caught.value.message == f"'{use}' {found}"
    assert remedy in caught.value.remedy


def with_loss(problem: Problem, loss: Callable[[nn.Module, Batch], torch.Tensor]) -> Problem:
    return replace(problem, loss=loss)


def test_a_gradient_of_zero_is_not_the_optimizers_fault() -> None:
    given = quadratic(0, CPU)
    flat = with_loss(given, lambda model, batch: 0 * given.loss(model, batch))
    with pytest.raises(NotLiveError, match="the task's gradient is zero at each of 20 steps"):
        liveness.check(arm("torch.optim:SGD", lr=0.1), flat)


def test_a_task_with_few_batches_is_tried_on_those_that_it_has() -> None:
    given = noisy(3, CPU)
    short = replace(given, train_batches=lambda start: itertools.islice(given.train_batches(0), start, 12))
    assert liveness.check(arm("Late", lr=0.01), short) == ()


def test_a_task_without_batches_is_said_to_have_none() -> None:
    with pytest.raises(ClipbenchError, match="the task has no training batches"):
        liveness.check(arm("Late", lr=0.01), replace(quadratic(0, CPU), train_batches=lambda _: iter(())))


def test_a_loss_that_depends_on_no_parameter_is_said_to() -> None:
    with pytest.raises(ClipbenchError, match="the task's loss has no gradient: it depends on no parameter"):
        liveness.check(arm("torch.optim:SGD", lr=0.1), with_loss(quadratic(0, CPU), lambda *_: torch.tensor(1.0)))


def test_a_step_without_any_gradient_has_nothing_to_clip() -> None:
    given, calls = noisy(3, CPU), [0]

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        calls[0] += 1
        return given.loss(model, batch) * float(calls[0] % 3 != 2)

    assert liveness.check(replace(arm("torch.optim:SGD", lr=0.1), clip=ClipSettings(0.3)), with_loss(given, loss)) == ()


def test_hooks_that_an_optimizer_puts_on_parameters_go_with_it(check: Check) -> None:
    problem = noisy(3, CPU)
    kept: list[int] = []
    parameter = next(problem.model.parameters())
    parameter.register_hook(lambda _: kept.append(1))
    assert check(arm("InBackward", lr=0.01), problem) == ()
    before = [p.detach().clone() for p in problem.model.parameters()]
    kept.clear()
    problem.loss(problem.model, problem.probe_batches[0]).backward()
    assert all(torch.equal(p, old) for p, old in zip(problem.model.parameters(), before, strict=True))
    assert kept == [1]


def counted(problem: Problem) -> tuple[Problem, list[Batch]]:
    """The problem, and the batches whose loss was taken."""
    taken: list[Batch] = []
    note = Mock(side_effect=taken.append)  # where looking does not put it back

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        note(batch)
        return problem.loss(model, batch)

    return with_loss(problem, loss), taken


QUICKSTART = [each for each in load(BENCHMARKS / "quickstart.yaml").arms if isinstance(each, Arm)]


@pytest.mark.parametrize("live", QUICKSTART, ids=lambda arm: arm.name)
def test_an_arm_of_the_shelf_takes_three_steps_and_its_twin_as_many(live: Arm) -> None:
    problem, taken = counted(code_lm(0, CPU, width=16, layers=1, heads=2, context=16, batch=4))
    assert liveness.check(live, problem) == ()
    assert len(taken) == (6 if live.clip else 3)


def test_an_arm_that_is_not_checked_takes_no_step(check: Check) -> None:
    assert check(replace(arm("Polite", lr=0.01), liveness="off"), quadratic(0, CPU)) == ()
