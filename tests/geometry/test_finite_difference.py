"""Forward passes alone agree with the exact curvature where the loss is smooth, and say so where it is not."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from oracles import Trace
from reference.networks import network
from reference.problems import NO_DATA, Quadratic, problem, quadratic_loss, random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import NonFiniteLossError, directional_curvature
from clipbench.geometry.finite_difference import FiniteDifference, finite_difference_curvature

SMOOTH = ["mlp", "layer norm", "rms norm", "glu", "group and instance norm", "recurrent", "causal transformer"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_loss_agrees_within_the_bound(name: str, dtype: torch.dtype) -> None:
    model, loss, batches = network(name, dtype=dtype)
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(3)}
    exact = directional_curvature(model, loss, batches, directions)
    for seed, found in finite_difference_curvature(model, loss, batches, directions).items():
        assert found.agrees_with(exact[seed].curvature)
        # What can be seen in losses of 24 bits, or of 53, around 1; curvatures are 0.001 to 1.
        assert found.bound < (0.02 if dtype == torch.float32 else 1e-5)
        assert not found.agrees_with(exact[seed].curvature + 0.05)


def test_asked_for_float64_it_is_as_sharp_as_a_float64_model() -> None:
    model, loss, batches = network("causal transformer")
    directions = {"u": random_direction(model, seed=0)}
    coarse, fine = (
        finite_difference_curvature(model, loss, batches, directions, dtype=d)["u"] for d in (None, torch.float64)
    )
    exact = directional_curvature(model, loss, batches, directions)["u"].curvature
    assert fine.bound < coarse.bound / 1000
    assert fine.curvature == pytest.approx(exact, rel=1e-5)  # which is float32's


def test_a_network_with_kinks_is_told_from_the_curvature_at_the_point() -> None:
    model, loss, batches = network("batch norm and relu in place")
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(3)}
    exact = directional_curvature(model, loss, batches, directions)
    seen = finite_difference_curvature(model, loss, batches, directions)
    assert not any(seen[name].agrees_with(exact[name].curvature) for name in directions)
    # Steps of 1e-5 have no kink in them.
    closer = finite_difference_curvature(model, loss, batches, directions, dtype=torch.float64)
    assert all(closer[name].agrees_with(exact[name].curvature) for name in directions)


class Kink(nn.Module):
    """|x| + 3x²: at the kink the slope jumps by 2, and no second derivative at the point has that."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self) -> Tensor:
        return self.x.abs() + 3 * self.x.square()


def test_at_a_kink_the_curvature_grows_without_limit_and_is_not_agreed_to() -> None:
    model, directions = Kink(), {"u": {"x": torch.tensor(1.0)}}
    exact = directional_curvature(model, quadratic_loss, [NO_DATA], directions)["u"].curvature
    found = finite_difference_curvature(model, quadratic_loss, [NO_DATA], directions)["u"]
    assert exact == 6.0
    assert not found.agrees_with(exact) or found.bound == math.inf


def test_a_quadratic_is_exact_at_every_step_but_for_rounding() -> None:
    hessian = torch.tensor([2.0, -3.0], dtype=torch.float64).diag()
    model = Quadratic(hessian, torch.tensor([1.0, 1.0], dtype=torch.float64))
    found = finite_difference_curvature(model, quadratic_loss, [NO_DATA], {"u": {"point": torch.tensor([0.0, 5.0])}})[
        "u"
    ]
    assert found.curvature == pytest.approx(-3.0, abs=1e-11)
    assert found.bound < 1e-11


def test_a_direction_of_zero_has_none_and_a_callable_is_a_direction() -> None:
    model, loss, batches = network("mlp")
    real = random_direction(model, seed=0)
    zero = {name: torch.zeros_like(u) for name, u in real.items()}
    found = finite_difference_curvature(model, loss, batches, {"zero": zero, "real": real, "made": real.__getitem__})
    assert math.isnan(found["zero"].curvature)
    assert not found["zero"].agrees_with(0.0 * math.nan)
    assert found["made"] == found["real"]


def test_losses_that_overflow_at_large_steps_are_passed_over() -> None:
    model = Quadratic(torch.eye(2), torch.tensor([60.0, 60.0]))  # exp overflows float32 beyond 88

    def loss(m: Any, _: Batch) -> Tensor:
        return m.point.square().sum().sqrt().exp().log1p()  # type: ignore[no-any-return]

    found = finite_difference_curvature(model, loss, [NO_DATA], {"u": {"point": torch.ones(2)}})["u"]
    assert math.isfinite(found.curvature)


def test_it_leaves_no_trace() -> None:
    given = problem("convolutional")
    given.loss(given.model, given.probe_batches[0]).backward()
    before = Trace.of(given.model)
    finite_difference_curvature(
        given.model, given.loss, given.probe_batches, {"u": random_direction(given.model, seed=1)}
    )
    before.assert_unchanged(given.model)


def test_what_cannot_be_measured_is_refused() -> None:
    given = problem("mlp")
    direction = random_direction(given.model, seed=0)

    def of(batches: list[Batch], model: nn.Module = given.model) -> dict[str, FiniteDifference]:
        return finite_difference_curvature(model, lambda m, b: given.loss(m, b) * scale, batches, {"u": direction})

    scale = 1.0
    with pytest.raises(ClipbenchError, match="no batches"):
        of([])
    with pytest.raises(ClipbenchError, match="no trainable parameters"):
        of([NO_DATA], nn.Tanh())
    scale = math.nan
    with pytest.raises(NonFiniteLossError, match="batch 0 is nan"):
        of([replace(given.probe_batches[0])])
