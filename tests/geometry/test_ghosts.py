"""A step that is tried leaves nothing behind but the optimizer's own state."""

from collections.abc import Callable

import pytest
import torch
from oracles import Trace
from reference.problems import problem
from torch import nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.geometry.ghosts import HeldPoint
from clipbench.records import ClipPlace

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Meddler(torch.optim.SGD):
    """Draws random numbers, scales the gradients it was given and puts others in their place."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(torch.rand(()))
                parameter.grad = torch.ones_like(parameter)


class Secretive(torch.optim.SGD):
    """Changes its gradients through `.data`, as older optimizers add weight decay: their versions do not tell."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.data.add_(parameter.data, alpha=0.1)
        super().step(closure)


class Breaking(torch.optim.SGD):
    """Moves the weights and then fails."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        super().step(closure)
        raise RuntimeError("half way")


MAKES: dict[str, Make] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam, fused": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
    "adam, one by one": lambda parameters: torch.optim.Adam(parameters, lr=0.1, foreach=False),
    "a meddler": lambda parameters: Meddler(parameters, lr=0.1),
    "a secret one": lambda parameters: Secretive(parameters, lr=0.1),
}


def with_gradients() -> nn.Module:
    given = problem("transformer")
    given.loss(given.model, next(given.train_batches(0))).backward()
    return given.model


def held(model: nn.Module) -> HeldPoint:
    point = HeldPoint(dict(model.named_parameters()))
    point.hold()
    return point


@pytest.mark.parametrize("name", MAKES)
def test_a_tried_step_is_the_step_and_leaves_no_trace(name: str) -> None:
    model = with_gradients()
    optimizer = MAKES[name](list(model.parameters()))
    before, point = Trace.of(model), held(model)
    update = point.tried(optimizer)
    before.assert_unchanged(model)
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    MAKES[name](list(model.parameters())).step()
    for n, parameter in model.named_parameters():
        assert torch.equal(update[n], parameter.detach() - weights[n])
        assert update[n].any()


@pytest.mark.parametrize("name", MAKES)
def test_a_step_that_is_not_read_moves_the_state_alone(name: str) -> None:
    """After one step that was passed over, the second is the second of an optimizer that stood still twice."""
    model = with_gradients()
    point = held(model)
    passed, tried = MAKES[name](list(model.parameters())), MAKES[name](list(model.parameters()))
    before = Trace.of(model)
    point.passed(passed)
    before.assert_unchanged(model)
    point.tried(tried)
    first, second = point.tried(passed), point.tried(tried)
    assert all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_a_clip_on_a_tried_optimizer_does_not_clip_the_runs_gradient(of: ClipPlace) -> None:
    model = with_gradients()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    CoordinateClip(optimizer, 0.3, of=of)
    before = Trace.of(model)
    held(model).tried(optimizer)
    before.assert_unchanged(model)


def test_a_step_that_fails_half_way_is_undone_as_well() -> None:
    model = with_gradients()
    before = Trace.of(model)
    point = held(model)
    with pytest.raises(RuntimeError, match="half way"):
        point.tried(Breaking(model.parameters(), lr=0.1))
    before.assert_unchanged(model)


def test_the_next_point_is_held_in_the_same_memory() -> None:
    model = with_gradients()
    point = held(model)
    places = [weight.data_ptr() for weight in point._weights]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
            assert parameter.grad is not None
            parameter.grad = parameter.grad * 2
    point.hold()
    assert [weight.data_ptr() for weight in point._weights] == places
    before = Trace.of(model)
    point.tried(MAKES["a meddler"](list(model.parameters())))
    before.assert_unchanged(model)


def test_a_parameter_without_a_gradient_stays_without_one() -> None:
    model = with_gradients()
    first = next(model.parameters())
    first.grad = None
    before = Trace.of(model)
    update = held(model).tried(torch.optim.SGD(model.parameters(), lr=0.1))
    before.assert_unchanged(model)
    assert not update[next(name for name, p in model.named_parameters() if p is first)].any()


def test_a_point_tells_the_weights_and_the_raw_gradient_whatever_was_tried() -> None:
    model = with_gradients()
    first, *_ = model.parameters()
    first.grad = None
    before = {
        name: (p.detach().clone(), None if p.grad is None else p.grad.clone()) for name, p in model.named_parameters()
    }
    point = held(model)
    point.tried(MAKES["a secret one"](list(model.parameters())))
    MAKES["a secret one"](list(model.parameters())).step()
    model.zero_grad()
    for name, (weight, gradient) in before.items():
        assert torch.equal(point.weights[name], weight)
        assert torch.equal(point.gradient[name], torch.zeros_like(weight) if gradient is None else gradient)


def test_an_update_can_be_kept_elsewhere() -> None:
    model = with_gradients()
    point, home = held(model), torch.device("meta")
    update = point.tried(MAKES["sgd"](list(model.parameters())), home=home)
    assert {tensor.device for tensor in update.values()} == {home}
