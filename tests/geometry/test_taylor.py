"""The ledger of a step, against closed forms."""

import math

import pytest
import torch
from reference.problems import NO_DATA
from reference.quadratics import on_a_quadratic, positive_definite, vector
from torch import Tensor, nn

from clipbench.geometry.curvature import directional_curvature
from clipbench.geometry.objective import Objective
from clipbench.geometry.taylor import TaylorLedger, taylor_ledgers


def ledger_of(hessian: Tensor, gradient: Tensor, u: Tensor) -> TaylorLedger:
    held = on_a_quadratic(hessian, gradient, own=u)
    given = held.problem
    found = directional_curvature(given.model, given.loss, given.probe_batches, held.directions)
    return taylor_ledgers(Objective(given.model, given.loss, given.probe_batches), held.directions, found)["own"]


def test_on_a_quadratic_the_model_is_the_loss() -> None:
    hessian, g, u = positive_definite(12, seed=0), vector(12, seed=1), vector(12, seed=2)
    found = ledger_of(hessian, g, u)
    assert found.gain == pytest.approx(-float(g @ u), rel=1e-12)
    assert found.cost == pytest.approx(0.5 * float(u @ hessian @ u), rel=1e-12)
    assert found.predicted_change == pytest.approx(found.cost - found.gain, rel=1e-15)
    assert found.observed_change == pytest.approx(found.predicted_change, rel=1e-12)
    assert abs(found.residual) <= found.rounding
    assert found.cosine == pytest.approx(-float(g @ u / (g.norm() * u.norm())), rel=1e-12)


def test_the_best_step_along_the_gradient_is_cauchys() -> None:
    hessian, g = positive_definite(12, seed=3), vector(12, seed=4)
    found = ledger_of(hessian, g, -0.01 * g)
    bend = float(g @ hessian @ g)
    assert found.has_minimum
    assert found.cosine == pytest.approx(1.0, rel=1e-12)
    assert found.best_step == pytest.approx(float(g @ g) / bend * float(g.norm()), rel=1e-12)
    assert found.best_decrease == pytest.approx(float(g @ g) ** 2 / (2 * bend), rel=1e-12)
    assert found.lambda_dir == pytest.approx(0.01 * bend / float(g @ g), rel=1e-12)


def test_going_there_takes_off_what_was_promised() -> None:
    hessian, g = positive_definite(12, seed=3), vector(12, seed=4)
    best = ledger_of(hessian, g, -g).best_step
    there = ledger_of(hessian, g, -best * g / g.norm())
    assert there.observed_change == pytest.approx(-there.best_decrease, rel=1e-12)


@pytest.mark.parametrize(
    ("curvatures", "step"), [((2.0, -3.0), (0.0, -2.0)), ((2.0, 3.0), (1.0, 1.0)), ((-2.0, -3.0), (1.0, 1.0))]
)
def test_without_a_minimum_ahead_there_is_no_best_step(curvatures: tuple[float, ...], step: tuple[float, ...]) -> None:
    """Down a negative curvature, up a positive one, up a negative one."""
    h, u = torch.tensor(curvatures, dtype=torch.float64), torch.tensor(step, dtype=torch.float64)
    g = torch.ones(2, dtype=torch.float64)
    found = ledger_of(h.diag(), g, u)
    assert not found.has_minimum
    assert math.isnan(found.best_step)
    assert math.isnan(found.best_decrease)
    assert found.observed_change == pytest.approx(float(g @ u + 0.5 * (h * u * u).sum()), rel=1e-12)
    if found.slope < 0:
        assert found.lambda_dir == pytest.approx(-float((h * u * u).sum() / (g @ u)), rel=1e-12)
    else:
        assert math.isnan(found.lambda_dir)


def test_at_a_stationary_point_there_is_no_cosine() -> None:
    found = ledger_of(torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), vector(2, seed=0))
    assert found.gradient_norm == 0.0
    assert math.isnan(found.cosine)
    assert not found.has_minimum


class Cubic(nn.Module):
    """L(x) = x + x² + 5x³, from x = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self) -> Tensor:
        return self.x + self.x**2 + 5 * self.x**3


def test_the_residual_is_the_third_order() -> None:
    model = Cubic()
    objective = Objective(model, lambda m, _: m(), [NO_DATA])
    steps = {str(h): {"x": torch.tensor(h, dtype=torch.float64)} for h in (0.1, -0.2)}
    found = taylor_ledgers(objective, steps, directional_curvature(model, objective.loss, [NO_DATA], steps))
    assert found["0.1"].residual == pytest.approx(5 * 0.1**3, rel=1e-12)
    assert found["-0.2"].residual == pytest.approx(-5 * 0.2**3, rel=1e-12)
