"""What jets say is compared with ordinary differentiation before it is believed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from reference.networks import network
from reference.problems import random_direction
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import CurvatureEngine, Curvatures, EnginesDisagreeError, directional_curvature
from clipbench.geometry.jets import pointwise, propagation

CHECKED: tuple[CurvatureEngine, ...] = ("jets", "adjoint")
ENGINES: tuple[CurvatureEngine, ...] = (*CHECKED, "auto")


def measured(
    model: nn.Module, loss: Loss, batches: Sequence[Batch], *, engine: CurvatureEngine = "auto", check: bool = True
) -> Curvatures:
    direction = random_direction(model, seed=0)
    return directional_curvature(model, loss, batches, {"0": direction}, engine=engine, check=check)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * grad  # type: ignore[no-any-return]


def square(x: Tensor) -> Tensor:
    return Square.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def test_a_custom_function_whose_derivative_jets_cannot_see_does_not_pass_the_check() -> None:
    model, _, batches = network("mlp")

    def loss(m: nn.Module, batch: Batch) -> Tensor:
        return square(m(batch["x"])).mean() + m(batch["x"]).mean()  # type: ignore[no-any-return]

    for engine in CHECKED:
        with pytest.raises(EnginesDisagreeError, match="slope along '0'"):
            measured(model, loss, batches, engine=engine)
    right = measured(model, loss, batches, engine="double_backward")
    for _ in range(2):
        assert measured(model, loss, batches) == replace(right, disagreement="slope")


@pytest.mark.parametrize("engine", CHECKED)
def test_a_wrong_rule_does_not_pass_the_check(engine: CurvatureEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, batches = network("mlp")
    tanh = torch.ops.aten.tanh.default

    def without_a_bend(func: Any, x: Tensor) -> Tensor:
        y0 = func(x.x0)  # type: ignore[attr-defined]
        return pointwise.curved(y0, x, 1 - y0 * y0, None)

    monkeypatch.setitem(propagation.RULES, tanh, without_a_bend)
    with pytest.raises(EnginesDisagreeError, match=r"curvature along '0' is .* by jets and .* by ordinary"):
        measured(model, loss, batches, engine=engine)
    assert measured(model, loss, batches, engine=engine, check=False).engine == engine
    right = measured(model, loss, batches, engine="double_backward")
    assert measured(model, loss, batches) == replace(right, disagreement="curvature")


def test_an_engine_that_has_passed_does_not_vouch_for_another() -> None:
    model, loss, batches = network("mlp")
    calls: list[bool] = []
    note = Mock(side_effect=calls.append)  # out of reach: what a loss or a hook keeps itself is put back
    model.register_forward_hook(lambda _, __, out: note(out.requires_grad and type(out) is Tensor))
    measured(model, loss, batches, engine="jets")
    assert calls.count(True) == 1
    for _ in range(2):
        measured(model, loss, batches, engine="adjoint")
    assert calls.count(True) == 2


def test_the_check_runs_once_for_a_model_a_loss_and_a_dtype() -> None:
    model, loss, batches = network("mlp")
    calls: list[bool] = []
    note = Mock(side_effect=calls.append)  # out of reach: what a loss or a hook keeps itself is put back
    model.register_forward_hook(lambda _, __, out: note(out.requires_grad))
    for _ in range(3):
        measured(model, loss, batches)
    assert calls.count(True) == 1
    measured(model, lambda m, b: loss(m, b), batches)
    assert calls.count(True) == 2
    model.double()
    batches = network("mlp", dtype=torch.float64)[2]
    measured(model, loss, batches)
    assert calls.count(True) == 3


@pytest.mark.parametrize("engine", [*ENGINES, "double_backward"])
def test_weight_normalisation_is_refused_because_double_backward_is_silently_wrong(engine: CurvatureEngine) -> None:
    model, loss, batches = network("mlp")
    nn.utils.parametrizations.weight_norm(model[0])  # type: ignore[index]
    with pytest.raises(ClipbenchError, match="_weight_norm_interface"):
        measured(model, loss, batches, engine=engine)


def test_jets_without_anything_to_compare_with_are_not_believed() -> None:
    model, _, batches = network("mlp")

    def loss(m: nn.Module, batch: Batch) -> Tensor:  # its gradient has no derivative in torch
        return functional.hardsigmoid(m(batch["x"])).square().mean()

    with pytest.raises(EnginesDisagreeError, match="nothing checks"):
        measured(model, loss, batches)
    assert measured(model, loss, batches, check=False).engine == "jets"


def test_a_loss_that_cannot_be_referred_to_weakly_is_checked_every_time() -> None:
    model, loss, batches = network("mlp")
    calls: list[bool] = []
    note = Mock(side_effect=calls.append)  # out of reach: what a loss or a hook keeps itself is put back
    model.register_forward_hook(lambda _, __, out: note(out.requires_grad))

    class Slotted:
        __slots__ = ()

        def __call__(self, m: nn.Module, batch: Batch) -> Tensor:
            return loss(m, batch)

    slotted = Slotted()
    for _ in range(2):
        measured(model, slotted, batches)
    assert calls.count(True) == 2


def branching(branch: Callable[[Tensor], Tensor]) -> Loss:
    """A loss that takes the branch on batches of more than two examples."""

    def loss(m: nn.Module, batch: Batch) -> Tensor:
        x = m(batch["x"])
        return (x + branch(x) if len(x) > 2 else x).square().mean()  # type: ignore[no-any-return]

    return loss


def of_two_sizes() -> tuple[nn.Module, Batch, Batch]:
    model, _, [batch, *_] = network("mlp")
    x = batch["x"].repeat(3, 1)
    return model, Batch({"x": x[:2]}, samples=2), Batch({"x": x[:3]}, samples=3)


def without_a_graph(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * x


@pytest.mark.parametrize("engine", CHECKED)
@pytest.mark.parametrize("together", [True, False])
def test_an_operation_that_no_check_has_seen_is_checked_when_it_comes(
    engine: CurvatureEngine, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, few, many = of_two_sizes()
    loss, sin = branching(torch.sin), torch.ops.aten.sin.default
    monkeypatch.setitem(propagation.RULES, sin, lambda func, x: func(x.x0))  # as if it did not move
    for _ in range(0 if together else 2):
        assert measured(model, loss, [few], engine=engine).engine == engine
    with pytest.raises(EnginesDisagreeError, match="slope along '0'"):
        measured(model, loss, [few, many] if together else [many], engine=engine)
    right = measured(model, loss, [few, many], engine="double_backward")
    assert measured(model, loss, [few, many]) == replace(right, disagreement="slope")


def test_a_function_that_jets_cannot_see_into_is_not_taken_for_what_was_meant_to_be_a_constant() -> None:
    model, few, many = of_two_sizes()
    custom = branching(square)

    def loss(m: nn.Module, batch: Batch) -> Tensor:
        return custom(m, batch) + (without_a_graph(m(batch["x"])) * m(batch["x"])).mean()  # type: ignore[no-any-return]

    assert measured(model, loss, [few]).engine == "jets"
    right = measured(model, loss, [many], engine="double_backward")
    assert measured(model, loss, [many]) == replace(right, disagreement="slope")


def test_what_was_seen_is_not_checked_again() -> None:
    model, few, many = of_two_sizes()
    loss = branching(torch.sin)
    calls: list[bool] = []
    note = Mock(side_effect=calls.append)  # out of reach: what a loss or a hook keeps itself is put back
    model.register_forward_hook(lambda _, __, out: note(out.requires_grad))
    for batches, checks in (([few, few], 1), ([few], 1), ([many, few, many], 2), ([many], 2), ([few], 2)):
        measured(model, loss, batches)
        assert calls.count(True) == checks


NOISE: dict[str, Callable[[Tensor], Tensor]] = {
    "in the loss": lambda x: x.square().mean() * (1 + torch.rand(())),
    "in the network": lambda x: functional.dropout(x, 0.5, training=True).square().mean(),
    "in the slope alone": lambda x: x.square().mean() + (x - x.detach()).sum() * torch.rand(()),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", NOISE)
def test_a_loss_that_is_another_one_each_time_is_not_passed_on(where: str, engine: CurvatureEngine) -> None:
    model, _, batches = network("mlp")
    said = "the loss is not deterministic" if engine == "auto" else "by jets and"
    with pytest.raises(EnginesDisagreeError, match=said):
        measured(model, lambda m, b: NOISE[where](m(b["x"])), batches, engine=engine)


def sizes_of_ordinary_passes(model: nn.Module) -> list[int]:
    """Filled with the examples of each pass that autograd follows."""
    sizes: list[int] = []
    note = Mock(side_effect=sizes.append)  # out of reach: what a loss or a hook keeps itself is put back
    model.register_forward_hook(
        lambda _, __, out: note(len(out)) if out.requires_grad and type(out) is Tensor else None
    )
    return sizes


@pytest.mark.parametrize("engine", CHECKED)
def test_two_examples_are_enough_for_a_check(engine: CurvatureEngine) -> None:
    model, loss, batches = network("causal transformer")
    sizes = sizes_of_ordinary_passes(model)
    assert measured(model, loss, batches, engine=engine).engine == engine
    assert sizes == [2]


def test_where_two_examples_have_no_slope_or_no_curvature_all_are_compared() -> None:
    """Zeros agree whatever the rules are."""
    model, _, [batch, *_] = network("mlp")

    def beyond_two(m: nn.Module, some: Batch) -> Tensor:
        x = m(some["x"])
        return square(x[2:]).sum() / len(x)

    sizes = sizes_of_ordinary_passes(model)
    with pytest.raises(EnginesDisagreeError, match="slope along '0'"):
        measured(model, beyond_two, [batch], engine="jets")
    assert sizes[-1] == 4
    right = measured(model, beyond_two, [batch], engine="double_backward")
    assert measured(model, beyond_two, [batch]) == replace(right, disagreement="slope")


def test_what_lies_between_examples_is_in_the_check() -> None:
    """On one example alone the deviation from the mean is zero."""
    model, _, batches = network("mlp")

    def spread(m: nn.Module, batch: Batch) -> Tensor:
        x = m(batch["x"])
        return x.square().mean() + square(x - x.mean(0)).mean()  # type: ignore[no-any-return]

    with pytest.raises(EnginesDisagreeError, match="by jets"):
        measured(model, spread, batches, engine="jets")


def test_a_loss_that_refuses_a_few_examples_is_checked_on_all() -> None:
    model, loss, [batch, *_] = network("mlp")

    def whole(m: nn.Module, some: Batch) -> Tensor:
        return loss(m, Batch({name: tensor.view(4, *tensor.shape[1:]) for name, tensor in some.tensors.items()}, 4))

    sizes = sizes_of_ordinary_passes(model)
    assert measured(model, whole, [batch]).remarks == ()
    assert sizes == [4]


@pytest.mark.parametrize("most", [1, 0])
def test_a_check_that_memory_is_too_short_for_is_made_on_one_example_or_left_out(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, loss, [batch, *_] = network("mlp")
    exact = measured(model, loss, [batch], engine="double_backward")

    def scarce(m: nn.Module, some: Batch) -> Tensor:
        found = loss(m, some)
        if found.requires_grad and type(found) is Tensor and len(some["x"]) > most:
            raise torch.OutOfMemoryError("no memory")
        return found

    sizes = sizes_of_ordinary_passes(model)
    for _ in range(2):
        found = measured(model, scarce, [batch])
        assert found.engine == "jets"
        assert found["0"].curvature == pytest.approx(exact["0"].curvature, rel=1e-5)
        assert found.remarks == (() if most else ("unchecked: there is no memory for double backward",))
    assert sizes == [2, 1]
    tanh = torch.ops.aten.tanh.default
    monkeypatch.setitem(propagation.RULES, tanh, lambda _, x: pointwise.curved(x.x0.tanh(), x, 1.0, None))
    model, loss, [batch, *_] = network("mlp")
    if most:
        with pytest.raises(EnginesDisagreeError):
            measured(model, scarce, [batch], engine="jets")
