"""Eigenvalues and trace against dense matrices; what has not converged is no value."""

import math

import pytest
import torch
from oracles import dense_hessian
from reference.problems import NO_DATA, Quadratic, problem, quadratic_loss
from reference.quadratics import positive_definite
from torch import Tensor

from clipbench.geometry.curvature import directional_curvature
from clipbench.geometry.objective import Objective
from clipbench.geometry.spectrum import Eigenvalue, SpectrumEnd, eigenvalue, random_signs, trace


def objective_of(hessian: Tensor) -> Objective:
    return Objective(Quadratic(hessian, torch.ones(len(hessian), dtype=torch.float64)), quadratic_loss, [NO_DATA])


def both_ends(eigenvalues: Tensor) -> tuple[tuple[SpectrumEnd, Tensor], tuple[SpectrumEnd, Tensor]]:
    """Of the eigenvalues in rising order, the last and the first."""
    return ("largest", eigenvalues[-1]), ("smallest", eigenvalues[0])


def found(objective: Objective, end: SpectrumEnd, *, products: int = 400) -> Eigenvalue | str:
    return eigenvalue(objective, end, tolerance=1e-6, products=products, seed=1)


@pytest.mark.parametrize("size", [1, 2, 20, 21, 60])
def test_both_ends_are_those_of_the_matrix(size: int) -> None:
    hessian = positive_definite(size, seed=size) - 0.7 * torch.eye(size, dtype=torch.float64)
    exact = torch.linalg.eigvalsh(hessian)
    for end, value in both_ends(exact):
        result = found(objective_of(hessian), end)
        assert isinstance(result, Eigenvalue)
        assert result.has_converged(1e-6)
        assert abs(result.value - float(value)) <= result.residual + 1e-12 * float(exact.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_a_networks_are_those_of_its_dense_hessian(kind: str) -> None:
    given = problem(kind)
    exact = torch.linalg.eigvalsh(dense_hessian(given.model, given.loss, given.probe_batches))
    objective = Objective(given.model, given.loss, given.probe_batches)
    for end, value in both_ends(exact):
        result = eigenvalue(objective, end, tolerance=1e-3, products=400, seed=1)
        assert isinstance(result, Eigenvalue)
        # A float32 model's products against float64.
        assert abs(result.value - float(value)) <= result.residual + 1e-5 * float(exact.abs().max())


def test_what_has_not_converged_within_its_products_is_no_value() -> None:
    crowded = torch.linspace(1, 1.0001, 400, dtype=torch.float64)  # ends that Lanczos cannot tell from their neighbours
    result = eigenvalue(objective_of(crowded.diag()), "smallest", tolerance=1e-12, products=20, seed=1)
    assert result == "the smallest eigenvalue has not converged within 20 products"


def test_a_hessian_of_zero_is_no_value_where_lanczos_cannot_start() -> None:
    zero = objective_of(torch.zeros(40, 40, dtype=torch.float64))
    assert "was not found" in str(found(zero, "largest"))
    assert found(objective_of(torch.zeros(3, 3, dtype=torch.float64)), "largest") == Eigenvalue(0.0, 0.0)


def test_a_residual_is_judged_by_the_size_of_the_value() -> None:
    assert Eigenvalue(-2.0, 0.02).has_converged(0.01)
    assert not Eigenvalue(2.0, 0.021).has_converged(0.01)
    assert not Eigenvalue(2.0, math.nan).has_converged(0.01)


def estimated(hessian: Tensor, *, samples: int) -> tuple[float, float]:
    objective = objective_of(hessian)
    signs = {str(i): random_signs(objective, seed=i) for i in range(samples)}
    assert all(set(z["point"].tolist()) <= {-1.0, 1.0} for z in signs.values())
    along = directional_curvature(objective.model, objective.loss, objective.batches, signs)
    return trace({name: one.curvature for name, one in along.items()}, objective.size)


def test_the_trace_of_a_diagonal_needs_one_sample() -> None:
    diagonal = torch.linspace(-1, 5, 30, dtype=torch.float64)
    value, error = estimated(diagonal.diag(), samples=2)
    assert value == pytest.approx(float(diagonal.sum()), rel=1e-12)
    assert error == pytest.approx(0.0, abs=1e-10)
    assert math.isnan(estimated(diagonal.diag(), samples=1)[1])


def test_the_traces_error_is_what_its_samples_differ_by() -> None:
    """Var[zᵀHz] = 2·Σ_{i≠j} Hᵢⱼ² for random signs; the estimate is within four of the standard errors it tells."""
    hessian = positive_definite(30, seed=9)
    value, error = estimated(hessian, samples=200)
    off = hessian - hessian.diag().diag()
    assert error == pytest.approx(math.sqrt(2 * float(off.square().sum()) / 200), rel=0.25)  # 200 samples of a variance
    assert abs(value - float(hessian.trace())) < 4 * error
