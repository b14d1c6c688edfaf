"""The clip among the things that people use with an optimizer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import flat, naive_clip, same_bits
from reference import optimizers as reference
from reference import second_moments
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.optimizers import lion, normalized_sgd, signsgd
from clipbench.records import CLIP_PLACES

SHAPES = [(4, 3), (3,), (2, 5)]


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def gradients(steps: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [[torch.randn(shape, generator=generator) ** 3 for shape in SHAPES] for _ in range(steps)]


def give(weights: list[nn.Parameter], given: list[Tensor]) -> None:
    for weight, gradient in zip(weights, given, strict=True):
        weight.grad = gradient.to(weight.dtype, copy=True)


def step_through(optimizer: torch.optim.Optimizer, steps: list[list[Tensor]]) -> None:
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for given in steps:
        give(weights, given)
        optimizer.step()


def adam(weights: list[nn.Parameter], **options: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, lr=0.1, **options)


MOMENTUM: dict[str, Any] = {"lr": 0.1, "momentum": 0.9}
LION: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}


@pytest.mark.parametrize(
    ("make", "ref", "options"),
    [
        (lambda w: torch.optim.SGD(w, dampening=0.9, **MOMENTUM), reference.sgd, MOMENTUM),
        (
            lambda w: torch.optim.SGD(w, dampening=0.9, weight_decay=0.2, **MOMENTUM),
            reference.sgd,
            {**MOMENTUM, "decay": 0.2},
        ),
        (lambda w: torch.optim.SGD(w, dampening=0.9, fused=True, **MOMENTUM), reference.sgd, MOMENTUM),
        (lambda w: normalized_sgd.build([("w", each) for each in w], **MOMENTUM), reference.normalized_sgd, MOMENTUM),
        (lambda w: signsgd.build([("w", each) for each in w], **MOMENTUM), reference.signsgd, MOMENTUM),
        (lambda w: lion.build([("w", each) for each in w], **LION), reference.lion, LION),
    ],
)
def test_a_clipped_gradient_goes_through_momentum_decay_and_sign_as_it_is_written_out(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], ref: Any, options: dict[str, Any]
) -> None:
    weights = parameters(torch.float64)
    hook = CoordinateClip(make(weights), 0.4)
    step_through(hook.optimizer, gradients(20))
    expected = flat(ref(parameters(), gradients(20), fraction=0.4, **options))
    torch.testing.assert_close(flat(weights), expected, rtol=1e-9, atol=1e-9)
    twin = flat(ref(parameters(), gradients(20), **options))
    assert float((twin - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize(
    ("kind", "of"),
    [
        (torch.optim.SGD, "gradient"),
        *((torch.optim.Adam, of) for of in CLIP_PLACES),
        (torch.optim.Adafactor, "numerator"),
        (torch.optim.SGD, "update"),
    ],
)
def test_a_step_with_a_closure_is_the_step_without(kind: Any, of: Any, by_name: bool) -> None:
    plain, weights = parameters(), parameters()
    step_through(CoordinateClip(kind(plain, lr=0.1), 0.4, of=of).optimizer, gradients(3))
    hook = CoordinateClip(kind(weights, lr=0.1), 0.4, of=of)
    for given in gradients(3):
        hook.optimizer.zero_grad()

        def closure(given: list[Tensor] = given) -> float:
            assert torch.is_grad_enabled()
            give(weights, given)
            return 7.0

        assert (hook.optimizer.step(closure=closure) if by_name else hook.optimizer.step(closure)) == 7.0
    assert all(same_bits(a, b) for a, b in zip(plain, weights, strict=True))


def test_lbfgs_sees_the_clipped_gradient_at_each_evaluation() -> None:
    """The clip of a quadratic's gradient, inside the closure by hand and outside by the hook."""
    curvatures = torch.tensor([1.0, 2.0, 5.0, 10.0, 30.0])
    ends, seen = [], []
    for by_hand in (True, False):
        weight = nn.Parameter(torch.tensor([3.0, -2.0, 1.0, 4.0, -5.0]))
        optimizer = torch.optim.LBFGS([weight], lr=0.01, max_iter=4)

        def closure(weight: nn.Parameter = weight, by_hand: bool = by_hand, o: Any = optimizer) -> Tensor:
            o.zero_grad()
            loss = 0.5 * (curvatures * weight * weight).sum()
            loss.backward()
            assert weight.grad is not None
            seen.append(naive_clip(weight.grad.tolist(), 0.4)[0])
            if by_hand:
                weight.grad.copy_(torch.tensor(naive_clip(weight.grad.tolist(), 0.4)[1]))
            return loss

        hook = None if by_hand else CoordinateClip(optimizer, 0.4)
        optimizer.step(closure)
        ends.append(weight)
    assert len(seen) > 4
    assert same_bits(*ends)
    assert hook is not None
    assert hook.last is not None
    assert float(hook.last.threshold) == pytest.approx(seen[-1])


def test_an_unfused_step_that_a_scaler_skips_changes_nothing_at_all() -> None:
    for of in CLIP_PLACES:
        weights = parameters()
        hook = CoordinateClip(adam(weights), 0.4, of=of)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        scaler.scale(torch.zeros(()))
        give(weights, gradients(1)[0])
        assert weights[0].grad is not None
        weights[0].grad[0, 0] = torch.inf
        scaler.step(hook.optimizer)
        scaler.update()
        assert same_bits(flat(weights), flat(parameters()))
        assert not hook.optimizer.state
        assert hook.last is None


@pytest.mark.parametrize("of", CLIP_PLACES)
@pytest.mark.parametrize("unscale", [False, True])
def test_a_scaler_that_skips_nothing_changes_nothing(of: Any, unscale: bool) -> None:
    plain, weights = parameters(), parameters()
    step_through(CoordinateClip(adam(plain), 0.4, of=of).optimizer, gradients(2))
    hook, scaler = CoordinateClip(adam(weights), 0.4, of=of), torch.amp.GradScaler("cpu", init_scale=64.0)
    for given in gradients(2):
        scaler.scale(torch.zeros(()))
        give(weights, [64.0 * g for g in given])
        if unscale:
            scaler.unscale_(hook.optimizer)
        scaler.step(hook.optimizer)
        scaler.update()
    assert all(same_bits(a, b) for a, b in zip(plain, weights, strict=True))


def test_the_update_of_a_fused_step_needs_no_unscaling() -> None:
    plain, weights = parameters(), parameters()
    step_through(CoordinateClip(adam(plain, fused=True), 0.4, of="update").optimizer, gradients(1))
    hook, scaler = CoordinateClip(adam(weights, fused=True), 0.4, of="update"), torch.amp.GradScaler("cpu", 64.0)
    scaler.scale(torch.zeros(()))
    give(weights, [64.0 * g for g in gradients(1)[0]])
    scaler.step(hook.optimizer)
    assert all(same_bits(a, b) for a, b in zip(plain, weights, strict=True))


class Breaks(torch.optim.SGD):
    """Raises where its rate is negative, as an optimizer may in the middle of a step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ARG002
        (group,) = self.param_groups
        if group["lr"] < 0:
            raise RuntimeError("broken")
        for weight in group["params"]:
            weight.sub_(group["lr"] * weight.grad)


def test_a_step_that_raised_leaves_nothing_behind_for_the_next() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = Breaks([weight], lr=1.0)
    CoordinateClip(optimizer, 0.5, of="update")
    weight.grad = torch.tensor([1.0, 4.0])
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(RuntimeError, match="broken"):
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 1.0
    with torch.no_grad():
        weight.copy_(torch.tensor([10.0, 10.0]))
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimizer.step()  # the clip passes by, as under a scaler
    assert weight.tolist() == [9.0, 6.0]


def test_an_adafactor_step_that_raised_gives_the_gradients_back(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = nn.Parameter(torch.ones(2))
    hook = CoordinateClip(torch.optim.Adafactor([weight], lr=0.1), 0.5, of="numerator")
    weight.grad = torch.tensor([1.0, 4.0])

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("torch.optim._adafactor.adafactor", broken)
        with pytest.raises(RuntimeError, match="broken"):
            hook.optimizer.step()
    hook.remove()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 1.0]


def test_accumulated_gradients_are_clipped_once_as_their_sum() -> None:
    weight = nn.Parameter(torch.zeros(4))
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.5)
    for values in ([1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, -8.0]):
        (weight * torch.tensor(values)).sum().backward()
    hook.optimizer.step()
    assert weight.tolist() == [-2.0, -3.0, -3.0, 3.0]


@pytest.mark.parametrize("of", CLIP_PLACES)
def test_a_group_that_is_added_later_is_clipped_as_well(of: Any) -> None:
    first, late = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    hook = CoordinateClip(torch.optim.Adam([first], lr=1.0), 0.5, of=of)
    hook.optimizer.add_param_group({"params": [late], "lr": 0.5})
    first.grad, late.grad = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    hook.optimizer.step()
    assert hook.last is not None
    assert hook.last.n == 4
    if of != "update":
        assert float(hook.last.threshold) == 2.0
        assert late.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("of", CLIP_PLACES)
def test_frozen_parameters_and_those_without_a_gradient_are_left_out(of: Any) -> None:
    weight, idle, frozen = (nn.Parameter(torch.ones(4), requires_grad=wanted) for wanted in (True, True, False))
    hook = CoordinateClip(torch.optim.Adam([weight, idle, frozen], lr=1.0), 0.5, of=of)
    for by_closure in (False, True):

        def closure() -> float:
            weight.grad = torch.tensor([1.0, 2.0, 3.0, 4.0])
            return 0.0

        closure()
        hook.optimizer.step(closure) if by_closure else hook.optimizer.step()
        assert hook.last is not None
        assert hook.last.n == 4
    assert torch.equal(idle, torch.ones(4))
    assert torch.equal(frozen, torch.ones(4))
    assert set(hook.optimizer.state) == {weight}


def test_decay_that_is_coupled_is_added_to_the_clipped_gradient_and_decoupled_is_not_seen() -> None:
    """Against Adam's float64 formula, which has g + λθ in both of its moments."""
    weights, start = parameters(torch.float64), parameters(torch.float64)
    hook = CoordinateClip(torch.optim.Adam(weights, lr=0.1, weight_decay=0.2), 0.4)
    step_through(hook.optimizer, gradients(1))
    coupled = [c + 0.2 * w for c, w in zip(reference.clipped(gradients(1)[0], 0.4), start, strict=True)]
    torch.testing.assert_close(flat(weights), flat(second_moments.adam(start, [coupled], lr=0.1)), rtol=1e-9, atol=1e-9)
    weights = parameters(torch.float64)
    step_through(CoordinateClip(torch.optim.AdamW(weights, lr=0.1, weight_decay=0.2), 0.4).optimizer, gradients(1))
    clipped = reference.clipped(gradients(1)[0], 0.4)
    expected = flat(second_moments.adam(start, [clipped], lr=0.1, decay=0.2))
    torch.testing.assert_close(flat(weights), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("of", ["gradient", "numerator"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_adam_follows_its_formula_as_far_as_it_can(of: Any, dtype: torch.dtype) -> None:
    weights = parameters(dtype)
    options: dict[str, Any] = {"lr": 0.1, "betas": (0.9, 0.9), "eps": 1e-4}
    # Squares that neither vanish nor overflow in float16.
    steps = [[g.sign() * g.abs().clamp(0.3, 10.0) for g in step] for step in gradients(3)]
    step_through(CoordinateClip(torch.optim.Adam(weights, **options), 0.4, of=of).optimizer, steps)
    given = [[g.to(dtype) for g in step] for step in steps]
    if of == "gradient":
        given = [reference.clipped(step, 0.4) for step in given]
    expected = second_moments.adam(parameters(dtype), given, fraction=0.4 if of == "numerator" else 0.0, **options)
    # Weights of size 1 with 8 bits (bfloat16) or 11 (float16), rounded at each of three steps.
    torch.testing.assert_close(flat(weights).double(), flat(expected), rtol=2e-2, atol=1e-2)


def test_a_scheduler_counts_the_steps_and_sets_their_rate() -> None:
    weight = nn.Parameter(torch.zeros(2))
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(hook.optimizer, step_size=1, gamma=0.5)
    for _ in range(2):
        weight.grad = torch.tensor([1.0, 4.0])
        hook.optimizer.step()
        scheduler.step()
    assert weight.tolist() == [-1.5, -1.5]


@pytest.mark.slow
@pytest.mark.parametrize("of", CLIP_PLACES)
# Dynamo uses what torch itself has deprecated, and says so once it is imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_compiled_step_is_clipped(of: Any) -> None:
    plain, weights = parameters(), parameters()
    step_through(CoordinateClip(adam(plain), 0.4, of=of).optimizer, gradients(3))
    hook = CoordinateClip(adam(weights), 0.4, of=of)
    compiled = torch.compile(hook.optimizer.step, backend="eager")
    for given in gradients(3):
        give(weights, given)
        compiled()
    assert hook.last is not None
    torch.testing.assert_close(flat(weights), flat(plain))
