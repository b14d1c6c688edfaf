"""The scale of curvature, against dense eigenvalues; an unconverged value is refused."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from oracles import dense_hessian
from reference.problems import problem
from reference.quadratics import on_a_quadratic, positive_definite, vector
from reference.snapshots import snapshot

from clipbench.errors import ClipbenchError
from clipbench.probes.sharpness import measure as sharpness
from clipbench.probes.spectrum import measure
from clipbench.records import DIRECTIONAL_SHARPNESS


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "transformer", "convolutional"])
def test_it_is_the_spectrum_of_the_dense_hessian_and_bounds_every_sharpness(kind: str) -> None:
    held = snapshot(problem(kind))
    held.problem.model.eval()
    rows = {row[1]: row[2] for row in measure(held)}
    exact = torch.linalg.eigvalsh(dense_hessian(held.problem.model, held.problem.loss, held.problem.probe_batches))
    # A float32 model against float64, and the residual by which the value may be wrong.
    rounding = 1e-5 * float(exact.abs().max())
    assert abs(rows["lambda_max"] - float(exact[-1])) <= rows["lambda_max_residual"] + rounding
    assert abs(rows["lambda_min"] - float(exact[0])) <= rows["lambda_min_residual"] + rounding
    assert rows["lambda_max_residual"] <= 0.01 * abs(rows["lambda_max"])
    assert abs(rows["hessian_trace"] - float(exact.sum())) < 5 * rows["hessian_trace_error"]
    for _, quantity, value in sharpness(held):
        if quantity == DIRECTIONAL_SHARPNESS:
            assert rows["lambda_min"] - rounding <= value <= rows["lambda_max"] + rounding


def test_what_has_not_converged_is_refused_and_said() -> None:
    said: list[str] = []
    crowded = torch.linspace(1, 1.0001, 400, dtype=torch.float64).diag()
    held = on_a_quadratic(crowded, vector(400, seed=1), own=vector(400, seed=2))
    rows = {row[1] for row in measure(replace(held, remark=said.append), tolerance=1e-12, products=20)}
    assert rows == {"hessian_trace", "hessian_trace_error"}
    assert said[:2] == [
        "the largest eigenvalue has not converged within 20 products",
        "the smallest eigenvalue has not converged within 20 products",
    ]


def test_a_residual_above_the_tolerance_is_refused_though_the_search_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from clipbench.geometry.spectrum import Eigenvalue
    from clipbench.probes import spectrum

    said: list[str] = []
    monkeypatch.setattr(spectrum, "eigenvalue", lambda *_, **__: Eigenvalue(1.0, 0.5))
    held = on_a_quadratic(positive_definite(30, seed=0), vector(30, seed=1), own=vector(30, seed=2))
    rows = {row[1] for row in measure(replace(held, remark=said.append))}
    assert rows == {"hessian_trace", "hessian_trace_error"}
    assert said[0] == "the largest eigenvalue is refused: its residual is above 0.01 of it"


@pytest.mark.slow
def test_it_is_the_same_for_a_step_and_another_for_the_next() -> None:
    held = on_a_quadratic(positive_definite(30, seed=0), vector(30, seed=1), own=vector(30, seed=2))
    assert list(measure(held)) == list(measure(held))
    traces = [dict(row[1:] for row in measure(replace(held, step=step)))["hessian_trace"] for step in (7, 8)]
    assert traces[0] != traces[1]


def test_more_memory_of_the_host_than_the_limit_is_refused() -> None:
    held = on_a_quadratic(positive_definite(30, seed=0), vector(30, seed=1), own=vector(30, seed=2))
    with pytest.raises(ClipbenchError, match=r"4.8e-06 GB of the host's memory, above the limit of 4e-06 GB"):
        list(measure(held, limit=4e-6))
    assert list(measure(held, limit="none")) == list(measure(held))


def test_a_loss_that_is_not_finite_is_said() -> None:
    held = snapshot(problem("mlp"))
    said: list[str] = []
    broken = replace(held.problem, loss=lambda m, b: held.problem.loss(m, b) * math.nan)
    assert list(measure(replace(held, problem=broken, remark=said.append))) == []
    assert said == ["left out where the loss is not finite"]


@pytest.mark.parametrize(
    "options", [{"tolerance": 0.0}, {"tolerance": 1.0}, {"tolerance": math.nan}, {"products": 0}, {"samples": 1}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ClipbenchError, match="spectrum"):
        list(measure(snapshot(problem("mlp")), **options))
