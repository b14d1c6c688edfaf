"""No TF32 and no autocast where second derivatives are taken, and the user's choice afterwards."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args
from unittest.mock import Mock

import pytest
import torch
from reference.problems import classification_loss, problem, random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss
from clipbench.geometry.contexts import curvature_in, full_float32, without_autocast
from clipbench.geometry.curvature import CurvatureEngine, directional_curvature
from clipbench.geometry.finite_difference import finite_difference_curvature
from clipbench.geometry.jets import pointwise, propagation
from clipbench.geometry.objective import Objective
from clipbench.geometry.said import engine as in_words


def chosen() -> tuple[str, str, str]:
    return (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        torch.get_float32_matmul_precision(),
    )


@pytest.fixture
def high() -> Iterator[None]:
    """The user's choice is TF32 for products too."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("high")
def test_inside_all_bits_are_kept_and_outside_as_the_user_chose() -> None:
    before = chosen()
    assert before[0] == before[1] == "tf32"
    with full_float32():
        assert chosen()[:2] == ("ieee", "ieee")
    assert chosen() == before


@pytest.mark.usefixtures("high")
def test_the_choice_is_put_back_when_the_body_raises() -> None:
    before = chosen()
    with pytest.raises(ValueError, match="gave up"), full_float32():
        raise ValueError("gave up")
    assert chosen() == before


@torch.autocast("cpu", dtype=torch.bfloat16)  # type: ignore[untyped-decorator]
def decorated(model: nn.Module, batch: Batch) -> Tensor:
    return classification_loss(model, batch)


def opening(model: nn.Module, batch: Batch) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return classification_loss(model, batch)


def closing(model: nn.Module, batch: Batch) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return classification_loss(model, batch)


@pytest.mark.parametrize("engine", get_args(CurvatureEngine))
@pytest.mark.parametrize("loss", [opening, decorated])
def test_autocast_that_a_loss_opens_is_left_out_and_said(loss: Loss, engine: CurvatureEngine) -> None:
    given = problem("mlp")
    directions = {"0": random_direction(given.model, seed=3)}
    exact, found = (
        directional_curvature(given.model, each, given.probe_batches, directions, engine=engine)
        for each in (given.loss, loss)
    )
    assert found == replace(exact, remarks=("without the autocast that the loss opens",))
    assert in_words(found) == f"{in_words(exact)}; without the autocast that the loss opens"


def test_a_loss_that_closes_autocast_gets_no_remark() -> None:
    given = problem("mlp")
    directions = {"0": random_direction(given.model, seed=3)}
    assert directional_curvature(given.model, closing, given.probe_batches, directions).remarks == ()


def test_the_losses_of_an_objective_and_of_finite_differences_are_without_autocast() -> None:
    given = problem("mlp")
    directions = {"0": random_direction(given.model, seed=3)}
    values, curvatures = [], []
    for loss in (given.loss, opening):
        values.append(Objective(given.model, loss, given.probe_batches).value())
        curvatures.append(finite_difference_curvature(given.model, loss, given.probe_batches, directions))
    assert values[0] == values[1]
    assert curvatures[0] == curvatures[1]


def test_afterwards_autocast_lowers_the_precision_again() -> None:
    kept = torch.autocast("cpu", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="gave up"), without_autocast(torch.device("cpu")):
        raise ValueError("gave up")
    with without_autocast(torch.device("cpu")) as opened, kept:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert opened == ["cpu"]
    with kept:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def rounding(model: nn.Module, batch: Batch) -> Tensor:
    """A GPU's rounding, far beyond what a check allows: the loss is another one where products are in TF32."""
    value = classification_loss(model, batch)
    return value * 1.01 if torch.backends.cuda.matmul.fp32_precision == "tf32" else value


def rounding_whole_batches(model: nn.Module, batch: Batch) -> Tensor:
    """The same, of a loss that refuses a few examples, so that whole batches are checked."""
    if batch.terms is None and batch.samples == 2:
        raise ValueError("too few")
    return rounding(model, batch)


@pytest.mark.parametrize("engine", get_args(CurvatureEngine))
@pytest.mark.parametrize("loss", [rounding, rounding_whole_batches])
def test_on_request_curvature_is_in_tf32_and_its_check_is_not(loss: Loss, engine: CurvatureEngine) -> None:
    given, before = problem("mlp"), chosen()
    directions = {"0": random_direction(given.model, seed=3)}
    whole = [replace(batch, samples=batch.samples) for batch in given.probe_batches]
    exact = directional_curvature(given.model, given.loss, whole, directions, engine=engine)
    with curvature_in("tf32"):
        found = directional_curvature(given.model, loss, whole, directions, engine=engine)
    assert found["0"].curvature == pytest.approx(1.01 * exact["0"].curvature, rel=1e-4)
    assert found.engine == exact.engine
    assert chosen() == before
    again = directional_curvature(given.model, loss, whole, directions, engine=engine)
    assert again["0"].curvature == pytest.approx(exact["0"].curvature, rel=1e-6)


def test_both_sides_of_the_check_are_in_float32() -> None:
    given, seen = problem("mlp"), Mock()

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        seen(torch.backends.cuda.matmul.fp32_precision)
        return classification_loss(model, batch)

    with curvature_in("tf32"):
        directional_curvature(
            given.model, loss, given.probe_batches, {"0": random_direction(given.model, seed=3)}, engine="jets"
        )
    assert [each.args[0] for each in seen.mock_calls] == [*["tf32"] * len(given.probe_batches), "ieee", "ieee"]


def test_what_is_not_a_directional_curvature_is_in_float32_even_so() -> None:
    given = problem("mlp")
    objective = Objective(given.model, rounding, given.probe_batches)
    directions = {"0": random_direction(given.model, seed=3)}
    exact = objective.value(), finite_difference_curvature(given.model, rounding, given.probe_batches, directions)
    with curvature_in("tf32"):
        found = objective.value(), finite_difference_curvature(given.model, rounding, given.probe_batches, directions)
    assert found == exact


def test_a_loss_that_tf32_rounds_is_no_undeterministic_one_where_jets_fall_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = problem("mlp")
    tanh = torch.ops.aten.tanh.default
    flat = lambda func, x: pointwise.curved(func(x.x0), x, 1 - func(x.x0) ** 2, None)  # noqa: E731 - without a bend
    monkeypatch.setitem(propagation.RULES, tanh, flat)
    directions = {"0": random_direction(given.model, seed=3)}
    with curvature_in("tf32"):
        found = directional_curvature(given.model, rounding, given.probe_batches, directions)
    assert (found.engine, found.disagreement) == ("double_backward", "curvature")
