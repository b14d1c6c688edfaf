"""The paper's rule for Adam, against Adam written out by hand with its two gradients kept apart."""

import copy
from typing import Any

import pytest
import torch
from oracles import flat
from reference import optimizers as reference
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.errors import ClipbenchError

SHAPES = [(4, 3), (3,), (2, 5)]
FORMS = [{"foreach": False}, {"foreach": True}, {"fused": True}]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def gradients(steps: int) -> list[list[Tensor]]:
    """Heavy-tailed and shrinking, so that the clip and amsgrad have something to do."""
    generator = torch.Generator().manual_seed(2)
    return [[torch.randn(shape, generator=generator) ** 3 / (1 + t) for shape in SHAPES] for t in range(steps)]


def step_through(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], steps: int) -> None:
    for given in gradients(steps):
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(("kind", "decay"), [(torch.optim.Adam, 0.0), (torch.optim.AdamW, 0.1)])
def test_twenty_steps_are_those_of_the_formula(kind: Any, decay: float, amsgrad: bool, form: dict[str, bool]) -> None:
    weights = parameters()
    optimizer = kind(weights, lr=0.01, betas=(0.9, 0.99), weight_decay=decay, amsgrad=amsgrad, **form)
    hook = CoordinateClip(optimizer, 0.5, of="numerator")
    step_through(optimizer, weights, 20)
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.99), "decay": decay, "amsgrad": amsgrad}
    expected = reference.adam(parameters(), gradients(20), fraction=0.5, **options)
    twin = reference.adam(parameters(), gradients(20), fraction=0.0, **options)
    both = reference.adam(
        parameters(), [reference.clipped([g.double() for g in given], 0.5) for given in gradients(20)], **options
    )
    # Float32 against float64 over 20 steps of 0.01.
    torch.testing.assert_close(flat(weights).double(), flat(expected), rtol=1e-6, atol=1e-6)
    for other in (twin, both):
        assert float((flat(other) - flat(expected)).abs().max()) > 1e-2
    assert hook.last is not None
    assert int(hook.last.clipped) == int(25 * 0.5)


def test_the_first_step_divides_by_the_raw_gradient() -> None:
    weight = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.Adam([weight], lr=1.0, eps=0.0)
    CoordinateClip(optimizer, 0.5, of="numerator")
    weight.grad = torch.tensor([8.0, -4.0, 2.0, 1.0])
    optimizer.step()
    # clip(g)/|g| with τ = 2; float32 rounding in v
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.25, 0.5, -1.0, -1.0]), rtol=1e-5, atol=0.0)


def test_a_parameter_that_joins_late_gets_its_first_step_right_as_well() -> None:
    first, late = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([first, late], lr=1.0, eps=0.0)
    CoordinateClip(optimizer, 0.5, of="numerator")
    first.grad = torch.tensor([2.0, 1.0])
    optimizer.step()
    late.grad = torch.tensor([8.0, 1.0])
    optimizer.step()
    torch.testing.assert_close(late.detach(), torch.tensor([-1 / 8, -1.0]), rtol=1e-5, atol=0.0)  # float32


def test_state_from_a_checkpoint_is_continued() -> None:
    weights = parameters()
    optimizer = torch.optim.Adam(weights, lr=0.01)
    CoordinateClip(optimizer, 0.5, of="numerator")
    step_through(optimizer, weights, 4)
    copies = [nn.Parameter(w.detach().clone()) for w in weights]
    resumed = torch.optim.Adam(copies, lr=0.01)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    CoordinateClip(resumed, 0.5, of="numerator")
    step_through(optimizer, weights, 3)
    step_through(resumed, copies, 3)
    assert torch.equal(flat(weights), flat(copies))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: torch.optim.Adam([w], betas=(0.9, 0.0)), r"betas\[1\] is 0"),
        (lambda w: torch.optim.Adam([w], weight_decay=0.1), r"weight_decay=0\.1 would be added"),
        (lambda w: torch.optim.Adam([w], maximize=True), "maximize is set"),
        (lambda w: torch.optim.SGD([w], lr=0.1), "SGD has no numerator"),
        (lambda w: torch.optim.NAdam([w]), "NAdam has no numerator"),
        (lambda w: type("Mine", (torch.optim.Adam,), {})([w]), "Mine has no numerator"),
    ],
)
def test_what_the_rule_cannot_be_right_for_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message + ".*works with torch.optim.Adam and torch.optim.AdamW"):
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


def fused_under_a_scaler(*, gradient: list[float]) -> tuple[nn.Parameter, torch.optim.Optimizer, Any]:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight], lr=1.0, fused=True)
    CoordinateClip(optimizer, 0.5, of="numerator")
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaler.scale(torch.zeros(()))
    weight.grad = torch.tensor(gradient) * 64.0
    return weight, optimizer, scaler


def test_scaled_gradients_are_refused_and_unscaled_ones_are_right() -> None:
    weight, optimizer, scaler = fused_under_a_scaler(gradient=[4.0, 1.0])
    with pytest.raises(ClipbenchError, match=r"call scaler\.unscale_"):
        scaler.step(optimizer)
    weight, optimizer, scaler = fused_under_a_scaler(gradient=[4.0, 1.0])
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.25, -1.0]), rtol=1e-5, atol=0.0)  # float32


def test_a_fused_step_that_a_scaler_skips_leaves_the_second_moment_alone() -> None:
    weight, optimizer, scaler = fused_under_a_scaler(gradient=[torch.inf, 1.0])
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert torch.equal(weight, torch.zeros(2))
    state = optimizer.state.get(weight, {})
    assert torch.equal(state.get("exp_avg_sq", torch.zeros(2)), torch.zeros(2))
