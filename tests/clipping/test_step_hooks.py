"""A clip is attached only where it will be called."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip

ATTACH = [
    pytest.param("CoordinateClip", lambda optimizer: CoordinateClip(optimizer, 0.4), id="by fraction"),
    pytest.param("FixedClip", lambda optimizer: FixedClip(optimizer, threshold=3.0), id="at a threshold"),
]


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(5))], lr=1.0)


class Wrapper(torch.optim.Optimizer):
    """Passes for an optimizer, and has its steps taken by another, as libraries' wrappers do."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:  # type: ignore[override]
        return self.optimizer.param_groups

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)


class Unhooked(torch.optim.Optimizer):
    """Never taught to run hooks."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.param_groups = [{"params": parameters}]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""


class Outer(torch.optim.SGD):
    """An optimizer in its own right that keeps another one, as lookahead does."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer.param_groups[0]["params"], lr=1.0)
        self.optimizer = optimizer


@pytest.mark.parametrize(("name", "attach"), ATTACH)
def test_a_wrapper_is_refused_with_what_to_pass_instead(name: str, attach: Any) -> None:
    said = f"{name} needs the torch.optim.Optimizer that takes the steps, and Wrapper is a wrapper around it (SGD): "
    wrapper = Wrapper(sgd())
    with pytest.raises(TypeError, match=re.escape(said + "pass its .optimizer")):
        attach(wrapper)
    assert attach(wrapper.optimizer).last is None


@pytest.mark.parametrize(("name", "attach"), ATTACH)
def test_an_optimizer_that_runs_no_hooks_is_refused(name: str, attach: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} works by step hooks, and Unhooked runs none: does its __init__ call"):
        attach(Unhooked([nn.Parameter(torch.zeros(5))]))


@pytest.mark.parametrize(("name", "attach"), ATTACH)
@pytest.mark.parametrize("thing", [None, 0.1, [nn.Parameter(torch.zeros(5))], nn.Linear(1, 1)])
def test_what_is_no_optimizer_is_refused(name: str, attach: Any, thing: object) -> None:
    with pytest.raises(TypeError, match=f"{name} needs a torch.optim.Optimizer, not {type(thing).__name__}"):
        attach(thing)


@pytest.mark.parametrize(("name", "attach"), ATTACH)
def test_an_optimizer_that_keeps_another_one_is_clipped_itself(name: str, attach: Any) -> None:
    optimizer = Outer(sgd())
    clip = attach(optimizer)
    [weight] = optimizer.param_groups[0]["params"]
    weight.grad = torch.tensor([5.0, -4.0, 3.0, 2.0, 1.0])
    optimizer.step()
    assert weight.tolist() == [-3.0, 3.0, -3.0, -2.0, -1.0]
    assert int(clip.last.clipped) == 2, name
