"""The paper's rule, against optimizers written out by hand with their two gradients kept apart."""

import copy
from typing import Any

import pytest
import torch
from oracles import flat, same_bits
from reference import second_moments as reference
from reference.clipping import clipped
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip

SHAPES = [(4, 3), (3,), (2, 5), (2, 3, 2), ()]
N = 38
SINGLE, FOREACH, FUSED = {"foreach": False}, {"foreach": True}, {"fused": True}
BETAS = {"lr": 0.01, "betas": (0.9, 0.99)}

# (class, its options, forms, the reference, the reference's options)
KINDS: list[tuple[Any, dict[str, Any], list[dict[str, bool]], Any, dict[str, Any]]] = [
    (torch.optim.Adam, BETAS, [SINGLE, FOREACH, FUSED], reference.adam, BETAS),
    (
        torch.optim.Adam,
        {**BETAS, "amsgrad": True},
        [SINGLE, FOREACH, FUSED],
        reference.adam,
        {**BETAS, "amsgrad": True},
    ),
    (
        torch.optim.AdamW,
        {**BETAS, "weight_decay": 0.1},
        [SINGLE, FOREACH, FUSED],
        reference.adam,
        {**BETAS, "decay": 0.1},
    ),
    (torch.optim.NAdam, BETAS, [SINGLE, FOREACH], reference.nadam, BETAS),
    (
        torch.optim.NAdam,
        {**BETAS, "weight_decay": 0.1, "decoupled_weight_decay": True},
        [SINGLE, FOREACH],
        reference.nadam,
        {**BETAS, "decay": 0.1},
    ),
    (torch.optim.RAdam, BETAS, [SINGLE, FOREACH], reference.radam, BETAS),
    (
        torch.optim.RAdam,
        {**BETAS, "weight_decay": 0.1, "decoupled_weight_decay": True},
        [SINGLE, FOREACH],
        reference.radam,
        {**BETAS, "decay": 0.1},
    ),
    (
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5},
        [SINGLE, FOREACH],
        reference.rmsprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5},
    ),
    (torch.optim.Adadelta, {"lr": 1.0, "rho": 0.9}, [SINGLE, FOREACH], reference.adadelta, {"lr": 1.0, "rho": 0.9}),
    (
        torch.optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.1},
        [SINGLE, FOREACH, FUSED],
        reference.adagrad,
        {"lr": 0.1, "lr_decay": 0.01, "start": 0.1},
    ),
    (
        torch.optim.Adafactor,
        {"lr": 0.1, "weight_decay": 0.1, "d": 1.5, "eps": (1e-7, 1e-3)},
        [SINGLE, FOREACH],
        reference.adafactor,
        {"lr": 0.1, "weight_decay": 0.1, "d": 1.5, "eps1": 1e-7},
    ),
]
CASES = [(kind, options, form, ref, theirs) for kind, options, forms, ref, theirs in KINDS for form in forms]


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def gradients(steps: int) -> list[list[Tensor]]:
    """Heavy-tailed and shrinking, so that the clip and amsgrad have something to do."""
    generator = torch.Generator().manual_seed(2)
    return [[torch.randn(shape, generator=generator) ** 3 / (1 + t) for shape in SHAPES] for t in range(steps)]


def step_through(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], steps: int) -> None:
    for given in gradients(steps):
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.to(weight.dtype)
        optimizer.step()


@pytest.mark.parametrize(("kind", "options", "form", "ref", "theirs"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_twenty_steps_are_those_of_the_formula(
    kind: Any, options: dict[str, Any], form: dict[str, bool], ref: Any, theirs: dict[str, Any], dtype: torch.dtype
) -> None:
    weights = parameters(dtype)
    hook = CoordinateClip(kind(weights, **options, **form), 0.5, of="numerator")
    step_through(hook.optimizer, weights, 20)
    expected = flat(ref(parameters(), gradients(20), fraction=0.5, **theirs))
    # In float32 20 steps round; in float64 only the fused kernels' and the references' orders differ.
    tolerance = 2e-6 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(flat(weights).double(), expected, rtol=tolerance, atol=tolerance)
    twin = flat(ref(parameters(), gradients(20), **theirs))
    both = flat(ref(parameters(), [clipped(given, 0.5) for given in gradients(20)], **theirs))
    for other in (twin, both):
        assert float((other - expected).abs().max()) > 5e-3
    assert hook.last is not None
    assert int(hook.last.clipped) == N // 2


@pytest.mark.parametrize(("kind", "options", "form", "ref", "theirs"), CASES)
def test_a_clip_of_zero_leaves_the_step_alone(
    kind: Any,
    options: dict[str, Any],
    form: dict[str, bool],
    ref: Any,  # noqa: ARG001
    theirs: dict[str, Any],  # noqa: ARG001
) -> None:
    stock, weights = parameters(), parameters()
    step_through(kind(stock, **options, **form), stock, 5)
    hook = CoordinateClip(kind(weights, **options, **form), 0.0, of="numerator")
    step_through(hook.optimizer, weights, 5)
    assert all(same_bits(a, b) for a, b in zip(stock, weights, strict=True))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.Adagrad, torch.optim.Adafactor])
def test_maximizing_a_gradient_is_minimizing_its_negative(kind: Any) -> None:
    ends = []
    for maximize in (False, True):
        weights = parameters()
        optimizer = kind(weights, lr=0.01, maximize=maximize)
        CoordinateClip(optimizer, 0.5, of="numerator")
        for given in gradients(3):
            for weight, gradient in zip(weights, given, strict=True):
                weight.grad = -gradient if maximize else gradient.clone()
            optimizer.step()
        ends.append(flat(weights))
    assert torch.equal(*ends)


@pytest.mark.parametrize("scope", ["group", "tensor"])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.Adafactor])
def test_each_group_or_tensor_can_have_a_threshold_of_its_own(kind: Any, scope: Any) -> None:
    together, alone = parameters(), parameters()
    cut = 2
    hook = CoordinateClip(
        kind([{"params": together[:cut]}, {"params": together[cut:]}], lr=0.01), 0.5, scope=scope, of="numerator"
    )
    step_through(hook.optimizer, together, 3)
    parts = [alone[:cut], alone[cut:]] if scope == "group" else [[weight] for weight in alone]
    optimizers = [kind(part, lr=0.01) for part in parts]
    clips = [CoordinateClip(optimizer, 0.5, of="numerator") for optimizer in optimizers]
    for given in gradients(3):
        for weight, gradient in zip(alone, given, strict=True):
            weight.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert all(same_bits(a, b) for a, b in zip(together, alone, strict=True))
    assert hook.last is not None
    ends = [clip.last for clip in clips if clip.last is not None]
    assert hook.last.thresholds.tolist() == [float(last.threshold) for last in ends]
    assert float(hook.last.threshold) == max(hook.last.thresholds.tolist())
    assert int(hook.last.clipped) == sum(int(last.clipped) for last in ends)
    assert hook.last.asked == sum(last.asked for last in ends)
    assert hook.last.n == N


def test_the_first_step_divides_by_the_raw_gradient() -> None:
    weight = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.Adam([weight], lr=1.0, eps=0.0)
    CoordinateClip(optimizer, 0.5, of="numerator")
    weight.grad = torch.tensor([8.0, -4.0, 2.0, 1.0])
    optimizer.step()
    # clip(g)/|g| with τ = 2; float32 rounding in v
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.25, 0.5, -1.0, -1.0]), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("foreach", [False, True])
def test_a_parameter_that_joins_adafactor_late_has_its_first_step_and_its_gradient(foreach: bool) -> None:
    first, late = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adafactor([first, late], lr=1.0, eps=(1e-30, 1.0), d=1.0, foreach=foreach)
    CoordinateClip(optimizer, 0.5, of="numerator")
    first.grad = torch.tensor([2.0, 1.0])
    optimizer.step()
    torch.testing.assert_close(first.detach(), torch.tensor([-0.5, -1.0]))
    late.grad = torch.tensor([8.0, 1.0])
    optimizer.step()
    torch.testing.assert_close(late.detach(), torch.tensor([-1 / 8, -1.0]))
    assert late.grad.tolist() == [1.0, 1.0]
    assert [int(optimizer.state[weight]["step"]) for weight in (first, late)] == [2, 1]


def test_a_parameter_that_joins_late_gets_its_first_step_right_as_well() -> None:
    first, late = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([first, late], lr=1.0, eps=0.0)
    CoordinateClip(optimizer, 0.5, of="numerator")
    first.grad = torch.tensor([2.0, 1.0])
    optimizer.step()
    late.grad = torch.tensor([8.0, 1.0])
    optimizer.step()
    torch.testing.assert_close(late.detach(), torch.tensor([-1 / 8, -1.0]), rtol=1e-5, atol=0.0)  # float32


def test_large_tensors_and_many_small_ones_are_shifted_alike() -> None:
    """Above and below the size at which tensors are worked on one by one."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(600_000, generator=generator) ** 3
    whole = nn.Parameter(torch.zeros(600_000))
    parts = [nn.Parameter(torch.zeros(size)) for size in (400_000, 100_000, 99_990, 10)]
    ends = []
    for weights in ([whole], parts):
        optimizer = torch.optim.Adam(weights, lr=0.1)
        hook = CoordinateClip(optimizer, 0.5, of="numerator")
        for _ in range(2):
            for weight, part in zip(weights, values.split([w.numel() for w in weights]), strict=True):
                weight.grad = part.clone()
            optimizer.step()
        assert hook.last is not None
        assert int(hook.last.clipped) == 300_000
        ends.append(flat(weights))
    assert torch.equal(*ends)


def test_what_is_not_clipped_keeps_its_second_moment_to_rounding() -> None:
    weight = nn.Parameter(torch.zeros(1000))
    optimizer = torch.optim.Adam([weight], betas=(0.9, 0.999))
    hook = CoordinateClip(optimizer, 0.1, of="numerator")
    generator = torch.Generator().manual_seed(4)
    gradient = torch.randn(1000, generator=generator) * torch.logspace(-6, 6, 1000)
    weight.grad = gradient.clone()
    optimizer.step()
    assert hook.last is not None
    moment = optimizer.state[weight]["exp_avg_sq"]
    # Four float32 roundings of numbers no larger than v/β₂.
    torch.testing.assert_close(moment.double(), 0.001 * gradient.double() ** 2, rtol=5e-7, atol=0.0)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.Adafactor])
def test_state_from_a_checkpoint_is_continued(kind: Any) -> None:
    weights = parameters()
    optimizer = kind(weights, lr=0.01)
    CoordinateClip(optimizer, 0.5, of="numerator")
    step_through(optimizer, weights, 4)
    copies = [nn.Parameter(w.detach().clone()) for w in weights]
    resumed = kind(copies, lr=0.01)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    CoordinateClip(resumed, 0.5, of="numerator")
    step_through(optimizer, weights, 3)
    step_through(resumed, copies, 3)
    assert torch.equal(flat(weights), flat(copies))
