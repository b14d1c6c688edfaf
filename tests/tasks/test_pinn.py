import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.geometry.curvature import directional_curvature
from clipbench.tasks.pinn import build, solution, source

CPU = torch.device("cpu")


class Known(nn.Module):
    """A function of x that is no network, times a parameter of 1."""

    def __init__(self, frequency: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.frequency = frequency

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * solution(x, self.frequency)


def evaluated(problem: Problem, model: nn.Module) -> tuple[float, float]:
    (batch,) = problem.eval_batches
    with torch.no_grad():
        error, whole = problem.metrics["squared_error"](model, batch)
        return problem.loss(model, batch).item(), float(error) / float(whole)


@pytest.mark.parametrize("frequency", [2, 4, 7])
def test_the_source_is_minus_the_second_derivative_of_the_solution_which_is_zero_at_both_ends(frequency: int) -> None:
    x, h = torch.linspace(0.1, 0.9, 33, dtype=torch.float64), 1e-4
    bend = (solution(x + h, frequency) - 2 * solution(x, frequency) + solution(x - h, frequency)) / h**2
    torch.testing.assert_close(-bend, source(x, frequency), rtol=1e-4, atol=1e-4)
    ends = solution(torch.tensor([0.0, 1.0], dtype=torch.float64), frequency)
    assert ends.abs().max() < 1e-12


@pytest.mark.parametrize("frequency", [2, 4])
def test_the_solution_has_no_loss_and_no_error_and_zero_has_all_of_both(frequency: int) -> None:
    problem = build(0, CPU, frequency=frequency)
    known = Known(frequency)
    loss, error = evaluated(problem, known)
    assert loss == pytest.approx(0, abs=1e-8)
    assert error == 0
    with torch.no_grad():
        known.factor.zero_()
    assert evaluated(problem, known) == pytest.approx((1, 1), rel=1e-5)  # on an even grid the mean square is exact


def test_half_the_solution_has_a_quarter_of_the_loss_and_of_the_squared_error() -> None:
    problem, known = build(0, CPU), Known(4)
    with torch.no_grad():
        known.factor.fill_(0.5)
    assert evaluated(problem, known) == pytest.approx((0.25, 0.25), rel=1e-4)


def test_the_network_is_zero_at_both_ends_whatever_its_weights() -> None:
    for seed in range(3):
        assert build(seed, CPU).model(torch.tensor([0.0, 1.0])).eq(0).all()


def test_the_loss_holds_the_networks_second_derivative() -> None:
    problem = build(0, CPU)
    model = problem.model.double()
    x, h = torch.linspace(0.1, 0.9, 9, dtype=torch.float64), 1e-4
    with torch.no_grad():
        bend = (model(x + h) - 2 * model(x) + model(x - h)) / h**2
    batch = Batch({"x": x, "source": source(x, 4)}, samples=9)
    expected = (bend + source(x, 4)).square().mean() / (math.pi**4 * 17 / 2)
    torch.testing.assert_close(problem.loss(model, batch), expected, rtol=1e-5, atol=1e-8)


def test_the_loss_is_the_same_where_gradients_are_off_and_then_carries_no_graph() -> None:
    problem = build(0, CPU)
    batch = next(problem.train_batches(0))
    loss = problem.loss(problem.model, batch)
    with torch.no_grad():
        quiet = problem.loss(problem.model, batch)
    assert torch.equal(loss, quiet)
    assert loss.requires_grad
    assert not quiet.requires_grad
    assert not batch["x"].requires_grad


@pytest.mark.parametrize("option", ["width", "batch"])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a positive number, not 0"):
        build(0, CPU, **{option: 0})


def test_a_frequency_that_is_no_second_one_is_refused() -> None:
    with pytest.raises(ValueError, match="frequency must be at least 2, not 1"):
        build(0, CPU, frequency=1)


def test_its_curvature_is_that_of_double_backward() -> None:
    problem = build(0, CPU, width=8, batch=8)
    draw = torch.Generator().manual_seed(0)
    along = {name: torch.randn(weight.shape, generator=draw) for name, weight in problem.model.named_parameters()}
    measure = partial(
        directional_curvature, problem.model, problem.loss, problem.probe_batches, {"along": along}, chunk=1
    )
    measured, exact = measure(), measure(engine="double_backward")
    assert measured.engine == "double_backward"
    assert measured["along"].curvature == exact["along"].curvature
