"""Slope and curvature against a dense Hessian in float64 and against finite differences, on each kind of model."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from oracles import (
    Trace,
    central_difference,
    dense_gradient,
    dense_hessian,
    flat,
    flat_loss,
    second_difference,
)
from reference.problems import NO_DATA, problem, random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.geometry.curvature import DirectionalCurvature, directional_curvature

KINDS = ["mlp", "transformer", "convolutional"]


def wide(kind: str) -> Problem:
    """The problem in float64, with batch statistics that are not their defaults."""
    given = problem(kind)
    given.model.double()
    for name, buffer in given.model.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(0.3)

    def widen(batch: Batch) -> Batch:
        return replace(batch, tensors={n: t.double() if t.is_floating_point() else t for n, t in batch.tensors.items()})

    return replace(given, probe_batches=[widen(batch) for batch in given.probe_batches])


def measured(given: Problem, *directions: Mapping[str, Tensor]) -> list[DirectionalCurvature]:
    named = {str(i): direction for i, direction in enumerate(directions)}
    results = directional_curvature(given.model, given.loss, given.probe_batches, named)
    return [results[name] for name in named]


def unit(direction: Mapping[str, Tensor]) -> Tensor:
    vector = flat(list(direction.values())).double()
    return vector / vector.norm()  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_dense_hessian_in_float64(kind: str) -> None:
    given = wide(kind)
    directions = [random_direction(given.model, seed=seed) for seed in range(3)]
    gradient = dense_gradient(given.model, given.loss, given.probe_batches)
    hessian = dense_hessian(given.model, given.loss, given.probe_batches)
    for direction, found in zip(directions, measured(given, *directions), strict=True):
        v = unit(direction)
        assert found.slope == pytest.approx(float(gradient @ v), rel=1e-9)
        assert found.curvature == pytest.approx(float(v @ hessian @ v), rel=1e-9)
        assert found.norm == pytest.approx(float(flat(list(direction.values())).norm()), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_finite_differences_say(kind: str) -> None:
    given = wide(kind)
    direction = random_direction(given.model, seed=5)
    (found,) = measured(given, direction)
    function, point = flat_loss(given.model, given.loss, given.probe_batches)
    # Truncation O(h²) and rounding 1e-16/h, 1e-16/h²: about 1e-9 and 1e-6 at these steps.
    assert found.slope == pytest.approx(
        central_difference(function, point, unit(direction), step=1e-5), rel=1e-6, abs=1e-8
    )
    assert found.curvature == pytest.approx(
        second_difference(function, point, unit(direction), step=1e-4), rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_curvature_is_the_change_of_the_slope(kind: str) -> None:
    given = wide(kind)
    direction = random_direction(given.model, seed=6)
    (found,) = measured(given, direction)
    step = 1e-5

    def slope_at(sign: int) -> float:
        moved = copy.deepcopy(given)
        offset = unit(direction) * step * sign
        start = nn.utils.parameters_to_vector(given.model.parameters()).detach()
        nn.utils.vector_to_parameters(start + offset, moved.model.parameters())
        return measured(moved, direction)[0].slope

    # Central differences: O(h²) = 1e-10 of truncation, about 1e-11 of rounding.
    assert found.curvature == pytest.approx((slope_at(1) - slope_at(-1)) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_models_agree_with_float64(kind: str) -> None:
    single, double = problem(kind), wide(kind)
    for name, buffer in single.model.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(0.3)
    direction = random_direction(single.model, seed=7)
    (found,) = measured(single, direction)
    (exact,) = measured(double, {name: u.double() for name, u in direction.items()})
    # Float32 gradients carry 1e-7 a term; the sums partly cancel.
    assert found.slope == pytest.approx(exact.slope, rel=1e-4, abs=1e-6)
    assert found.curvature == pytest.approx(exact.curvature, rel=1e-4, abs=1e-6)


def test_length_does_not_matter_and_the_sign_turns_the_slope_alone() -> None:
    given = problem("transformer")
    direction = random_direction(given.model, seed=8)
    variants = [{n: u * factor for n, u in direction.items()} for factor in (1.0, -1.0, 2.0**40, 2.0**-80, 3.7e-5)]
    plain, turned, long, tiny, odd = measured(given, *variants)
    assert (turned.slope, turned.curvature) == (-plain.slope, plain.curvature)
    for other in (long, tiny):
        assert (other.slope, other.curvature) == (plain.slope, plain.curvature)
    assert tiny.norm == plain.norm * 2.0**-80
    # Scaling by 3.7e-5 rounds each float32 coordinate.
    assert odd.curvature == pytest.approx(plain.curvature, rel=1e-4)


def test_directions_measured_together_are_those_measured_alone() -> None:
    given = problem("transformer")
    first, second = (random_direction(given.model, seed=seed) for seed in (1, 2))
    assert measured(given, first, second) == [*measured(given, first), *measured(given, second)]


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_batches_count_by_the_terms_in_their_loss(kind: str) -> None:
    given = wide(kind)
    direction = random_direction(given.model, seed=9)
    together = Batch(
        tensors={n: torch.cat([batch[n] for batch in given.probe_batches]) for n in ("x", "y")},
        samples=sum(batch.samples for batch in given.probe_batches),
        tokens=sum(b.tokens for b in given.probe_batches if b.tokens is not None) or None,
    )
    assert len({batch.weight for batch in given.probe_batches}) == 3
    (apart,) = measured(given, direction)
    (at_once,) = measured(replace(given, probe_batches=[together]), direction)
    assert apart.slope == pytest.approx(at_once.slope, rel=1e-9)
    assert apart.curvature == pytest.approx(at_once.curvature, rel=1e-9)
    plain_means = [measured(replace(given, probe_batches=[b]), direction)[0].slope for b in given.probe_batches]
    assert sum(plain_means) / 3 != pytest.approx(at_once.slope, rel=1e-3)


@pytest.mark.slow
def test_a_tied_weight_counts_once() -> None:
    given = wide("transformer")
    direction = random_direction(given.model, seed=1)
    assert "head.weight" not in direction
    only_tied = {n: u if n == "tokens.weight" else torch.zeros_like(u) for n, u in direction.items()}
    (found,) = measured(given, only_tied)
    assert found.norm == pytest.approx(float(direction["tokens.weight"].norm()), rel=1e-12)
    hessian = dense_hessian(given.model, given.loss, given.probe_batches)
    v = unit(only_tied)
    assert found.curvature == pytest.approx(float(v @ hessian @ v), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_it_leaves_no_trace_and_works_under_no_grad(kind: str) -> None:
    given = problem(kind)
    given.loss(given.model, given.probe_batches[0]).backward()
    before = Trace.of(given.model)
    direction = random_direction(given.model, seed=3)
    expected = measured(given, direction)
    with torch.no_grad():
        assert measured(given, direction) == expected
    before.assert_unchanged(given.model)


def test_autocast_around_it_does_not_lower_the_precision() -> None:
    given = problem("mlp")
    direction = random_direction(given.model, seed=3)
    expected = measured(given, direction)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measured(given, direction) == expected


def test_a_direction_of_zero_or_of_nan_has_neither_slope_nor_curvature() -> None:
    given = problem("mlp")
    real = random_direction(given.model, seed=3)
    zero = {name: torch.zeros_like(u) for name, u in real.items()}
    broken = {name: u * math.nan for name, u in real.items()}
    endless = {name: u * math.inf for name, u in real.items()}
    at_zero, at_nan, at_infinity, at_real = measured(given, zero, broken, endless, real)
    assert at_zero.norm == 0.0
    assert math.isnan(at_nan.norm)
    assert not math.isfinite(at_infinity.norm)
    for none in (at_zero, at_nan, at_infinity):
        assert math.isnan(none.slope)
        assert math.isnan(none.curvature)
    assert math.isfinite(at_real.curvature)


def test_no_directions_give_no_results() -> None:
    given = problem("mlp")
    assert measured(given) == []


class Partly(nn.Module):
    """Loss a·x + y²: one parameter linear, one curved, one unused, one frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
        self.unused = nn.Parameter(torch.tensor(1.0))
        self.frozen = nn.Parameter(torch.tensor(1.0), requires_grad=False)


def test_parameters_that_take_no_part_or_are_linear_add_no_curvature() -> None:
    model = Partly()
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    directions = {
        "x": {"x": one, "y": zero, "unused": zero},
        "all": {"x": one, "y": one, "unused": one},
    }

    def loss(m: Any, _: Batch) -> Tensor:
        return 5 * m.x * m.frozen + m.y**2  # type: ignore[no-any-return]

    found = directional_curvature(model, loss, [NO_DATA], directions)
    assert (found["x"].slope, found["x"].curvature) == (5.0, 0.0)
    assert found["all"].slope == pytest.approx(11 / math.sqrt(3), rel=1e-6)  # float32
    assert found["all"].curvature == pytest.approx(2 / 3, rel=1e-6)


def test_a_linear_loss_has_no_curvature_at_all() -> None:
    model = Partly()
    direction = {name: torch.tensor(1.0) for name in ("x", "y", "unused")}

    def loss(m: Any, _: Batch) -> Tensor:
        return 5 * m.x  # type: ignore[no-any-return]

    found = directional_curvature(model, loss, [NO_DATA], {"u": direction})["u"]
    assert found.curvature == 0.0
