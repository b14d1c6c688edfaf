"""The loss along each update: on a quadratic the forward-only search is the curvature's own answer."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import flat, flat_loss
from reference.problems import problem
from reference.quadratics import on_a_quadratic, positive_definite, vector
from reference.snapshots import snapshot

from clipbench.errors import ClipbenchError
from clipbench.probes import landscape, taylor
from clipbench.probes.landscape import measure
from clipbench.records import (
    CRITICAL_SHARPNESS,
    LAMBDA_DIR,
    LINE_BEST_DECREASE,
    LINE_BEST_STEP,
    TAYLOR_BEST_DECREASE,
    TAYLOR_BEST_STEP,
)

D = 12


@pytest.mark.parametrize("length", [1e-4, 0.05, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_on_a_quadratic_looking_and_differentiating_agree(seed: int, length: float) -> None:
    """λ_c = 2/η_c = −uᵀHu/gᵀu, the best step is c/s and the best decrease c²/2s, whatever the length of u."""
    hessian, g = positive_definite(D, seed=seed), vector(D, seed=seed + 10)
    u = -length * (g + 0.3 * vector(D, seed=seed + 20))
    held = on_a_quadratic(hessian, g, own=u)
    seen = {row[1]: row[2] for row in measure(held)}
    told = {row[1]: row[2] for row in taylor.measure(held)}
    assert seen[CRITICAL_SHARPNESS] == pytest.approx(-float(u @ hessian @ u / (g @ u)), rel=1e-5)
    assert seen[CRITICAL_SHARPNESS] == pytest.approx(told[LAMBDA_DIR], rel=1e-5)
    assert seen[landscape.CRITICAL_STEP] == pytest.approx(2 / told[LAMBDA_DIR], rel=1e-5)
    assert seen[LINE_BEST_STEP] == pytest.approx(told[TAYLOR_BEST_STEP], rel=1e-3)
    assert seen[LINE_BEST_DECREASE] == pytest.approx(told[TAYLOR_BEST_DECREASE], rel=1e-6)


def test_a_networks_line_is_that_of_its_moved_weights() -> None:
    held = snapshot(problem("transformer"))
    rows = {row[:2]: row[2] for row in measure(held, multiples=(0.5, 8.0))}
    given = held.problem
    function, point = flat_loss(given.model, given.loss, given.probe_batches)
    u = flat(list(held.directions["own"].values())).double()
    for t in (-8.0, -0.5, 0.5, 8.0):
        exact = float(function(point + t * u).detach() - function(point).detach())
        # Two float32 losses of about 2.
        assert rows["own", f"line_change_at_{t:+g}u"] == pytest.approx(exact, abs=2e-6)
        # "against" is −2u.
        assert rows["against", f"line_change_at_{t:+g}u"] == pytest.approx(
            float(function(point - 2 * t * u).detach() - function(point).detach()), abs=2e-6
        )


def test_the_best_and_the_critical_step_of_a_network_are_what_they_say() -> None:
    held = snapshot(problem("transformer"))
    rows = {row[:2]: row[2] for row in measure(held)}
    given = held.problem
    function, point = flat_loss(given.model, given.loss, given.probe_batches)
    u = flat(list(held.directions["own"].values())).double()

    def change(t: float) -> float:
        return float(function(point + t * u).detach() - function(point).detach())

    critical = rows["own", landscape.CRITICAL_STEP]
    assert change(0.99 * critical) < 0 < change(1.01 * critical)
    best = rows["own", LINE_BEST_STEP] / float(u.norm())
    assert change(best) == pytest.approx(-rows["own", LINE_BEST_DECREASE], abs=2e-6)  # float32 losses of about 2
    assert change(best) < min(change(0.8 * best), change(1.2 * best))
    assert ("against", LINE_BEST_STEP) not in rows  # uphill
    assert ("against", CRITICAL_SHARPNESS) not in rows


def test_what_is_not_bracketed_is_left_out_and_said() -> None:
    said: list[str] = []
    falling = on_a_quadratic(-torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64), own=-torch.ones(2))
    rows = {row[1] for row in measure(replace(falling, remark=said.append))}
    assert rows == {f"line_change_at_{sign * 4.0**k:+g}u" for sign in (1, -1) for k in range(-3, 4)}
    assert any("along 'own', the loss is still below its start" in text for text in said)
    assert any("along 'own', the loss still falls" in text for text in said)


def test_without_a_step_or_a_loss_there_is_no_line() -> None:
    held = snapshot(problem("mlp"))
    said: list[str] = []
    none = {name: torch.zeros_like(u) for name, u in held.directions["own"].items()}
    assert list(measure(replace(held, directions={"none": none}, remark=said.append))) == []
    broken = replace(held.problem, loss=lambda m, b: held.problem.loss(m, b) * math.nan)
    assert list(measure(replace(held, problem=broken, remark=said.append))) == []
    assert said == [
        "left out where the step along 'none' is zero or not finite",
        "left out where the loss is not finite",
    ]


def test_where_the_loss_is_not_finite_it_has_no_row() -> None:
    rows = {row[:2] for row in measure(snapshot(problem("transformer")), multiples=(1.0, 1e30))}
    assert ("own", "line_change_at_+1u") in rows
    assert ("own", "line_change_at_+1e+30u") not in rows


@pytest.mark.parametrize("multiples", [(), (0.0,), (-1.0,), (1.0, 1.0), (1e31,), (math.nan,)])
def test_multiples_that_make_no_sense_are_refused(multiples: tuple[float, ...]) -> None:
    with pytest.raises(ClipbenchError, match="positive numbers up to"):
        list(measure(snapshot(problem("mlp")), multiples=multiples))
