"""Directional sharpness and slope of an update, on the probe batches."""

import math
from dataclasses import replace

import pytest
from oracles import dense_gradient, dense_hessian, flat
from reference.problems import problem
from reference.snapshots import snapshot

from clipbench.errors import ClipbenchError
from clipbench.probes.sharpness import measure
from clipbench.records import DIRECTIONAL_SHARPNESS, SLOPE


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_it_is_the_dense_hessian_of_the_probe_batches(kind: str) -> None:
    held = snapshot(problem(kind))
    rows = {row[:2]: row[2] for row in measure(held)}
    given = held.problem
    u = flat(list(held.directions["own"].values())).double()
    v = u / u.norm()
    hessian = dense_hessian(given.model, given.loss, given.probe_batches)
    gradient = dense_gradient(given.model, given.loss, given.probe_batches)
    # A float32 model against float64.
    assert rows["own", DIRECTIONAL_SHARPNESS] == pytest.approx(float(v @ hessian @ v), rel=1e-4, abs=1e-6)
    assert rows["own", SLOPE] == pytest.approx(float(gradient @ v), rel=1e-4, abs=1e-6)
    assert rows["against", SLOPE] == pytest.approx(-rows["own", SLOPE], rel=1e-12)
    assert rows["against", DIRECTIONAL_SHARPNESS] == pytest.approx(rows["own", DIRECTIONAL_SHARPNESS], rel=1e-12)


def test_a_loss_that_is_not_finite_gives_nan_and_lets_the_run_go_on() -> None:
    held = snapshot(problem("mlp"))
    broken = replace(held.problem, loss=lambda m, b: held.problem.loss(m, b) * math.inf)
    rows = list(measure(replace(held, problem=broken)))
    assert [row[:2] for row in rows] == [row[:2] for row in measure(held)]
    assert all(math.isnan(value) for _, _, value in rows)


def test_a_direction_of_another_model_is_an_error() -> None:
    held = snapshot(problem("mlp"))
    with pytest.raises(ClipbenchError, match="direction 'own' lacks"):
        list(measure(replace(held, problem=problem("transformer"))))
