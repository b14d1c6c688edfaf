"""What the paper's rule is refused for, and steps under a gradient scaler that must not reach a second moment."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.errors import ClipbenchError

PLACES = ["gradient", "numerator", "update"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: torch.optim.Adam([w], betas=(0.9, 0.0)), r"betas\[1\] is 0"),
        (lambda w: torch.optim.RMSprop([w], alpha=0.0), "alpha is 0"),
        (lambda w: torch.optim.Adadelta([w], rho=0.0), "rho is 0"),
        (lambda w: torch.optim.Adafactor([w], beta2_decay=0.0), "beta2_decay is 0"),
        (lambda w: torch.optim.RMSprop([w], centered=True), "centered is set"),
        (lambda w: torch.optim.Adam([w], weight_decay=0.1), r"weight_decay=0\.1 would be added"),
        (lambda w: torch.optim.NAdam([w], weight_decay=0.1), r"weight_decay=0\.1 would be added"),
        (lambda w: torch.optim.RAdam([w], weight_decay=0.1), r"weight_decay=0\.1 would be added"),
        (lambda w: torch.optim.RMSprop([w], weight_decay=0.1), r"weight_decay=0\.1 would be added"),
        (lambda w: torch.optim.Adadelta([w], weight_decay=0.1), r"weight_decay=0\.1 would be added"),
        (lambda w: torch.optim.Adagrad([w], weight_decay=0.1), r"weight_decay=0\.1 would be added"),
        (lambda w: torch.optim.SGD([w], lr=0.1), "SGD has no numerator"),
        (lambda w: torch.optim.Adamax([w]), "Adamax has no numerator"),
        (lambda w: type("Mine", (torch.optim.Adam,), {})([w]), "Mine has no numerator"),
    ],
)
def test_what_the_rule_cannot_be_right_for_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message + ".*works with torch.optim's Adam, AdamW, NAdam, RAdam"):
        CoordinateClip(make(nn.Parameter(torch.zeros(2))), 0.5, of="numerator")


def test_a_group_that_is_added_later_is_checked_at_the_step() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight], lr=1.0)
    CoordinateClip(optimizer, 0.5, of="numerator")
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))], "weight_decay": 0.1})
    weight.grad = torch.ones(2)
    with pytest.raises(ValueError, match="would be added"):
        optimizer.step()
    assert torch.equal(weight, torch.zeros(2))


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        *((kind, of) for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad) for of in PLACES),
        *((torch.optim.SGD, of) for of in ("gradient", "update")),
    ],
)
def test_a_fused_step_that_a_scaler_skips_leaves_weights_and_state_alone(kind: Any, of: Any) -> None:
    weight = nn.Parameter(torch.zeros(2))
    hook = CoordinateClip(kind([weight], lr=1.0, fused=True), 0.5, of=of)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for gradient, moved in ((torch.inf, False), (4.0, True)):
        before = copy.deepcopy(hook.optimizer.state[weight])
        scaler.scale(torch.zeros(()))
        weight.grad = torch.tensor([gradient, 1.0]) * scaler.get_scale()
        scaler.unscale_(hook.optimizer)
        scaler.step(hook.optimizer)
        scaler.update()
        assert torch.equal(weight, torch.zeros(2)) != moved
        assert (hook.last is not None) == moved
        if not moved:
            state = hook.optimizer.state[weight]
            assert all(torch.equal(state[name], value) for name, value in before.items() if name != "momentum_buffer")
            assert not any(torch.as_tensor(value).any() for name, value in state.items() if name not in before)


@pytest.mark.parametrize("of", ["gradient", "numerator"])
def test_scaled_gradients_are_refused_and_unscaled_ones_are_right(of: Any) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight], lr=1.0, fused=True)
    CoordinateClip(optimizer, 0.5, of=of)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaler.scale(torch.zeros(()))
    weight.grad = torch.tensor([4.0, 1.0]) * 64.0
    with pytest.raises(ClipbenchError, match=r"call scaler\.unscale_"):
        scaler.step(optimizer)
    assert torch.equal(weight, torch.zeros(2))
    fresh = torch.amp.GradScaler("cpu", init_scale=64.0)
    fresh.scale(torch.zeros(()))
    fresh.unscale_(optimizer)
    fresh.step(optimizer)
    expected = [-0.25, -1.0] if of == "numerator" else [-1.0, -1.0]
    torch.testing.assert_close(weight.detach(), torch.tensor(expected), rtol=1e-5, atol=0.0)  # float32
