"""Adafactor's step: torch's own rule and the published one, in a dtype whose squares run out before its numbers do."""

from typing import Any

import pytest
import torch
from oracles import flat
from reference import optimizers as reference
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.optimizers import adafactor

SHAPES = [(), (7,), (6, 5), (2, 3, 4), (2, 2, 3, 3)]
STEPS = 4

Weights = list[nn.Parameter]


def parameters(dtype: torch.dtype = torch.float32) -> Weights:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def gradients(scale: float) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [[scale * torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(STEPS)]


def published(weights: Weights, eps: tuple[float | None, float]) -> torch.optim.Optimizer:
    return adafactor.build([(f"p{i}", weight) for i, weight in enumerate(weights)], lr=0.5, eps=eps)


def of_torch(weights: Weights, eps: tuple[float | None, float], *, foreach: bool = False) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(weights, lr=0.5, eps=eps, foreach=foreach)


def step_through(optimizer: torch.optim.Optimizer, weights: Weights, steps: list[list[Tensor]]) -> None:
    for given in steps:
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.to(weight.dtype, copy=True)
        optimizer.step()


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e-9])
def test_no_first_epsilon_is_the_rule_of_torch(scale: float) -> None:
    ours, theirs = parameters(), parameters()
    step_through(published(ours, (None, 1e-3)), ours, gradients(scale))
    step_through(of_torch(theirs, (None, 1e-3)), theirs, gradients(scale))
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-6, atol=1e-6)  # float32, four steps


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("eps1", [None, 1e-2, 1e-7, 1e-15, 1e-30])
def test_a_clip_that_clips_nothing_takes_the_step_of_torch(eps1: float | None, scale: float, foreach: bool) -> None:
    stock, weights = parameters(), parameters()
    step_through(of_torch(stock, (eps1, 1e-3), foreach=foreach), stock, gradients(scale))
    hook = CoordinateClip(of_torch(weights, (eps1, 1e-3), foreach=foreach), 1e-6, of="numerator")
    step_through(hook.optimizer, weights, gradients(scale))
    assert hook.last is not None
    assert hook.last.asked == 0
    torch.testing.assert_close(flat(weights), flat(stock), rtol=1e-6, atol=1e-6)  # float32, four steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("eps1", [None, 1e-30, 0.0])
@pytest.mark.parametrize(("make", "clip"), [(published, False), (published, True), (of_torch, True)])
def test_what_has_no_gradient_yet_stays_where_it_is(make: Any, clip: bool, eps1: float | None, dtype: Any) -> None:
    weights, start = parameters(dtype), parameters(dtype)
    optimizer = make(weights, (eps1, 1e-3))
    if clip:
        CoordinateClip(optimizer, 0.3, of="numerator", ignore_zeros=True)
    steps = gradients(1.0)
    for given in steps:
        given[0].zero_()
        given[1][2:4] = 0.0
        given[2][1], given[2][:, 3] = 0.0, 0.0
        given[3].zero_()
        given[4][1, 1] = 0.0
    step_through(optimizer, weights, steps)
    for weight, before, gradient in zip(weights, start, steps[0], strict=True):
        assert bool(weight.isfinite().all())
        assert torch.equal(weight == before, gradient == 0)


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1e-9, 1e-12, 1e-15, 1e-18])
def test_rows_and_coordinates_of_any_size_take_the_published_step(scale: float, clip: float) -> None:
    """Squares of 1e-23 are no float32, and of two means of 1e-20 the product is none."""
    steps = gradients(scale)
    for given in steps:
        given[1][::2] *= 1e-8
        given[2][1:4] *= 1e-5
    weights = parameters()
    optimizer = published(weights, (1e-30, 1e-3))
    if clip:
        CoordinateClip(optimizer, clip, of="numerator")
    step_through(optimizer, weights, steps)
    expected = reference.adafactor(parameters(), steps, lr=0.5, fraction=clip)
    torch.testing.assert_close(flat(weights).double(), flat(expected), rtol=1e-6, atol=2e-6)  # float32, four steps


def test_a_parameter_without_coordinates_is_no_error() -> None:
    weights = [nn.Parameter(torch.zeros(shape)) for shape in ((0,), (0, 3), (3, 0))]
    optimizer = published(weights, (1e-30, 1e-3))
    step_through(optimizer, weights, [[torch.zeros_like(weight) for weight in weights]])
    assert [int(optimizer.state[weight]["step"]) for weight in weights] == [1, 1, 1]
