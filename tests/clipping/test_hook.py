"""The clip on an optimizer: what it does to the step in each place, and what it refuses."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from oracles import flat, naive_clip, same_bits
from reference.optimizers import clipped as naive_clipped
from reference.optimizers import sgd_average
from torch import Tensor, nn

import clipbench
from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.report import Clipped
from clipbench.records import ClipPlace

SHAPES = [(4, 3), (3,), (), (2, 5)]
FORMS: list[dict[str, Any]] = [{"foreach": False}, {"foreach": True}, {"fused": True}]

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def parameters(*, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def gradients(steps: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [[torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(steps)]


def run(make: Make, *, steps: int = 5, **clip: Any) -> tuple[list[nn.Parameter], list[Clipped]]:
    """Feed the same gradients to an optimizer, with a clip if one is described."""
    weights = parameters()
    optimizer = make(weights)
    hook = CoordinateClip(optimizer, **clip) if clip else None
    seen = []
    for given in gradients(steps):
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        if hook is not None and hook.last is not None:
            seen.append(hook.last)
    return weights, seen


def set_gradient(weight: nn.Parameter, *values: float) -> None:
    weight.grad = torch.tensor(values)


def sgd(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, lr=0.1, momentum=0.9, dampening=0.9)


def one_parameter() -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.zeros(5))
    return weight, torch.optim.SGD([weight], lr=1.0)


def test_the_package_hands_out_the_clip() -> None:
    assert clipbench.CoordinateClip is CoordinateClip


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_a_clip_of_zero_leaves_the_step_alone(kind: Any, form: dict[str, bool], of: ClipPlace) -> None:
    stock, _ = run(lambda weights: kind(weights, lr=0.1, **form))
    with_clip, seen = run(lambda weights: kind(weights, lr=0.1, **form), fraction=0.0, of=of)
    assert all(same_bits(a, b) for a, b in zip(stock, with_clip, strict=True))
    assert [(int(last.clipped), last.n) for last in seen] == [(0, 26)] * 5
    assert seen[-1].threshold == math.inf


def test_the_gradient_is_clipped_at_one_threshold_over_all_groups_before_the_momentum() -> None:
    def two_groups(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.2}]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9, dampening=0.9)

    weights, seen = run(two_groups, steps=3, fraction=0.3)
    clipped = [naive_clipped([g.double() for g in given], 0.3) for given in gradients(3)]
    expected = [p.detach().double() for p in parameters()]
    for t in (1, 2, 3):
        for i, average in enumerate(sgd_average(clipped[:t], 0.9)):
            expected[i] = expected[i] - (0.1 if i == 0 else 0.2) * average
    for weight, given in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach().double(), given, rtol=1e-6, atol=1e-6)  # float32 steps
    for last, each in zip(seen, gradients(3), strict=True):
        assert float(last.threshold) == naive_clip(flat(each).tolist(), 0.3)[0]
        assert int(last.clipped) == int((flat(each).abs() > last.threshold).sum()) == int(26 * 0.3)


def test_the_gradient_is_left_clipped_and_keeps_the_bits_that_were_below() -> None:
    weight, optimizer = one_parameter()
    CoordinateClip(optimizer, 0.4)
    set_gradient(weight, 5.0, -4.0, 3.0, -0.0, 1e-7)
    assert weight.grad is not None
    kept = weight.grad
    optimizer.step()
    assert weight.grad is kept
    assert same_bits(kept, torch.tensor([3.0, -3.0, 3.0, -0.0, 1e-7]))


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_a_clipped_optimizer_differs_from_its_twin(of: ClipPlace) -> None:
    twin, _ = run(lambda weights: torch.optim.Adam(weights, lr=0.1), steps=1)
    with_clip, seen = run(lambda weights: torch.optim.Adam(weights, lr=0.1), steps=2, fraction=0.5, of=of)
    assert not torch.allclose(flat(twin), flat(with_clip))
    assert 0 < int(seen[-1].clipped) <= 13


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_single_foreach_and_fused_forms_agree(of: ClipPlace) -> None:
    single, foreach, fused = (
        flat(run(partial(torch.optim.AdamW, lr=0.1, **form), fraction=0.5, of=of)[0]) for form in FORMS
    )
    # Float32 kernels round in different orders; five steps of 0.1 each.
    torch.testing.assert_close(foreach, single, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fused, single, rtol=1e-5, atol=1e-6)


def test_the_update_is_clipped_whatever_the_optimizer_made_of_it() -> None:
    stock, _ = run(sgd, steps=1)
    update = flat(stock) - flat(parameters())
    threshold, expected = naive_clip(update.tolist(), 0.3)
    weights, seen = run(sgd, steps=1, fraction=0.3, of="update")
    assert float(seen[0].threshold) == threshold
    moved = flat(weights) - flat(parameters())
    torch.testing.assert_close(moved, torch.tensor(expected), rtol=0, atol=2e-7)  # rounding of θ − θ_before
    kept = update.abs() <= threshold
    assert int((~kept).sum()) == int(seen[0].clipped) == int(26 * 0.3)
    assert same_bits(flat(weights)[kept], flat(stock)[kept])


def test_the_update_of_the_momentum_is_clipped_but_its_state_is_not() -> None:
    weights, _ = run(sgd, steps=4, fraction=0.3, of="update")
    expected = [p.detach().double() for p in parameters()]
    for t in (1, 2, 3, 4):
        updates = [-0.1 * average for average in sgd_average(gradients(4)[:t], 0.9)]
        expected = [w + u for w, u in zip(expected, naive_clipped(updates, 0.3), strict=True)]
    torch.testing.assert_close(flat(weights).double(), flat(expected), rtol=1e-5, atol=1e-6)  # float32 steps


def test_parameters_without_a_gradient_are_not_counted() -> None:
    weight, idle = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(100))
    optimizer = torch.optim.SGD([weight, idle], lr=1.0)
    for of in ("gradient", "update"):
        hook = CoordinateClip(optimizer, 0.5, of=of)
        weight.grad = torch.tensor([3.0, 1.0])
        optimizer.step()
        assert hook.last is not None
        assert (hook.last.n, int(hook.last.clipped), float(hook.last.threshold)) == (2, 1, 1.0)
        hook.remove()
    assert torch.equal(idle, torch.zeros(100))


@pytest.mark.parametrize("of", ["gradient", "update"])
def test_a_threshold_of_zero_is_said_once_and_never_makes_nan(of: ClipPlace) -> None:
    weight, optimizer = one_parameter()
    hook = CoordinateClip(optimizer, 0.5, of=of)
    set_gradient(weight, 0.0, 0.0, 7.0, 0.0, 0.0)
    with pytest.warns(RuntimeWarning, match=r"80\.0% of its 5 coordinates are exactly zero.*below about 0\.2"):
        optimizer.step()
    set_gradient(weight, 0.0, 0.0, 7.0, 0.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    assert hook.last is not None
    assert hook.last.threshold == 0
    assert int(hook.last.clipped) == 1
    assert torch.equal(weight, torch.zeros(5))


def test_a_gradient_that_is_zero_already_loses_nothing_and_is_not_warned_about() -> None:
    weight, optimizer = one_parameter()
    hook = CoordinateClip(optimizer, 0.5)
    set_gradient(weight, 0.0, 0.0, 0.0, 0.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    assert hook.last is not None
    assert hook.last.threshold == 0


def test_a_nan_stays_and_too_many_of_them_spread() -> None:
    weight, optimizer = one_parameter()
    CoordinateClip(optimizer, 0.4)
    set_gradient(weight, math.nan, 3.0, 2.0, 1.0, -math.inf)
    optimizer.step()
    torch.testing.assert_close(weight.grad, torch.tensor([math.nan, 3.0, 2.0, 1.0, -3.0]), equal_nan=True)
    set_gradient(weight, math.nan, math.nan, math.nan, 1.0, 2.0)
    optimizer.step()
    assert weight.grad is not None
    assert bool(weight.grad.isnan().all())


def test_a_nan_in_an_update_stays_and_too_many_of_them_spread() -> None:
    weight, optimizer = one_parameter()
    CoordinateClip(optimizer, 0.4, of="update")
    set_gradient(weight, math.nan, 3.0, 2.0, 1.0, 0.0)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([math.nan, -2.0, -2.0, -1.0, 0.0]), equal_nan=True)
    set_gradient(weight, math.nan, math.nan, math.nan, 1.0, 2.0)
    optimizer.step()
    assert bool(weight.isnan().all())


def test_last_is_none_before_the_first_step() -> None:
    _, optimizer = one_parameter()
    assert CoordinateClip(optimizer, 0.5).last is None


def test_a_removed_clip_clips_no_more_and_makes_room_for_another() -> None:
    weight, optimizer = one_parameter()
    hook = CoordinateClip(optimizer, 0.4)
    hook.remove()
    hook.remove()
    set_gradient(weight, 5.0, 4.0, 3.0, 2.0, 1.0)
    optimizer.step()
    assert weight.tolist() == [-5.0, -4.0, -3.0, -2.0, -1.0]
    CoordinateClip(optimizer, 0.4)
    optimizer.step()
    assert weight.tolist() == [-8.0, -7.0, -6.0, -4.0, -2.0]


def test_schedulers_and_the_state_dict_stay_as_they_are() -> None:
    weights = parameters()
    optimizer = sgd(weights)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    CoordinateClip(optimizer, 0.3)
    rates = []
    for given in gradients(3):
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient
        optimizer.step()
        rates.append(scheduler.get_last_lr()[0])
        scheduler.step()
    assert all(after == before / 2 for before, after in pairwise(rates))
    assert set(optimizer.state_dict()) == {"state", "param_groups"}
    sgd(parameters()).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("of", ["gradient", "update"])
def test_a_gradient_scaler_changes_nothing_where_nothing_overflows(of: ClipPlace) -> None:
    weights, expected = parameters(), run(sgd, steps=1, fraction=0.3, of=of)[0]
    optimizer, scaler = sgd(weights), torch.amp.GradScaler("cpu", init_scale=64.0)
    CoordinateClip(optimizer, 0.3, of=of)
    scaler.scale(torch.zeros(()))
    for weight, gradient in zip(weights, gradients(1)[0], strict=True):
        weight.grad = gradient * 64.0
    scaler.step(optimizer)
    assert all(same_bits(a, b) for a, b in zip(weights, expected, strict=True))
