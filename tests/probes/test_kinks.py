"""Finite steps agree with derivatives where the loss is smooth, and the probe says where they do not."""

from dataclasses import replace

import pytest
import torch
from reference.networks import network
from reference.problems import problem, random_direction
from reference.snapshots import snapshot

from clipbench.contracts import Problem, Snapshot
from clipbench.geometry.curvature import directional_curvature
from clipbench.probes.kinks import measure


def of_a_network(name: str) -> Snapshot:
    model, loss, batches = network(name)
    made = Problem(model, loss, lambda _: iter(batches), batches, batches)
    return Snapshot(
        step=1,
        problem=made,
        batch=batches[0],
        parameters=dict(model.named_parameters()),
        gradient={},
        directions={"a": random_direction(model, seed=0), "b": random_direction(model, seed=1)},
    )


def test_a_smooth_loss_is_not_kinked_and_is_seen_within_the_bound() -> None:
    held = snapshot(problem("mlp"))
    rows = {(direction, quantity): value for direction, quantity, value in measure(held)}
    given = held.problem
    exact = directional_curvature(given.model, given.loss, given.probe_batches, held.directions)
    for name in ("own", "against"):
        off = abs(rows[name, "finite_difference_sharpness"] - exact[name].curvature)
        assert off <= rows[name, "finite_difference_bound"]
        assert rows[name, "kinked"] == 0.0


def test_a_network_of_relus_is_kinked_and_a_remark_names_the_direction() -> None:
    said: list[str] = []
    held = replace(of_a_network("batch norm and relu in place"), remark=said.append)
    rows = {(direction, quantity): value for direction, quantity, value in measure(held)}
    assert rows["a", "kinked"] == rows["b", "kinked"] == 1.0
    assert "finite steps along 'a' disagree with the curvature at the point" in said


@pytest.mark.parametrize("factor", [0.0, torch.nan])
def test_a_step_without_a_length_is_left_out_and_said(factor: float) -> None:
    said: list[str] = []
    held = snapshot(problem("mlp"))
    none = {name: u * factor for name, u in held.directions["own"].items()}
    rows = list(measure(replace(held, directions={"none": none}, remark=said.append)))
    assert rows == []
    assert any("'none' is not finite" in text for text in said)
