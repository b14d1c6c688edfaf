"""Both engines on every kind of model and every task of the shelf, and what is said about them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from oracles import Trace, dense_gradient, dense_hessian, flat
from reference.networks import NETWORKS, network
from reference.problems import problem, random_direction
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Loss, Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import (
    CurvatureEngine,
    Curvatures,
    MissingRuleError,
    NoSecondDerivativeError,
    directional_curvature,
)
from clipbench.tasks import code_lm, digits, heavy_tail, number_translation, quadratic

ENGINES: tuple[CurvatureEngine, ...] = ("jets", "adjoint", "double_backward")
Build = Callable[[], Problem]
TASKS: dict[str, Build] = {
    "code_lm": lambda: code_lm.build(0, torch.device("cpu"), width=16, context=12, batch=2),
    "number_translation": lambda: number_translation.build(0, torch.device("cpu"), width=16, batch=4),
    "digits, vit": lambda: digits.build(0, torch.device("cpu"), model="vit", batch=4),
    "digits, cnn": lambda: digits.build(0, torch.device("cpu"), model="cnn", batch=4),
    "heavy_tail": lambda: heavy_tail.build(0, torch.device("cpu")),
    "quadratic": lambda: quadratic.build(0, torch.device("cpu")),
}


def by(
    engine: CurvatureEngine,
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    *directions: Mapping[str, Tensor],
    chunk: int | None = None,
) -> Curvatures:
    named = {str(i): direction for i, direction in enumerate(directions)}
    return directional_curvature(model, loss, batches, named, engine=engine, chunk=chunk)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_the_dense_hessian_in_float64(name: str, engine: CurvatureEngine) -> None:
    model, loss, batches = network(name, dtype=torch.float64)
    directions = [random_direction(model, seed=seed) for seed in range(2)]
    hessian = dense_hessian(model, loss, batches)
    gradient = dense_gradient(model, loss, batches)
    found = by(engine, model, loss, batches, *directions)
    assert (found.engine, found.missing_operation) == (engine, None)
    for i, direction in enumerate(directions):
        v = flat(list(direction.values()))
        v = v / v.norm()
        assert found[str(i)].slope == pytest.approx(float(gradient @ v), rel=1e-9)
        assert found[str(i)].curvature == pytest.approx(float(v @ hessian @ v), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "adjoint"])
@pytest.mark.parametrize("task", TASKS)
def test_the_engines_agree_on_every_task_of_the_shelf(task: str, engine: CurvatureEngine) -> None:
    given = TASKS[task]()
    directions = [random_direction(given.model, seed=seed) for seed in range(2)]
    directions.append({n: u * (n == next(iter(directions[0]))) for n, u in directions[0].items()})
    jets = by(engine, given.model, given.loss, given.probe_batches, *directions)
    plain = by("double_backward", given.model, given.loss, given.probe_batches, *directions)
    assert (jets.engine, plain.engine) == ("adjoint" if engine == "adjoint" else "jets", "double_backward")
    assert jets.loss == pytest.approx(plain.loss, rel=1e-6)
    for i in range(3):
        # Float32 on both sides: a few 1e-7 of the terms, which partly cancel.
        assert jets[str(i)].slope == pytest.approx(plain[str(i)].slope, rel=1e-4, abs=1e-6)
        assert jets[str(i)].curvature == pytest.approx(plain[str(i)].curvature, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("engine", ["jets", "adjoint"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_chunks_change_nothing_but_rounding(chunk: int, engine: CurvatureEngine) -> None:
    model, loss, batches = network("causal transformer", dtype=torch.float64)
    directions = [random_direction(model, seed=seed) for seed in range(5)]
    whole = by(engine, model, loss, batches, *directions, chunk=5)
    parted = by(engine, model, loss, batches, *directions, chunk=chunk)
    for i in range(5):
        assert parted[str(i)].slope == pytest.approx(whole[str(i)].slope, rel=1e-12)
        assert parted[str(i)].curvature == pytest.approx(whole[str(i)].curvature, rel=1e-12)


@settings(max_examples=20, deadline=None)
@drawn(factor=st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-6), seed=st.integers(0, 1000))
def test_length_does_not_matter_and_the_sign_turns_the_slope_alone(factor: float, seed: int) -> None:
    model, loss, batches = network("mlp", dtype=torch.float64)
    direction = random_direction(model, seed=seed)
    scaled = {name: u * factor for name, u in direction.items()}
    found = by("jets", model, loss, batches, direction, scaled)
    assert found["1"].slope == pytest.approx(math.copysign(1, factor) * found["0"].slope, rel=1e-9)
    assert found["1"].curvature == pytest.approx(found["0"].curvature, rel=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_micro_batches_and_their_terms_add_up_to_the_whole(engine: CurvatureEngine) -> None:
    given = problem("transformer")
    model, batches = given.model.double(), given.probe_batches
    whole = Batch(
        {n: torch.cat([batch[n] for batch in batches]) for n in ("x", "y")},
        samples=sum(batch.samples for batch in batches),
        tokens=sum(batch.weight for batch in batches),
    )
    direction = random_direction(model, seed=1)
    parted = by(engine, model, given.loss, batches, direction)
    at_once = by(engine, model, given.loss, [whole], direction)
    assert parted.loss == pytest.approx(at_once.loss, rel=1e-12)
    assert parted["0"].slope == pytest.approx(at_once["0"].slope, rel=1e-9)
    assert parted["0"].curvature == pytest.approx(at_once["0"].curvature, rel=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_standard_error_is_that_of_the_batches(engine: CurvatureEngine) -> None:
    given = problem("mlp")
    equal = [replace(batch, samples=7) for batch in given.probe_batches]
    direction = random_direction(given.model, seed=1)
    found = by(engine, given.model, given.loss, equal, direction)["0"]
    apart = [by(engine, given.model, given.loss, [batch], direction)["0"] for batch in equal]
    assert found.slopes == pytest.approx([one.slope for one in apart], rel=1e-9)
    assert found.curvatures == pytest.approx([one.curvature for one in apart], rel=1e-9)
    of_three = torch.tensor(found.curvatures, dtype=torch.float64)
    assert found.curvature_error == pytest.approx(float(of_three.std()) / math.sqrt(3), rel=1e-12)
    of_three = torch.tensor(found.slopes, dtype=torch.float64)
    assert found.slope_error == pytest.approx(float(of_three.std()) / math.sqrt(3), rel=1e-12)
    assert math.isnan(apart[0].slope_error)
    assert math.isnan(apart[0].curvature_error)


@pytest.mark.parametrize("engine", ENGINES)
def test_neither_engine_leaves_a_trace(engine: CurvatureEngine) -> None:
    model, loss, batches = network("batch norm and relu in place")
    loss(model.train(), batches[0]).backward()
    direction = random_direction(model, seed=1)
    before = Trace.of(model)
    by(engine, model, loss, batches, direction)
    before.assert_unchanged(model)


def test_jets_hold_no_graph_and_run_the_model_once_a_batch_and_chunk() -> None:
    model, loss, batches = network("mlp")
    directions = [random_direction(model, seed=seed) for seed in range(5)]
    by("jets", model, loss, batches, *directions)  # with the check
    calls: list[bool] = []
    note = Mock(side_effect=calls.append)  # out of reach: what a loss or a hook keeps itself is put back
    model.register_forward_hook(lambda _, __, out: note(out.requires_grad))
    by("jets", model, loss, batches, *directions, chunk=2)
    assert calls == [False] * (3 * len(batches))


class Unruled(nn.Module):
    """With an operation that has no rule: the determinant."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(3, dtype=torch.float64) + 0.1)

    def forward(self) -> Tensor:
        return torch.linalg.det(self.matrix).square()  # type: ignore[no-any-return]


def no_data(model: nn.Module, _: Batch) -> Tensor:
    return model()  # type: ignore[no-any-return]


NOTHING = [Batch({}, samples=1)]


def test_an_operation_without_a_rule_is_named_and_auto_goes_on_by_double_backward() -> None:
    model = Unruled()
    direction = random_direction(model, seed=0)
    with pytest.raises(MissingRuleError, match=r"aten\._linalg_det\.default"):
        by("jets", model, no_data, NOTHING, direction)
    found = by("auto", model, no_data, NOTHING, direction)
    assert found.engine == "double_backward"
    assert found.missing_operation is not None
    assert "_linalg_det" in found.missing_operation
    assert found["0"] == by("double_backward", model, no_data, NOTHING, direction)["0"]


class WithoutSecond(nn.Module):
    """With operations of which torch has no second derivative: an own one, and one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.full((2,), 0.5))

    def forward(self) -> Tensor:
        return self.x


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * grad  # type: ignore[no-any-return]


def once(model: nn.Module, _: Batch) -> Tensor:
    return Once.apply(model()).square().sum()  # type: ignore[no-any-return, no-untyped-call]


def test_an_operation_without_a_second_derivative_is_named() -> None:
    model = WithoutSecond()
    direction = random_direction(model, seed=0)
    with pytest.raises(NoSecondDerivativeError, match=r"no second derivative .*aten::hardsigmoid_backward"):
        by("double_backward", model, lambda m, _: functional.hardsigmoid(m()).square().sum(), NOTHING, direction)
    with pytest.raises(NoSecondDerivativeError, match="once_differentiable"):
        by("double_backward", model, once, NOTHING, direction)


def test_a_change_in_place_that_others_could_see_is_refused_by_name() -> None:
    model, _, batches = network("mlp")

    def through_a_view(m: nn.Module, batch: Batch) -> Tensor:
        x = m(batch["x"])
        x.view(-1).mul_(2)
        return x.square().mean()  # type: ignore[no-any-return]

    with pytest.raises(MissingRuleError, match=r"aten\.mul_\.Tensor, in place"):
        by("jets", model, through_a_view, batches, random_direction(model, seed=0))
    assert by("auto", model, through_a_view, batches, random_direction(model, seed=0)).engine == "double_backward"


def test_foreign_code_that_reads_memory_falls_back() -> None:
    model, _, batches = network("mlp")

    def with_numpy(m: nn.Module, batch: Batch) -> Tensor:
        x = m(batch["x"])
        largest, place = float(x.detach().numpy().max()), x.view(-1).untyped_storage().data_ptr()
        return x.square().mean() * largest + place * 0  # type: ignore[no-any-return]

    direction = random_direction(model, seed=0)
    found = by("auto", model, with_numpy, batches, direction)
    assert found.engine == "double_backward"
    assert found.missing_operation is not None
    assert "storage" in found.missing_operation
    with pytest.raises(RuntimeError, match="storage"):
        by("jets", model, with_numpy, batches, direction)


def test_what_is_computed_under_no_grad_is_a_constant() -> None:
    model, _, batches = network("mlp", dtype=torch.float64)

    def loss(m: nn.Module, batch: Batch) -> Tensor:
        x = m(batch["x"])
        with torch.no_grad():
            scale = x.abs().mean() + 1
        return (x / scale).square().mean()  # type: ignore[no-any-return]

    direction = random_direction(model, seed=0)
    jets, plain = (by(engine, model, loss, batches, direction)["0"] for engine in ("jets", "double_backward"))
    assert jets.curvature == pytest.approx(plain.curvature, rel=1e-9)


def test_a_loss_without_weights_in_it_is_refused_by_jets_too() -> None:
    model, _, batches = network("mlp")
    with pytest.raises(ClipbenchError, match="batch 0 does not depend on any trainable"):
        by(
            "jets",
            model,
            lambda _, b: functional.mse_loss(b["x"], b["x"] + 1),
            batches,
            random_direction(model, seed=0),
        )


def test_a_chunk_or_an_engine_that_makes_no_sense_is_refused() -> None:
    model, loss, batches = network("mlp")
    direction = random_direction(model, seed=0)
    with pytest.raises(ClipbenchError, match="a chunk of 0 directions"):
        by("jets", model, loss, batches, direction, chunk=0)
    with pytest.raises(ClipbenchError, match="no engine 'taylor'"):
        by("taylor", model, loss, batches, direction)  # type: ignore[arg-type]
