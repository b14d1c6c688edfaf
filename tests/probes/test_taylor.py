"""The ledger of each update, against closed forms and a dense Hessian."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import dense_gradient, dense_hessian, flat
from reference.problems import problem
from reference.quadratics import on_a_quadratic, positive_definite, vector
from reference.snapshots import snapshot

from clipbench.probes import taylor
from clipbench.probes.taylor import measure
from clipbench.records import COSINE, LAMBDA_DIR, RATE_SHARPNESS, TAYLOR_BEST_DECREASE, TAYLOR_BEST_STEP

D = 12


def test_on_a_quadratic_all_has_its_closed_form() -> None:
    hessian, g = positive_definite(D, seed=0), vector(D, seed=1)
    u = -0.05 * g
    rows = {row[1]: row[2] for row in measure(on_a_quadratic(hessian, g, rate=0.05, own=u))}
    bend, along = float(u @ hessian @ u), float(g @ u)
    expected = {
        taylor.GAIN: -along,
        taylor.COST: bend / 2,
        taylor.PREDICTED: along + bend / 2,
        taylor.OBSERVED: along + bend / 2,
        COSINE: 1.0,
        LAMBDA_DIR: -bend / along,
        taylor.MINIMUM_AHEAD: 1.0,
        TAYLOR_BEST_STEP: -along / bend * float(u.norm()),
        TAYLOR_BEST_DECREASE: along**2 / (2 * bend),
        RATE_SHARPNESS: 0.05 * bend / float(u @ u),
    }
    assert rows.keys() - expected.keys() == {taylor.RESIDUAL, taylor.ROUNDING}
    assert {name: rows[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert abs(rows[taylor.RESIDUAL]) <= rows[taylor.ROUNDING]


def test_every_direction_has_its_own_point_of_view_and_rate() -> None:
    hessian, g = positive_definite(D, seed=0), vector(D, seed=1)
    held = on_a_quadratic(hessian, g, own=-g, ghost=g.sign(), rateless=-g)
    held = replace(held, learning_rates={"own": 0.5, "ghost": 2.0, "rateless": math.nan})
    rows = {row[:2]: row[2] for row in measure(held)}
    assert rows["own", RATE_SHARPNESS] == pytest.approx(0.5 * float(g @ hessian @ g / (g @ g)), rel=1e-12)
    assert rows["ghost", RATE_SHARPNESS] == pytest.approx(2 * float(g.sign() @ hessian @ g.sign()) / D, rel=1e-12)
    assert ("rateless", RATE_SHARPNESS) not in rows
    assert rows["ghost", COSINE] == pytest.approx(-float(g.abs().sum() / (g.norm() * math.sqrt(D))), rel=1e-12)


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ((0.0, -2.0), {LAMBDA_DIR}),  # down a negative curvature
        ((1.0, 0.0), set()),  # up a positive one
        ((0.0, 1.0), set()),  # up a negative one
    ],
)
def test_without_a_minimum_ahead_the_best_step_is_left_out_and_counted(step: tuple[float, ...], left: set[str]) -> None:
    held = on_a_quadratic(
        torch.tensor([2.0, -3.0], dtype=torch.float64).diag(),
        torch.ones(2, dtype=torch.float64),
        own=torch.tensor(step, dtype=torch.float64),
    )
    rows = {row[1]: row[2] for row in measure(held)}
    assert rows[taylor.MINIMUM_AHEAD] == 0.0
    assert rows.keys() & {TAYLOR_BEST_STEP, TAYLOR_BEST_DECREASE, LAMBDA_DIR} == left
    assert rows.get(LAMBDA_DIR, -1.0) < 0
    assert rows[taylor.COST] == pytest.approx(step[0] ** 2 - 1.5 * step[1] ** 2, rel=1e-12)


def test_at_a_stationary_point_there_is_no_cosine() -> None:
    held = on_a_quadratic(torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), own=vector(2, seed=0))
    assert COSINE not in {quantity for _, quantity, _ in measure(held)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_on_a_network_it_is_the_dense_hessian_on_both_kinds_of_batches(kind: str) -> None:
    held = snapshot(problem(kind))
    given, u = held.problem, flat(list(held.directions["own"].values())).double()
    rows = {row[:2]: row[2] for row in measure(held, same_batch=True)}
    for before, batches in (("", given.probe_batches), (taylor.SAME_BATCH, [held.batch])):
        gain = -float(dense_gradient(given.model, given.loss, batches) @ u)
        cost = 0.5 * float(u @ dense_hessian(given.model, given.loss, batches) @ u)
        # A float32 model against float64.
        assert rows["own", before + taylor.GAIN] == pytest.approx(gain, rel=1e-4, abs=1e-7)
        assert rows["own", before + taylor.COST] == pytest.approx(cost, rel=1e-4, abs=1e-7)
        residual = rows["own", before + taylor.OBSERVED] - rows["own", before + taylor.PREDICTED]
        assert rows["own", before + taylor.RESIDUAL] == pytest.approx(residual, rel=1e-12)
        assert abs(residual) < 0.1 * abs(gain) + rows["own", before + taylor.ROUNDING]  # a short step
    assert rows["own", COSINE] == pytest.approx(-rows["against", COSINE], rel=1e-12)


def test_a_step_to_where_there_is_no_loss_has_no_observed_change() -> None:
    held = snapshot(problem("transformer"))
    far = {name: u * 1e30 for name, u in held.directions["own"].items()}
    rows = {row[1] for row in measure(replace(held, directions={"own": far}))}
    assert taylor.GAIN in rows
    assert not rows & {taylor.OBSERVED, taylor.RESIDUAL, taylor.ROUNDING}


def test_what_has_no_length_or_no_loss_is_left_out_and_said() -> None:
    held = snapshot(problem("mlp"))
    said: list[str] = []
    none = {name: torch.zeros_like(u) for name, u in held.directions["own"].items()}
    rows = list(measure(replace(held, directions={**held.directions, "none": none}, remark=said.append)))
    assert {row[0] for row in rows} == {"own", "against"}
    assert said == ["engine jets", "left out where the step along 'none' is zero or its curvature is not finite"]
    broken = replace(held.problem, loss=lambda m, b: held.problem.loss(m, b) * math.nan)
    assert list(measure(replace(held, problem=broken, remark=said.append))) == []
    assert said[-1] == "left out where the loss is not finite"
