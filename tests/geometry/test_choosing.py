"""Which engine `auto` takes, by the number of directions and the size of tensors."""

from collections.abc import Sequence
from unittest.mock import Mock

import pytest
import torch
from reference.networks import network
from reference.problems import random_direction
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Loss
from clipbench.geometry import choosing
from clipbench.geometry.choosing import DIRECTIONS, NUMBERS, adjoint_is_faster
from clipbench.geometry.curvature import Curvatures, directional_curvature


def measured(model: nn.Module, loss: Loss, batches: Sequence[Batch], *, directions: int) -> Curvatures:
    along = {str(seed): random_direction(model, seed=seed) for seed in range(directions)}
    return directional_curvature(model, loss, batches, along)


def total(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch["x"]).square().sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("rows", "directions", "faster"), [(1, 12, True), (0.2, 12, False), (1, 11, False)])
def test_adjoints_are_faster_for_many_directions_and_large_tensors(rows: float, directions: int, faster: bool) -> None:
    """A linear layer, its square, and one number."""
    assert (DIRECTIONS, NUMBERS) == (12, 90_000)
    model = nn.Linear(1, 100)
    batch = Batch({"x": torch.zeros(int(rows * 1400), 1)}, samples=1)
    assert adjoint_is_faster(model, total, batch, directions) is faster


def test_a_loss_that_cannot_be_computed_without_a_graph_is_left_to_jets() -> None:
    def slope(model: nn.Module, batch: Batch) -> Tensor:
        loss = total(model, batch)
        return loss + torch.autograd.grad(loss, list(model.parameters()), create_graph=True)[0].sum()

    assert not adjoint_is_faster(nn.Linear(1, 100), slope, Batch({"x": torch.zeros(10_000, 1)}, samples=1), 12)


@pytest.fixture
def preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the tensors are."""
    monkeypatch.setattr(choosing, "NUMBERS", 1)


@pytest.mark.usefixtures("preferred")
def test_auto_takes_adjoints_where_they_are_faster_and_finds_what_jets_find() -> None:
    model, loss, batches = network("mlp", dtype=torch.float64)
    few, many = (measured(model, loss, batches, directions=k) for k in (2, 12))
    assert (few.engine, many.engine) == ("jets", "adjoint")
    for name, along in few.items():
        assert many[name].curvature == pytest.approx(along.curvature, rel=1e-9)


@pytest.mark.usefixtures("preferred")
def test_auto_takes_jets_where_adjoints_cannot_and_double_backward_where_neither_can() -> None:
    model, _, batches = network("mlp")
    calls = Mock()  # out of reach: what a loss keeps itself is put back

    def changing(m: nn.Module, batch: Batch) -> Tensor:
        calls()
        scores = m(batch["x"])
        return functional.cross_entropy(scores if calls.call_count % 2 else scores * 1.0, batch["y"])

    assert measured(model, changing, batches, directions=12).engine == "jets"

    def complex_numbers(m: nn.Module, batch: Batch) -> Tensor:
        return torch.fft.fft(m(batch["x"])).abs().square().mean()  # type: ignore[no-any-return]

    found = measured(model, complex_numbers, batches, directions=12)
    assert found.engine == "double_backward"
    assert found.missing_operation is not None
