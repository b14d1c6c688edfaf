"""The clips at a fixed limit do what torch's own functions do, as a hook."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import flat, same_bits
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip
from clipbench.errors import ClipbenchError

SHAPES = [(4, 3), (3,), (), (2, 5)]
LIMITS: list[dict[str, Any]] = [{"threshold": 0.5}, {"norm": 1.0}]


def weights(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    """Parameters with their gradients in place, of length about 5."""
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]
    for weight in made:
        weight.grad = torch.randn(weight.shape, generator=generator).to(dtype)
    return made


def gradients(of: list[nn.Parameter]) -> list[Tensor]:
    return [weight.grad for weight in of if weight.grad is not None]


def one(*values: float, **limit: Any) -> tuple[nn.Parameter, FixedClip]:
    weight = nn.Parameter(torch.zeros(len(values)))
    weight.grad = torch.tensor(values)
    return weight, FixedClip(torch.optim.SGD([weight], lr=1.0), **limit)


def test_a_threshold_is_torchs_clip_by_value_over_several_steps() -> None:
    ours, theirs = weights(), weights()
    optimizer, plain = (torch.optim.Adam(some, lr=0.1) for some in (ours, theirs))
    clip = FixedClip(optimizer, threshold=0.5)
    for seed in (1, 2, 3):
        for mine, other, fresh in zip(ours, theirs, weights(seed=seed), strict=True):
            assert fresh.grad is not None
            mine.grad, other.grad = fresh.grad.clone(), fresh.grad.clone()
        raw = flat(gradients(ours))
        optimizer.step()
        clip_grad_value_(theirs, 0.5)
        plain.step()
        assert all(same_bits(a.grad, b.grad) and same_bits(a, b) for a, b in zip(ours, theirs, strict=True))
        assert clip.last is not None
        assert (float(clip.last.threshold), clip.last.n) == (0.5, 26)
        assert 0 < int(clip.last.clipped) == sum(abs(value) > 0.5 for value in raw.tolist()) < 26


def test_a_norm_is_torchs_clip_by_norm_and_met_more_exactly() -> None:
    ours, theirs = weights(), weights()
    clip = FixedClip(torch.optim.SGD(ours, lr=0.1), norm=1.0)
    clip_grad_norm_(theirs, 1.0)
    clip.optimizer.step()
    # torch divides by ‖g‖ + 1e-6, and ‖g‖ is about 5.
    torch.testing.assert_close(flat(gradients(ours)), flat(gradients(theirs)), rtol=1e-6, atol=0)
    assert math.fsum(float(value) ** 2 for value in flat(gradients(ours))) == pytest.approx(1.0, abs=3e-7)
    assert clip.last is not None
    assert (float(clip.last.threshold), int(clip.last.clipped), clip.last.n) == (1.0, 26, 26)


@pytest.mark.parametrize("limit", [{"threshold": 100.0}, {"norm": 100.0}])
def test_a_gradient_within_the_limit_keeps_its_bits_and_nothing_is_counted(limit: dict[str, Any]) -> None:
    ours, stock = weights(), weights()
    clip = FixedClip(torch.optim.SGD(ours, lr=0.1), **limit)
    clip.optimizer.step()
    torch.optim.SGD(stock, lr=0.1).step()
    assert all(same_bits(a.grad, b.grad) and same_bits(a, b) for a, b in zip(ours, stock, strict=True))
    assert clip.last is not None
    assert (int(clip.last.clipped), clip.last.n) == (0, 26)


@pytest.mark.slow
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
)
@example(values=[2.2279e36], limit=0.001)  # the factor is below 1e-38
@settings(max_examples=60, deadline=None)
def test_no_coordinate_and_no_length_is_above_its_limit(values: list[float], limit: float) -> None:
    weight, clip = one(*values, threshold=limit)
    clip.optimizer.step()
    assert weight.grad is not None
    rounded = float(torch.tensor(limit))
    assert all(abs(value) <= max(rounded, limit) for value in weight.grad.tolist())
    assert [math.copysign(1, value) for value in weight.grad.tolist()] == [math.copysign(1, value) for value in values]
    weight, clip = one(*values, norm=limit)
    clip.optimizer.step()
    assert weight.grad is not None
    before = math.hypot(*values)
    # A float32 factor and product. Below 1e-38 both have few bits left: the factor is a multiple of 2⁻¹⁴⁹.
    rounding = 3e-7 + 2.0**-149 * max(before, limit) / limit
    assert math.hypot(*weight.grad.tolist()) <= min(before, limit) * (1 + rounding) + 1e-37


@pytest.mark.parametrize("limit", LIMITS)
def test_the_first_clip_is_all_of_it(limit: dict[str, Any]) -> None:
    ours = weights()
    clip = FixedClip(torch.optim.SGD(ours, lr=0.0), **limit)
    clip.optimizer.step()
    first = flat(gradients(ours)).clone()
    clip.optimizer.step()
    torch.testing.assert_close(flat(gradients(ours)), first, rtol=2e-7, atol=0)  # the norm's own last bit


def test_a_nan_stays_and_infinity_is_clipped_at_a_threshold() -> None:
    weight, clip = one(math.nan, -math.inf, 1.0, threshold=2.0)
    clip.optimizer.step()
    torch.testing.assert_close(weight.grad, torch.tensor([math.nan, -2.0, 1.0]), equal_nan=True)
    assert clip.last is not None
    assert int(clip.last.clipped) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_length_that_is_not_finite_is_left_for_others_to_see(bad: float) -> None:
    weight, clip = one(bad, 3.0, norm=1.0)
    clip.optimizer.step()
    torch.testing.assert_close(weight.grad, torch.tensor([bad, 3.0]), equal_nan=True)
    assert clip.last is not None
    assert int(clip.last.clipped) == 0


def test_a_gradient_of_zero_stays_zero() -> None:
    for limit in LIMITS:
        weight, clip = one(0.0, 0.0, **limit)
        clip.optimizer.step()
        assert weight.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("dtype", "large"), [(torch.float16, 300.0), (torch.bfloat16, 2.0**100), (torch.float32, 2.0**100)]
)
def test_the_length_is_right_where_the_squares_overflow(dtype: torch.dtype, large: float) -> None:
    weight = nn.Parameter(torch.zeros(4, dtype=dtype))
    weight.grad = torch.full_like(weight, large)
    clip = FixedClip(torch.optim.SGD([weight], lr=1.0), norm=2.0)
    clip.optimizer.step()
    assert weight.grad.tolist() == [1.0] * 4


@pytest.mark.parametrize("limit", LIMITS)
def test_a_closure_is_clipped_after_each_evaluation(limit: dict[str, Any]) -> None:
    seen: list[Tensor] = []
    weight = nn.Parameter(torch.tensor([3.0, -4.0]))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    FixedClip(optimizer, **limit)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = 5 * weight.square().sum()
        loss.backward()
        assert weight.grad is not None
        seen.append(weight.grad.clone())
        return loss

    assert optimizer.step(evaluate) == 125.0
    assert seen[0].tolist() == [30.0, -40.0]
    expected = [0.5, -0.5] if "threshold" in limit else [0.6, -0.8]
    torch.testing.assert_close(weight.grad, torch.tensor(expected))
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0, -4.0]) - torch.tensor(expected))
    optimizer.step(closure=evaluate)
    assert len(seen) == 2


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_copy_of_the_optimizer_is_clipped_as_well(limit: dict[str, Any], again: Callable[[Any], Any]) -> None:
    ours = weights()
    clip = FixedClip(torch.optim.SGD(ours, lr=0.1), **limit)
    other = again(clip.optimizer)
    copied = [p for group in other.param_groups for p in group["params"]]
    for mine, twin in zip(ours, copied, strict=True):
        assert mine.grad is not None
        twin.grad = mine.grad.clone()
    clip.optimizer.step()
    other.step()
    assert all(same_bits(a.grad, b.grad) and same_bits(a, b) for a, b in zip(ours, copied, strict=True))
    with pytest.raises(ValueError, match="has a clip already"):
        FixedClip(other, norm=1.0)


def test_a_gradient_scaler_must_have_unscaled_for_a_fused_step() -> None:
    for unscaled in (False, True):
        weight = nn.Parameter(torch.zeros(2))
        optimizer, scaler = torch.optim.SGD([weight], lr=1.0, fused=True), torch.amp.GradScaler("cpu", init_scale=64.0)
        FixedClip(optimizer, threshold=0.5)
        scaler.scale(torch.zeros(()))
        weight.grad = torch.tensor([64.0, 16.0])
        if unscaled:
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            assert weight.tolist() == [-0.5, -0.25]
        else:
            with pytest.raises(ClipbenchError, match="FixedClip: the gradients are still multiplied"):
                scaler.step(optimizer)
            assert weight.tolist() == [0.0, 0.0]


def test_a_step_that_a_scaler_skips_is_left_alone() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer, scaler = torch.optim.SGD([weight], lr=1.0, fused=True), torch.amp.GradScaler("cpu", init_scale=64.0)
    clip = FixedClip(optimizer, threshold=0.5)
    scaler.scale(torch.zeros(()))
    weight.grad = torch.tensor([math.inf, 64.0])
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert weight.tolist() == [0.0, 0.0]
    assert clip.last is None


@pytest.mark.parametrize("limit", LIMITS)
def test_a_removed_clip_clips_no_more_and_makes_room_for_another(limit: dict[str, Any]) -> None:
    weight, clip = one(30.0, -40.0, **limit)
    clip.remove()
    clip.remove()
    clip.optimizer.step()
    assert weight.tolist() == [-30.0, 40.0]
    CoordinateClip(clip.optimizer, 0.5)
    with pytest.raises(ValueError, match="has a clip already"):
        FixedClip(clip.optimizer, **limit)


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_survive_a_round_trip(limit: dict[str, Any]) -> None:
    weight, clip = one(30.0, -40.0, **limit)
    _, other = one(0.0, threshold=7.0)
    other.load_state_dict(clip.state_dict())
    assert other.state_dict() == {"threshold": None, "norm": None} | limit
    copied = copy.deepcopy(other.optimizer)
    other.remove()
    other.load_state_dict({"threshold": 3.0, "norm": None})  # on no optimizer, it changes no copy
    [twin] = copied.param_groups[0]["params"]
    twin.grad = torch.tensor([50.0])
    copied.step()
    assert twin.grad.tolist() == [next(iter(limit.values()))]
    assert weight.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"threshold": 0.1}, ValueError, "the keys 'threshold' and 'norm', not"),
        ({"threshold": 0.1, "norm": None, "of": "update"}, ValueError, "the keys 'threshold' and 'norm', not"),
        ({"threshold": -0.1, "norm": None}, ValueError, "above 0 and finite"),
        ({"threshold": None, "norm": None}, TypeError, "either a threshold or a norm; this one has none"),
    ],
)
def test_wrong_limits_are_refused_and_change_nothing(
    state: dict[str, Any], error: type[Exception], message: str
) -> None:
    _, clip = one(1.0, threshold=0.5)
    with pytest.raises(error, match=message):
        clip.load_state_dict(state)
    assert clip.state_dict() == {"threshold": 0.5, "norm": None}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "either a threshold or a norm; this one has none"),
        ({"threshold": 1.0, "norm": 1.0}, TypeError, "this one has threshold and norm"),
        ({"threshold": "1"}, TypeError, "the threshold to clip at must be a number, not '1'"),
        ({"norm": True}, TypeError, "the norm to clip at must be a number, not True"),
        *(({name: bad}, ValueError, f"the {name} to clip at is {bad}: it must be above 0 and finite")
          for name in ("threshold", "norm") for bad in (0.0, -1.0, math.nan, math.inf)),
    ],
)  # fmt: skip
def test_a_wrong_clip_is_refused_before_anything_changes(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, -4.0])
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(error, match=message):
        FixedClip(optimizer, **arguments)
    optimizer.step()
    assert weight.tolist() == [-3.0, 4.0]
    FixedClip(optimizer, norm=1.0)


@pytest.mark.parametrize("limit", [{"threshold": 1.0}, {"norm": 1.0}])
@pytest.mark.parametrize("gradient", [None, torch.zeros(0)])
def test_a_step_without_any_coordinate_is_none(limit: dict[str, Any], gradient: Tensor | None) -> None:
    weight = nn.Parameter(torch.zeros(0 if gradient is not None else 2))
    clip = FixedClip(torch.optim.SGD([weight], lr=1.0), **limit)
    weight.grad = gradient
    clip.optimizer.step()
    clip.optimizer.step(lambda: 0.0)
    assert clip.last is None
    assert not bool(weight.any())
