"""What every probe does with a loss or a step that is not sound: a new one is enrolled by being there."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from oracles import Trace
from reference.problems import problem
from reference.quadratics import on_a_quadratic, vector
from reference.snapshots import snapshot
from torch import Tensor

from clipbench import records
from clipbench.contracts import Batch, Snapshot
from clipbench.spec import catalogue

CURVATURES = {
    *(records.DIRECTIONAL_SHARPNESS, records.SAME_BATCH_SHARPNESS, records.LAMBDA_DIR, records.RATE_SHARPNESS),
    *(records.TAYLOR_BEST_STEP, records.TAYLOR_BEST_DECREASE, records.BATCH_SHARPNESS, "curvature_cost"),
    *("within_layer_sharpness", "cross_layer_sharpness", "lambda_max", "lambda_min", "hessian_trace"),
}

pytestmark = pytest.mark.parametrize("name", catalogue.names("probes"))


def probe(name: str) -> Callable[[Snapshot], Iterable[tuple[str, str, float]]]:
    measure: Callable[[Snapshot], Iterable[tuple[str, str, float]]] = import_module(f"clipbench.probes.{name}").measure
    return measure


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_for_the_loop_to_report(name: str, factor: float) -> None:
    held = snapshot(problem("mlp"))
    lost = replace(held.problem, loss=lambda model, batch: held.problem.loss(model, batch) * factor)
    before = Trace.of(held.problem.model)
    for _, _, value in probe(name)(replace(held, problem=lost)):
        assert type(value) is float
    before.assert_unchanged(held.problem.model)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.0, math.nan, math.inf])
def test_a_step_without_a_length_costs_no_other_its_rows(name: str, factor: float) -> None:
    held = snapshot(problem("mlp"))
    none = {parameter: u * factor for parameter, u in held.directions["own"].items()}
    rows = list(probe(name)(replace(held, directions={"none": none, **held.directions})))
    expected = list(probe(name)(held))
    assert [row[:2] for row in rows if row[0] != "none"] == [row[:2] for row in expected]
    assert not any(math.isfinite(value) for direction, quantity, value in rows if direction == "none" and factor)


@pytest.mark.parametrize("size", [3, 40])  # a Hessian that is written out, and one that is not
def test_a_curvature_that_is_not_finite_is_never_a_number(name: str, size: int) -> None:
    """At the zeros of x^1.5 − y^1.5, where there are slopes, and infinity − infinity for the curvature."""
    held = on_a_quadratic(torch.eye(size, dtype=torch.float64), vector(size, seed=0), own=vector(size, seed=1))
    with torch.no_grad():
        held.parameters["point"][1:3] = 0.0
    said: list[str] = []

    def loss(model: Any, _: Batch) -> Tensor:
        kinks = model.point[1:3].clamp(min=0).pow(1.5)
        return model.point.square().sum() + kinks[0] - kinks[1]  # type: ignore[no-any-return]

    bent = replace(held.problem, loss=loss)
    known = {row[:2] for row in probe(name)(held) if math.isfinite(row[2])}
    left = {row[:2] for row in probe(name)(replace(held, problem=bent, remark=said.append)) if math.isfinite(row[2])}
    assert not {quantity for _, quantity in left} & CURVATURES
    assert said or known <= left  # a number that is lost is remarked on
