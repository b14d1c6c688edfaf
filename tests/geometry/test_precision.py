"""No TF32 and no autocast where second derivatives are taken, and the user's choice afterwards."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest
import torch
from reference.problems import classification_loss, problem, random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss
from clipbench.geometry.contexts import full_float32, without_autocast
from clipbench.geometry.curvature import CurvatureEngine, directional_curvature
from clipbench.geometry.finite_difference import finite_difference_curvature
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
