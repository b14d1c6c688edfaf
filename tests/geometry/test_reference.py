"""The plain form of the directional sharpness, by hand and against every engine."""

import math

import pytest
import torch
from oracles import dense_hessian, flat
from reference.networks import NETWORKS, network
from reference.problems import random_direction
from torch import Tensor, nn

from clipbench.geometry.curvature import CurvatureEngine, directional_curvature
from clipbench.geometry.reference import sharpness_by_double_backward

NAMES = list(NETWORKS)


def of_a_network(name: str, seed: int) -> tuple[float, float]:
    """The plain form on a batch in float64, and uᵀHu/‖u‖² by its dense Hessian."""
    model, loss, [batch, _] = network(name, dtype=torch.float64)
    direction = random_direction(model, seed=seed)
    weights = [model.get_parameter(each) for each in direction]
    u = flat(list(direction.values()))
    exact = float(u @ dense_hessian(model, loss, [batch]) @ u / u.square().sum())
    return sharpness_by_double_backward(lambda: loss(model, batch), weights, list(direction.values())), exact


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_dense_hessian(name: str) -> None:
    plain, exact = of_a_network(name, seed=3)
    assert plain == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ["jets", "adjoint", "double_backward"])
def test_every_engine_agrees_with_it(name: str, engine: CurvatureEngine) -> None:
    model, loss, [batch, _] = network(name, dtype=torch.float64)
    direction = random_direction(model, seed=4)
    weights = [model.get_parameter(each) for each in direction]
    plain = sharpness_by_double_backward(lambda: loss(model, batch), weights, list(direction.values()))
    found = directional_curvature(model, loss, [batch], {"u": direction}, engine=engine)["u"]
    assert found.curvature == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("length", [-3.0, 1e-9, 1e9])
def test_the_length_and_the_sign_of_the_direction_do_not_matter(length: float) -> None:
    x = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    u = torch.tensor([0.6, 0.8], dtype=torch.float64)

    def loss() -> Tensor:
        return x.pow(4).sum()

    by_hand = 12 * (0.6**2 * 1.0 + 0.8**2 * 4.0)  # the Hessian is diagonal, 12x²
    assert sharpness_by_double_backward(loss, [x], [length * u]) == pytest.approx(by_hand, rel=1e-12)


def test_a_linear_loss_has_none_a_parameter_may_take_no_part_and_zeros_are_no_direction() -> None:
    x, idle = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    along = [torch.ones(2), torch.ones(3)]
    assert sharpness_by_double_backward(lambda: 5 * x.sum(), [x, idle], along) == 0.0
    assert sharpness_by_double_backward(lambda: x.square().sum(), [x, idle], along) == pytest.approx(2 * 2 / 5)
    assert math.isnan(sharpness_by_double_backward(lambda: x.square().sum(), [x], [torch.zeros(2)]))
