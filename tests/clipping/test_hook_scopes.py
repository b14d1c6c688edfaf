"""What the clip's settings do: scopes, the length that is kept, the zeros that are ignored, and what is reported."""

from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from oracles import flat, naive_clip, same_bits
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip

SHAPES = [(4, 3), (3,), (), (2, 5)]


def weights_with_gradients(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    weights = [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]
    for weight in weights:
        weight.grad = (torch.randn(weight.shape, generator=generator) ** 3).to(dtype)
    return weights


def gradients_of(weights: list[nn.Parameter]) -> list[Tensor]:
    return [weight.grad.clone() for weight in weights if weight.grad is not None]


def sgd(weights: list[nn.Parameter], *, cut: int = 2) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": weights[:cut]}, {"params": weights[cut:]}], lr=1.0)


@pytest.mark.parametrize("of", ["gradient", "update"])
@pytest.mark.parametrize(("scope", "parts"), [("group", [[0, 1], [2, 3]]), ("tensor", [[0], [1], [2], [3]])])
def test_each_scope_has_a_threshold_of_its_own(of: Any, scope: Any, parts: list[list[int]]) -> None:
    weights = weights_with_gradients()
    before, raw = flat(weights), gradients_of(weights)
    hook = CoordinateClip(sgd(weights), 0.4, of=of, scope=scope)
    hook.optimizer.step()
    naive = [naive_clip(flat([raw[i] for i in part]).tolist(), 0.4) for part in parts]
    assert hook.last is not None
    # An update of SGD is the negative gradient up to the rounding of θ_after − θ_before.
    tolerance = 0.0 if of == "gradient" else 1e-6
    expected = torch.tensor([threshold for threshold, _ in naive])
    torch.testing.assert_close(hook.last.thresholds, expected, rtol=0, atol=tolerance)
    moved = torch.tensor([value for _, values in naive for value in values])
    torch.testing.assert_close(before - flat(weights), moved, rtol=0, atol=1e-6)
    assert float(hook.last.threshold) == float(hook.last.thresholds.max())
    sizes = [sum(raw[i].numel() for i in part) for part in parts]
    assert (hook.last.n, hook.last.asked) == (26, sum(int(size * 0.4) for size in sizes))
    assert int(hook.last.clipped) == hook.last.asked


def test_empty_tensors_and_groups_have_no_threshold() -> None:
    full, empty = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(0))
    for scope in ("group", "tensor"):
        optimizer = torch.optim.SGD([{"params": [empty]}, {"params": [full]}], lr=1.0)
        hook = CoordinateClip(optimizer, 0.5, scope=scope)
        full.grad, empty.grad = torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.zeros(0)
        optimizer.step()
        assert hook.last is not None
        assert hook.last.thresholds.tolist() == [2.0]


@pytest.mark.slow
@pytest.mark.parametrize("of", ["gradient", "update"])
@pytest.mark.parametrize("scope", ["global", "tensor"])
@given(fraction=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
@example(fraction=0.9375, seed=551)  # one with a very short direction
def test_keeping_the_norm_changes_the_direction_only(of: Any, scope: Any, fraction: float, seed: int) -> None:
    weights, plain = (weights_with_gradients(seed=seed, dtype=torch.float64) for _ in range(2))
    start, length = flat(weights), float(flat(gradients_of(weights)).norm())
    CoordinateClip(sgd(weights), fraction, of=of, scope=scope, scale="norm").optimizer.step()
    CoordinateClip(sgd(plain), fraction, of=of, scope=scope, scale="none").optimizer.step()
    moved, direction = start - flat(weights), start - flat(plain)
    assert float(moved.norm()) == pytest.approx(length, rel=1e-9)
    # Differences of float64 weights of size 1, so known to about 1e-15: a short direction is known the less well.
    known = 1e-9 + 1e-14 / float(direction.norm())
    torch.testing.assert_close(moved / moved.norm(), direction / direction.norm(), rtol=0, atol=known)


def test_keeping_the_norm_of_what_is_not_clipped_changes_nothing() -> None:
    weights = weights_with_gradients()
    raw = gradients_of(weights)
    CoordinateClip(sgd(weights), 1e-9, scale="norm").optimizer.step()
    assert all(same_bits(a, b) for a, b in zip(raw, gradients_of(weights), strict=True))


def test_a_norm_of_nothing_is_not_divided_by() -> None:
    weight = nn.Parameter(torch.zeros(4))
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.5, scale="norm")
    weight.grad = torch.tensor([0.0, 0.0, 0.0, 7.0])
    with pytest.warns(RuntimeWarning, match="threshold is 0"):
        hook.optimizer.step()
    assert weight.grad.tolist() == [0.0] * 4


def test_an_infinite_length_is_not_made_finite() -> None:
    weight = nn.Parameter(torch.zeros(4))
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.5, scale="norm")
    weight.grad = torch.tensor([torch.inf, 1.0, 2.0, 7.0])
    hook.optimizer.step()
    assert not bool(weight.grad.isfinite().any())


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_ignored_zeros_leave_the_clip_what_it_is_without_them(of: Any) -> None:
    values = torch.tensor([5.0, -4.0, 3.0, -2.0, 1.0])
    dense, padded = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(500))
    seen = []
    for weight, ignore_zeros in ((dense, False), (padded, True)):
        optimizer = torch.optim.Adam([weight], lr=0.25, eps=1.0)
        hook = CoordinateClip(optimizer, 0.4, of=of, ignore_zeros=ignore_zeros)
        weight.grad = torch.zeros_like(weight)
        weight.grad[:5] = values
        optimizer.step()
        assert hook.last is not None
        seen.append((float(hook.last.threshold), int(hook.last.clipped), hook.last.n, hook.last.asked))
        assert hook.zero_thresholds == 0
    assert seen[0] == seen[1]
    assert seen[0][1:] == (2, 5, 2)
    assert same_bits(dense, padded[:5])


def test_all_zeros_ignored_is_nothing_to_clip() -> None:
    weight = nn.Parameter(torch.ones(3))
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.4, ignore_zeros=True)
    weight.grad = torch.zeros(3)
    hook.optimizer.step()
    assert hook.last is not None
    assert (float(hook.last.threshold), int(hook.last.clipped), hook.last.n, hook.zero_thresholds) == (0.0, 0, 0, 0)


def test_every_step_at_which_a_threshold_was_zero_is_counted() -> None:
    first, second = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    hook = CoordinateClip(torch.optim.SGD([first, second], lr=1.0), 0.5, scope="tensor")
    some, full = torch.tensor([0.0, 0.0, 0.0, 7.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    for given_first, given_second in ((full, full), (some, full), (full, some), (some, some)):
        first.grad, second.grad = given_first.clone(), given_second.clone()
        if hook.zero_thresholds == 0 and given_first is some:
            with pytest.warns(RuntimeWarning, match=r"75\.0% of its 4 coordinates .* ignore_zeros=True"):
                hook.optimizer.step()
        else:
            hook.optimizer.step()
    assert hook.zero_thresholds == 3


def test_a_fraction_of_less_than_one_coordinate_is_visible() -> None:
    weights = weights_with_gradients()
    hook = CoordinateClip(sgd(weights), 0.01)
    hook.optimizer.step()
    assert hook.last is not None
    assert (hook.last.asked, int(hook.last.clipped)) == (0, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_gradients_are_clipped_and_counted(dtype: torch.dtype) -> None:
    weights = weights_with_gradients(dtype=dtype)
    raw = flat(gradients_of(weights))
    threshold, expected = naive_clip(raw.tolist(), 0.4)
    hook = CoordinateClip(sgd(weights), 0.4)
    hook.optimizer.step()
    assert hook.last is not None
    assert hook.last.threshold.dtype == dtype
    assert float(hook.last.threshold) == threshold
    assert int(hook.last.clipped) == int((raw.abs() > threshold).sum())
    assert flat(gradients_of(weights)).tolist() == expected


def test_gradients_of_several_layouts_and_dtypes_are_counted_right() -> None:
    generator = torch.Generator().manual_seed(5)
    weights = [
        nn.Parameter(torch.randn(40, 30, generator=generator).t()),
        nn.Parameter(torch.randn(7, generator=generator, dtype=torch.float64)),
        nn.Parameter(torch.randn(0)),
    ]
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    weights[0].grad = torch.randn(40, 30, generator=generator).t()
    raw = torch.cat([weight.grad.double().flatten() for weight in weights if weight.grad is not None])
    hook = CoordinateClip(torch.optim.SGD(weights, lr=1.0), 0.3)
    hook.optimizer.step()
    assert hook.last is not None
    assert int(hook.last.clipped) == int((raw.abs() > float(hook.last.threshold)).sum()) == int(1207 * 0.3)
