"""An optimizer that does not run as it is written says what it wants, and what to write, in a sentence."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from reference.problems import problem
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Choice
from clipbench.running import liveness
from clipbench.running.stepping import stepping_of


class Flagged(torch.optim.Optimizer):
    """Wants groups with a flag."""

    def __init__(self, params: Any, lr: float) -> None:
        for group in params:
            if "use_muon" not in group:
                raise ValueError("`use_muon` must be set.")
        super().__init__(params, {"lr": lr})


class Keyed(torch.optim.SGD):
    """Misses the flag where it steps."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            group["use_muon"]


class OfAModel(torch.optim.SGD):
    def __init__(self, model: Any, lr: float) -> None:
        super().__init__(model.parameters(), lr=lr)


class Around(torch.optim.Optimizer):
    """Goes around an optimizer, and its signature does not tell."""

    def __init__(self, inner: Any, lr: float = 0.0) -> None:  # noqa: ARG002
        self.param_groups = inner.param_groups


class Imports(torch.optim.SGD):
    def __init__(self, params: Any, lr: float) -> None:
        import no_such_package  # type: ignore[import-not-found]

        super().__init__(params, lr=lr + no_such_package.X)


class Second(torch.optim.SGD):
    """Differentiates the gradient."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            torch.autograd.grad([p.grad.sum() for p in group["params"]], group["params"])


class ByHessian(torch.optim.SGD):
    def step(self, hessian: Any) -> None:  # type: ignore[override]
        hessian["x"]


class ByLoss(torch.optim.SGD):
    """Takes the value of the loss."""

    def step(self, loss: Any) -> None:  # type: ignore[override]
        self.loss = loss


class ByFunction(torch.optim.SGD):
    """Takes a closure under another name."""

    def step(self, forward: Any) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            loss = forward()
        super().step()
        return loss


class Stepless(torch.optim.Optimizer):
    """Steps elsewhere."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> Any:
        raise NotImplementedError


class Scaled(torch.optim.SGD):
    """Scales the loss in a backward() of its own."""

    def backward(self, loss: Tensor) -> None:
        (2.0 * loss).backward()


class Broken(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        raise RuntimeError("out of luck")


def arm(use: str) -> Arm:
    target = use if ":" in use else f"{__name__}:{use}"
    return Arm("a", Choice(use, use, target, {"lr": 0.01}))


def tried(of: Arm) -> None:
    given = problem("mlp")
    liveness.check(of, given, stepping_of(of, given))


FACTORY = (
    'write a factory in mine.py beside the spec, `def build(named_parameters, *, lr): ...`, and `use: "mine:build"`'
)


@pytest.mark.parametrize(
    ("use", "reason", "remedy"),
    [
        ("torch.optim:Muon", "does not take parameters of every shape (ValueError: Muon only", "kind: matrix"),
        ("torch.optim:SparseAdam", "takes sparse gradients alone, and those of this task are dense", "sparse=True"),
        ("Flagged", "wants its parameters in groups with keys of its own", FACTORY),
        ("Keyed", "wants its parameters in groups with keys of its own (KeyError: 'use_muon')", FACTORY),
        ("OfAModel", "takes a model, and clipbench hands over parameters", FACTORY),
        ("Around", "goes around an optimizer", 'write it under `wrap`, as in `{use: adamw, lr: 0.001, wrap: [{use: "'),
        ("Imports", "lacks a package (ModuleNotFoundError: No module named 'no_such_package')", "install it"),
        ("Second", "differentiates the gradient, of which there is no graph", "set `create_graph: true` on the arm"),
        ("ByHessian", "asks for 'hessian', and clipbench calls step() or step(closure)", "write a subclass"),
        ("ByLoss", "asks for 'loss', and clipbench calls step() or step(closure)", "write a subclass"),
        ("Stepless", "has no step() that clipbench can call", "write a subclass"),
    ],
)
def test_it_says_what_it_wants_and_what_to_write(use: str, reason: str, remedy: str) -> None:
    with pytest.raises(ClipbenchError) as caught:
        tried(arm(use))
    assert f"'{use}'" in caught.value.message
    assert reason in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.where == "arm 'a'"


def test_a_wrapper_says_so_too() -> None:
    wrapper = Choice("w", "torch.optim:SGD", "torch.optim:SGD", {"lr": 0.1})
    with pytest.raises(TypeError):  # torch's own word, of which nothing more is known
        tried(replace(arm("torch.optim:SGD"), wrap=(wrapper,)))
    wrapper = replace(wrapper, use="OfAModel", target=f"{__name__}:Imports")
    with pytest.raises(ClipbenchError, match="'OfAModel' lacks a package"):
        tried(replace(arm("torch.optim:SGD"), wrap=(wrapper,)))


def test_a_backward_of_its_own_is_a_remark() -> None:
    remark = "'Scaled' has a backward() of its own, and clipbench calls that of the loss"
    assert liveness.check(arm("Scaled"), problem("mlp")) == (remark,)
    assert liveness.check(arm("torch.optim:SGD"), problem("mlp")) == ()


def test_a_closure_may_have_any_name() -> None:
    assert stepping_of(arm("ByFunction"), problem("mlp")) == "closure"
    tried(arm("ByFunction"))


@pytest.mark.parametrize("raised", ["out of luck", "shapes cannot be multiplied"])
def test_an_error_that_is_not_known_or_of_the_task_stays_as_it_is(raised: str) -> None:
    given = problem("mlp")

    def loss(model: nn.Module, batch: Batch) -> Tensor:  # noqa: ARG001
        raise RuntimeError(raised)

    broken: Callable[[], Iterable[str]] = lambda: liveness.check(arm("torch.optim:SGD"), replace(given, loss=loss))  # noqa: E731
    with pytest.raises(RuntimeError, match=raised):
        broken()
    with pytest.raises(RuntimeError, match="out of luck"):
        tried(arm("Broken"))
