"""Updates that are small beside the spacing of the weights: their rounding, and their reading in float64."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracles import same_bits
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.geometry.finely import COARSEST, can_be_stepped_in_float64, rounding
from clipbench.geometry.ghosts import HeldPoint

Build = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def parameters(size: float) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: nn.Parameter(size * torch.randn(shape, generator=generator))
        for name, shape in (("a", (40, 30)), ("b", (50,)))
    }


def with_gradients(of: dict[str, nn.Parameter], step: int, size: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for p in of.values():
        p.grad = size * torch.randn(p.shape, generator=generator)


OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=1e-6, momentum=0.9),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=1e-6, weight_decay=0.1),
    "adam, fused": lambda ps: torch.optim.Adam(ps, lr=1e-6, fused=True),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, lr=1e-6),
}


def in_float64_throughout(build: Build, steps: int, *, clip: float | None = None) -> list[Tensor]:
    """The last update of an optimizer whose weights, gradients and state are float64 from the beginning."""
    wide = {name: nn.Parameter(p.detach().double()) for name, p in parameters(10.0).items()}
    optimizer = build(list(wide.values()))
    if clip:
        CoordinateClip(optimizer, clip)
    before: list[Tensor] = []
    for step in range(steps):
        narrow = parameters(10.0)
        with_gradients(narrow, step)
        for p, other in zip(wide.values(), narrow.values(), strict=True):
            assert other.grad is not None
            p.grad = other.grad.double()
        before = [p.detach().clone() for p in wide.values()]
        optimizer.step()
    return [p.detach() - start for p, start in zip(wide.values(), before, strict=True)]


def angle(first: list[Tensor], second: list[Tensor]) -> float:
    """‖û − v̂‖ of two directions."""
    a, b = (torch.cat([t.double().flatten() for t in each]) for each in (first, second))
    return float((a / a.norm() - b / b.norm()).norm())


@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_direction_agrees_with_the_plain_rule_where_the_subtraction_is_noise(
    build: Build, clip: float | None
) -> None:
    """Weights of size 10, whose spacing is a millionth, at a rate of a millionth."""
    ours = parameters(10.0)
    optimizer = build(list(ours.values()))
    if clip:
        CoordinateClip(optimizer, clip)
    point = HeldPoint(ours)
    fine: dict[str, Tensor] = {}
    coarse: dict[str, Tensor] = {}
    for step in range(3):
        with_gradients(ours, step)
        point.hold()
        fine = point.tried_in_float64(optimizer)
        coarse = point.tried(optimizer)
    exact = in_float64_throughout(build, 3, clip=clip)
    assert angle(list(fine.values()), exact) < 1e-4
    assert angle(list(coarse.values()), exact) > 1e-2
    assert rounding(point.weights, coarse) > COARSEST


def test_nothing_remains_of_a_step_in_float64() -> None:
    ours, twins = parameters(1.0), parameters(1.0)
    optimizers = [torch.optim.AdamW(p.values(), lr=torch.tensor(0.01)) for p in (ours, twins)]
    point = HeldPoint(ours)
    for step in range(4):
        for each in (ours, twins):
            with_gradients(each, step)
        gradients = [p.grad for p in ours.values()]
        random = torch.get_rng_state()
        pointers = [p.data_ptr() for p in ours.values()]
        point.hold().tried_in_float64(optimizers[0])
        assert [p.data_ptr() for p in ours.values()] == pointers
        assert all(p.grad is gradient for p, gradient in zip(ours.values(), gradients, strict=True))
        assert torch.equal(torch.get_rng_state(), random)
        for optimizer in optimizers:
            optimizer.step()
        assert all(same_bits(p, q) for p, q in zip(ours.values(), twins.values(), strict=True))
    for p, q in zip(ours.values(), twins.values(), strict=True):
        kept, other = optimizers[0].state[p], optimizers[1].state[q]
        assert all(same_bits(kept[name], other[name]) and kept[name].dtype == torch.float32 for name in other)


def test_the_rounding_is_that_of_a_random_error_of_the_spacing() -> None:
    """Against the error itself: float64 updates rounded onto float32 weights."""
    weights = {"w": parameters(10.0)["a"].detach()}
    exact = 3e-5 * torch.randn(weights["w"].shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    seen = {"w": (weights["w"].double() + exact).float() - weights["w"]}
    error = float((seen["w"].double() - exact).norm() / exact.norm())
    assert rounding(weights, seen) == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize(("update", "expected"), [(0.0, 0.0), (2.0**-23, 1 / math.sqrt(12))])
def test_the_rounding_of_a_single_weight(update: float, expected: float) -> None:
    assert rounding({"w": torch.tensor([1.0])}, {"w": torch.tensor([update])}) == pytest.approx(expected)


class Hiding(torch.optim.SGD):
    """Keeps something that nobody can copy."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)
        self.drawn = (n for n in range(9))


class Past(torch.optim.SGD):
    """Steps by the mean of the last three gradients, kept in its state: in a deque, or in an array of NumPy's."""

    def __init__(self, params: Any, kind: type) -> None:
        super().__init__(params, lr=1e-6)
        self.array = kind is np.ndarray

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for p in self.param_groups[0]["params"]:
            assert p.grad is not None
            past = self.state[p].setdefault("past", np.zeros((3, *p.shape)) if self.array else deque(maxlen=3))
            if self.array:
                past[:] = [*past[1:], p.grad.double().numpy()]
            else:
                past.append(p.grad.clone())
            p.sub_(torch.stack([torch.as_tensor(g) for g in past]).mean(0).to(p.dtype), alpha=1e-6)


@pytest.mark.parametrize("kind", [deque, np.ndarray])
def test_a_ghost_with_a_state_of_other_kinds_steps_once(kind: type) -> None:
    """Its state goes on as if nobody had read it; what cannot be copied into float64 is read as it is."""
    ours, twins = parameters(1.0), parameters(1.0)
    optimizer, plain = (Past(of.values(), kind) for of in (ours, twins))
    point = HeldPoint(ours)
    for step in range(4):
        for each in (ours, twins):
            with_gradients(each, step)
        if can_be_stepped_in_float64(optimizer):
            point.hold().tried_in_float64(optimizer)
        optimizer.step()
        plain.step()
    assert can_be_stepped_in_float64(optimizer) is (kind is deque)
    assert all(same_bits(p, q) for p, q in zip(ours.values(), twins.values(), strict=True))


@pytest.mark.parametrize(
    ("build", "can"),
    [
        (lambda: torch.optim.Adam([nn.Parameter(torch.ones(2))]), True),
        (lambda: torch.optim.Adam([nn.Parameter(torch.ones(2, dtype=torch.bfloat16))]), False),
        (lambda: Hiding([nn.Parameter(torch.ones(2))]), False),
    ],
)
def test_it_is_asked_only_of_what_can_be_undone(build: Callable[[], torch.optim.Optimizer], can: bool) -> None:
    assert can_be_stepped_in_float64(build()) is can


def test_a_clip_on_it_is_no_hindrance() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    CoordinateClip(optimizer, 0.1)
    assert can_be_stepped_in_float64(optimizer)
