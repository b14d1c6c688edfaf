"""What the clip refuses, at construction and at a step, and that nothing has changed by then."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.errors import ClipbenchError


def set_gradient(weight: nn.Parameter, *values: float) -> None:
    weight.grad = torch.tensor(values)


def one_parameter() -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.zeros(5))
    return weight, torch.optim.SGD([weight], lr=1.0)


STATE = {"fraction": 0.2, "of": "gradient", "scope": "global", "scale": "none", "ignore_zeros": False}


def test_settings_survive_a_round_trip() -> None:
    weight, optimizer = one_parameter()
    hook = CoordinateClip(optimizer, 0.1, of="update", scope="tensor", scale="norm", ignore_zeros=True)
    other = CoordinateClip(torch.optim.SGD([weight], lr=0.1), 0.4)
    other.load_state_dict(hook.state_dict())
    assert (other.fraction, other.of) == (0.1, "update")
    assert other.state_dict() == hook.state_dict()
    assert set(hook.state_dict()) == set(STATE)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"fraction": 0.2}, "keys 'fraction', 'of', 'scope', 'scale', 'ignore_zeros', not"),
        ({**STATE, "sharp": 1}, "keys 'fraction', 'of'"),
        ({**STATE, "fraction": 1.0}, "below 1"),
        ({**STATE, "of": "numerator"}, "SGD has no numerator"),
        ({**STATE, "scope": "layer"}, "it is one of 'global', 'group', 'tensor'"),
    ],
)
def test_wrong_settings_are_refused_and_change_nothing(state: dict[str, Any], message: str) -> None:
    _, optimizer = one_parameter()
    hook = CoordinateClip(optimizer, 0.1)
    with pytest.raises(ValueError, match=message):
        hook.load_state_dict(state)
    assert hook.state_dict() == {**STATE, "fraction": 0.1}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fraction": 1}, ValueError, "at least 0 and below 1"),
        ({"fraction": 1.5}, ValueError, "at least 0 and below 1"),
        ({"fraction": -0.1}, ValueError, "at least 0 and below 1"),
        ({"fraction": math.nan}, ValueError, "at least 0 and below 1"),
        ({"fraction": math.inf}, ValueError, "at least 0 and below 1"),
        ({"fraction": "0.1"}, TypeError, "must be a number"),
        ({"fraction": None}, TypeError, "must be a number"),
        ({"fraction": True}, TypeError, "must be a number"),
        ({"fraction": 0.1, "of": "gradients"}, ValueError, "it is one of 'gradient', 'numerator', 'update'"),
        ({"fraction": 0.1, "of": "numerator"}, ValueError, "SGD has no numerator"),
        ({"fraction": 0.1, "scope": "layer"}, ValueError, "scope='layer' is unknown: it is one of 'global'"),
        ({"fraction": 0.1, "scale": "l2"}, ValueError, "scale='l2' is unknown: it is one of 'none', 'norm'"),
        ({"fraction": 0.1, "ignore_zeros": 1}, TypeError, "ignore_zeros must be True or False, not 1"),
        ({"fraction": 0.1, "of": "numerator", "scale": "norm"}, ValueError, "'scale: norm' cannot go with"),
    ],
)
def test_a_wrong_clip_is_refused_before_anything_changes(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    weight, optimizer = one_parameter()
    with pytest.raises(error, match=message):
        CoordinateClip(optimizer, **arguments)
    set_gradient(weight, 5.0, 4.0, 3.0, 2.0, 1.0)
    optimizer.step()
    assert weight.tolist() == [-5.0, -4.0, -3.0, -2.0, -1.0]
    CoordinateClip(optimizer, 0.1)


def test_a_second_clip_on_one_optimizer_is_refused() -> None:
    _, optimizer = one_parameter()
    CoordinateClip(optimizer, 0.1)
    with pytest.raises(ValueError, match="has a CoordinateClip already"):
        CoordinateClip(optimizer, 0.2)


@pytest.mark.parametrize("fraction", [1.0, -0.1, math.nan, "0.1", True, None])
def test_a_wrong_fraction_is_refused_and_the_former_stays(fraction: Any) -> None:
    weight, optimizer = one_parameter()
    hook = CoordinateClip(optimizer, 0.4)
    with pytest.raises((ValueError, TypeError), match="the fraction to clip"):
        hook.fraction = fraction
    assert hook.state_dict() == {**STATE, "fraction": 0.4}
    set_gradient(weight, 5.0, 4.0, 3.0, 2.0, 1.0)
    optimizer.step()
    assert weight.tolist() == [-3.0, -3.0, -3.0, -2.0, -1.0]


def test_a_differentiable_optimizer_is_refused_at_construction_and_at_the_step() -> None:
    weight, optimizer = one_parameter()
    with pytest.raises(ValueError, match="the clip has no derivative"):
        CoordinateClip(torch.optim.SGD([weight], lr=1.0, differentiable=True), 0.1)
    CoordinateClip(optimizer, 0.1)
    optimizer.param_groups[0]["differentiable"] = True
    set_gradient(weight, 5.0, 4.0, 3.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="the clip has no derivative"):
        optimizer.step()


def test_complex_gradients_are_refused() -> None:
    weight = nn.Parameter(torch.zeros(3, dtype=torch.complex64))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    CoordinateClip(optimizer, 0.4)
    weight.grad = torch.ones_like(weight)
    with pytest.raises(ClipbenchError, match=r"complex\n.*torch\.view_as_real"):
        optimizer.step()
    assert torch.equal(weight, torch.zeros_like(weight))


def test_gradients_on_several_devices_are_refused() -> None:
    weights = [nn.Parameter(torch.zeros(3, device=device)) for device in ("cpu", "meta")]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    CoordinateClip(optimizer, 0.4, scope="tensor")
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    with pytest.raises(ClipbenchError, match="several devices"):
        optimizer.step()


def test_sparse_gradients_are_refused() -> None:
    table = nn.Embedding(10, 2, sparse=True)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    CoordinateClip(optimizer, 0.4)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ClipbenchError, match="sparse"):
        optimizer.step()


def test_updates_of_half_precision_are_refused() -> None:
    weight = nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    CoordinateClip(optimizer, 0.4, of="update")
    weight.grad = torch.ones_like(weight)
    with pytest.raises(ClipbenchError, match="bfloat16"):
        optimizer.step()
