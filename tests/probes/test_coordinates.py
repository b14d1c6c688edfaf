"""Which coordinates carry an update, against a dense Hessian."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from oracles import dense_gradient, dense_hessian, flat
from reference.problems import problem
from reference.quadratics import on_a_quadratic, positive_definite, vector
from reference.snapshots import snapshot
from torch import Tensor

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.probes.coordinates import RANK_CORRELATION, measure

D = 20


def test_shares_and_what_is_left_are_those_of_the_dense_hessian() -> None:
    hessian, g, u = positive_definite(D, seed=0), vector(D, seed=1), vector(D, seed=2)
    rows = {row[1]: row[2] for row in measure(on_a_quadratic(hessian, g, own=u), percents=(10.0, 50.0))}
    order = u.abs().argsort(descending=True)
    for percent, count in ((10, 2), (50, 10)):
        top, rest = order[:count], order[count:]
        bend = hessian @ u
        assert rows[f"norm_share_top_{percent}%"] == pytest.approx(float(u[top] @ u[top] / (u @ u)), rel=1e-12)
        assert rows[f"curvature_share_top_{percent}%"] == pytest.approx(
            float(u[top] @ bend[top] / (u @ bend)), rel=1e-12
        )
        kept = u[rest] @ hessian[rest][:, rest] @ u[rest] / (u[rest] @ u[rest])
        assert rows[f"sharpness_without_top_{percent}%"] == pytest.approx(float(kept), rel=1e-12)
        drawn = torch.randperm(D, generator=torch.Generator().manual_seed(7))[:count]  # the snapshot's step
        rest = torch.tensor([i for i in range(D) if i not in drawn])
        kept = u[rest] @ hessian[rest][:, rest] @ u[rest] / (u[rest] @ u[rest])
        assert rows[f"sharpness_without_random_{percent}%"] == pytest.approx(float(kept), rel=1e-12)
    assert sum(share for name, share in rows.items() if name.startswith("share_of_coordinates")) == pytest.approx(1.0)


def test_one_bad_coordinate_is_found_and_its_removal_flattens_the_step() -> None:
    h = torch.ones(100, dtype=torch.float64)
    h[17] = 1e4
    g = vector(100, seed=3).sign()
    g[17] *= 10
    adam_like = g.sign()
    rows = {row[:2]: row[2] for row in measure(on_a_quadratic(h.diag(), g, sgd=-g, sign=-adam_like), percents=(1.0,))}
    assert rows["sgd", "curvature_share_top_1%"] == pytest.approx(1e6 / (1e6 + 99), rel=1e-12)
    assert rows["sgd", "norm_share_top_1%"] == pytest.approx(100 / 199, rel=1e-12)
    assert rows["sgd", "sharpness_without_top_1%"] == pytest.approx(1.0, rel=1e-12)
    assert rows["sgd", "sharpness_without_random_1%"] > 1e3
    assert rows["sgd", "share_of_coordinates_1e+01"] == pytest.approx(0.01)
    assert rows["sgd", "share_of_coordinates_1e+00"] == pytest.approx(0.99)


def test_random_coordinates_are_the_same_for_all_updates_of_a_step() -> None:
    h = torch.arange(1, 21, dtype=torch.float64)
    g, u = torch.ones(D, dtype=torch.float64), torch.ones(D, dtype=torch.float64)
    held = on_a_quadratic(h.diag(), g, one=u, other=3 * u)
    rows = {row[:2]: row[2] for row in measure(held, percents=(50.0,))}
    name = "sharpness_without_random_50%"
    assert rows["one", name] == pytest.approx(rows["other", name], rel=1e-12)
    later = {row[:2]: row[2] for row in measure(replace(held, step=8), percents=(50.0,))}
    assert later["one", name] != pytest.approx(rows["one", name], rel=1e-3)


def test_without_positive_curvature_there_are_no_shares_of_it() -> None:
    hessian, g, u = -positive_definite(D, seed=0), vector(D, seed=1), vector(D, seed=2)
    rows = {row[1]: row[2] for row in measure(on_a_quadratic(hessian, g, own=u))}
    assert not any(name.startswith("curvature_share") for name in rows)
    assert rows["sharpness_without_top_10%"] < 0
    assert "norm_share_top_10%" in rows


def test_the_rank_correlation_is_of_the_probe_gradient_and_the_product() -> None:
    held = snapshot(problem("mlp"))
    rows = {row[:2]: row[2] for row in measure(held)}
    given, u = held.problem, flat(list(held.directions["own"].values())).double()
    g = dense_gradient(given.model, given.loss, given.probe_batches).abs()
    bend = (dense_hessian(given.model, given.loss, given.probe_batches) @ u).abs()
    a, b = (x.argsort().argsort().double() for x in (g, bend))
    n = len(a)
    by_hand = 1 - 6 * float((a - b).square().sum()) / (n * (n**2 - 1))
    assert rows["own", RANK_CORRELATION] == pytest.approx(by_hand, abs=2e-3)  # neighbours swap in float32


def test_a_linear_loss_has_no_rank_correlation_and_zeros_have_a_place() -> None:
    g, u = vector(D, seed=1), vector(D, seed=2)
    u[:5] = 0
    held = on_a_quadratic(torch.eye(D, dtype=torch.float64), g, own=u)

    def the_sum(model: Any, _: Batch) -> Tensor:
        return model.point.sum()  # type: ignore[no-any-return]

    linear = replace(held.problem, loss=the_sum)
    rows = {row[1]: row[2] for row in measure(replace(held, problem=linear))}
    assert RANK_CORRELATION not in rows
    assert rows["share_of_coordinates_zero"] == 0.25


def test_a_step_of_one_coordinate_leaves_nothing_without_it() -> None:
    u = torch.zeros(D, dtype=torch.float64)
    u[3] = 2.0
    held = on_a_quadratic(positive_definite(D, seed=0), vector(D, seed=1), own=u)
    rows = {row[1]: row[2] for row in measure(held, percents=(1.0,))}
    assert rows["curvature_share_top_1%"] == pytest.approx(1.0, rel=1e-12)
    assert "sharpness_without_top_1%" not in rows


def test_what_has_no_length_or_no_loss_is_left_out_and_said() -> None:
    held = snapshot(problem("mlp"))
    said: list[str] = []
    none = {name: torch.zeros_like(u) for name, u in held.directions["own"].items()}
    assert list(measure(replace(held, directions={"none": none}, remark=said.append))) == []
    assert said == ["left out where the step along 'none' is zero or not finite"]
    broken = replace(held.problem, loss=lambda m, b: held.problem.loss(m, b) * math.nan)
    rows = list(measure(replace(held, problem=broken, remark=said.append)))
    assert all(quantity.startswith("share_of_coordinates") for _, quantity, _ in rows)
    assert said[-1] == "curvature left out where the loss is not finite"


def test_percents_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ClipbenchError, match="coordinates: percents"):
        list(measure(snapshot(problem("mlp")), percents=(100.0,)))


def test_only_the_directions_that_are_asked_for_are_looked_at() -> None:
    held = snapshot(problem("mlp"))
    every, one = list(measure(held)), list(measure(held, directions=("against", "a ghost that is not there")))
    assert one == [row for row in every if row[0] == "against"]
    assert len(one) < len(every)
