"""Directional sharpness and slope of an update, on the probe batches and on its own."""

import math
from dataclasses import replace

import pytest
from oracles import dense_gradient, dense_hessian, flat
from reference.problems import problem
from reference.snapshots import snapshot
from torch import Tensor

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.probes.sharpness import measure
from clipbench.records import (
    DIRECTIONAL_SHARPNESS,
    DIRECTIONAL_SHARPNESS_ERROR,
    SAME_BATCH_SHARPNESS,
    SAME_BATCH_SLOPE,
    SLOPE,
    SLOPE_ERROR,
)


def by_dense(given: Problem, batches: list[Batch], u: Tensor) -> tuple[float, float]:
    """(sharpness, slope) in float64."""
    v = u.double() / u.double().norm()
    hessian = dense_hessian(given.model, given.loss, batches)
    return float(v @ hessian @ v), float(dense_gradient(given.model, given.loss, batches) @ v)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_it_is_the_dense_hessian_of_the_probe_batches_and_of_the_mini_batch(kind: str) -> None:
    held = snapshot(problem(kind))
    rows = {row[:2]: row[2] for row in measure(held)}
    u = flat(list(held.directions["own"].values()))
    for batches, sharpness, slope in (
        (held.problem.probe_batches, DIRECTIONAL_SHARPNESS, SLOPE),
        ([held.batch], SAME_BATCH_SHARPNESS, SAME_BATCH_SLOPE),
    ):
        exact = by_dense(held.problem, list(batches), u)
        # A float32 model against float64.
        assert rows["own", sharpness] == pytest.approx(exact[0], rel=1e-4, abs=1e-6)
        assert rows["own", slope] == pytest.approx(exact[1], rel=1e-4, abs=1e-6)
        assert rows["against", slope] == pytest.approx(-rows["own", slope], rel=1e-12)
        assert rows["against", sharpness] == pytest.approx(rows["own", sharpness], rel=1e-12)


def test_the_errors_are_those_of_a_weighted_mean_over_the_probe_batches() -> None:
    held = snapshot(problem("mlp"))
    rows = {row[:2]: row[2] for row in measure(held)}
    batches, u = held.problem.probe_batches, flat(list(held.directions["own"].values()))
    each = [by_dense(held.problem, [batch], u) for batch in batches]
    total = sum(batch.samples for batch in batches)
    for i, name in enumerate((DIRECTIONAL_SHARPNESS_ERROR, SLOPE_ERROR)):
        mean = sum(b.samples / total * values[i] for b, values in zip(batches, each, strict=True))
        squares = sum((b.samples / total * (values[i] - mean)) ** 2 for b, values in zip(batches, each, strict=True))
        assert rows["own", name] == pytest.approx(math.sqrt(squares * 3 / 2), rel=1e-3)  # float32 against float64


def test_fewer_batches_and_no_mini_batch_can_be_asked_for() -> None:
    held = snapshot(problem("mlp"))
    rows = {row[:2]: row[2] for row in measure(held, batches=1, same_batch=False)}
    assert {quantity for _, quantity in rows} == {DIRECTIONAL_SHARPNESS, SLOPE}  # one batch has no error
    first = by_dense(held.problem, [held.problem.probe_batches[0]], flat(list(held.directions["own"].values())))
    assert rows["own", DIRECTIONAL_SHARPNESS] == pytest.approx(first[0], rel=1e-4)
    with pytest.raises(ClipbenchError, match="0 probe batches"):
        list(measure(held, batches=0))


def test_another_chunk_says_the_same() -> None:
    held = snapshot(problem("transformer"))
    rows, apart = list(measure(held)), list(measure(held, chunk=1))
    assert [row[:2] for row in rows] == [row[:2] for row in apart]
    # Sums of float32 products in another order.
    assert [row[2] for row in rows] == pytest.approx([row[2] for row in apart], rel=1e-4, abs=1e-6)


def test_it_says_which_engine_ran() -> None:
    said: list[str] = []
    list(measure(replace(snapshot(problem("mlp")), remark=said.append)))
    assert set(said) == {"engine jets"}


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
