"""First derivatives and a backward pass: the curvature of jets, by another way through the same model."""

from collections.abc import Callable

import pytest
import torch
from reference.networks import NETWORKS, network
from reference.operations import TABLE
from reference.problems import random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import CurvatureEngine, MissingRuleError, directional_curvature
from clipbench.geometry.jets import adjoint
from clipbench.geometry.jets.jet import Jet

NOTHING = [Batch({}, samples=1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_where_a_single_parameter_moves_the_model_runs_the_same_operations(name: str) -> None:
    model, loss, batches = network(name, dtype=torch.float64)
    whole = random_direction(model, seed=0)
    directions = {only: {n: u * (n == only) for n, u in whole.items()} for only in whole}
    # One at a time, so that all other parameters stand still.
    found = directional_curvature(model, loss, batches, directions, engine="adjoint", chunk=1)
    exact = directional_curvature(model, loss, batches, directions, engine="double_backward")
    for only in directions:
        assert found[only].slope == pytest.approx(exact[only].slope, rel=1e-9, abs=1e-12)
        assert found[only].curvature == pytest.approx(exact[only].curvature, rel=1e-9, abs=1e-12)


class Inputs(nn.Module):
    """The arguments of an operation as parameters."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
        self.arguments = nn.ParameterList(drawn)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TABLE if name != "in place"])  # a parameter cannot be changed so
def test_of_every_operation_it_is_the_curvature_of_jets(name: str) -> None:
    function, shapes = TABLE[name]
    model = Inputs(list(shapes))

    def loss(m: nn.Module, _: Batch) -> Tensor:
        y = function(*(argument * 1.0 for argument in m.arguments))  # type: ignore[union-attr]
        weights = torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64).view(y.shape)
        return (weights * y.square()).mean() + (weights * y).sum()

    directions = {str(seed): random_direction(model, seed=seed) for seed in range(2)}
    jets, weighed = (
        directional_curvature(model, loss, NOTHING, directions, engine=engine, check=False)
        for engine in ("jets", "adjoint")
    )
    for seed in directions:
        assert weighed[seed].slope == pytest.approx(jets[seed].slope, rel=1e-9, abs=1e-12)
        assert weighed[seed].curvature == pytest.approx(jets[seed].curvature, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("straight", [True, False])
def test_what_is_kept_to_save_memory_does_not_change_the_result(
    straight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, loss, batches = network("causal transformer", dtype=torch.float64)
    directions = {"u": random_direction(model, seed=0)}
    expected = directional_curvature(model, loss, batches, directions, engine="adjoint")["u"]

    class Everything(set[object]):
        def __contains__(self, _: object) -> bool:
            return straight

    monkeypatch.setattr(adjoint, "STRAIGHT", Everything())
    found = directional_curvature(model, loss, batches, directions, engine="adjoint")["u"]
    assert found.curvature == pytest.approx(expected.curvature, rel=1e-9)


def test_second_derivatives_are_dropped_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, batches = network("causal transformer")
    bent: list[bool] = []
    made = Jet.__new__

    def noting(cls: type[Jet], x0: Tensor, x1: Tensor | None, x2: Tensor | None) -> Jet:
        bent.append(x2 is not None)
        return made(cls, x0, x1, x2)

    def share(engine: CurvatureEngine) -> float:
        bent.clear()
        directional_curvature(model, loss, batches, {"u": random_direction(model, seed=0)}, engine=engine, check=False)
        return sum(bent) / len(bent)

    monkeypatch.setattr(Jet, "__new__", noting)
    assert share("adjoint") < share("jets") / 2


def test_a_loss_that_takes_another_way_the_second_time_is_refused() -> None:
    model, _, batches = network("mlp")
    calls: list[int] = []

    def fickle(m: nn.Module, batch: Batch) -> Tensor:
        calls.append(1)
        x = m(batch["x"])
        return x.square().mean() if len(calls) == 1 else x.exp().mean()  # type: ignore[no-any-return]

    with pytest.raises(ClipbenchError, match=r"not run the same operations twice: aten\.exp"):
        directional_curvature(model, fickle, batches, {"u": random_direction(model, seed=0)}, engine="adjoint")


def along(loss: Callable[[nn.Module, Batch], Tensor], engine: CurvatureEngine) -> float:
    model, _, batches = network("mlp", dtype=torch.float64)
    return directional_curvature(model, loss, batches, {"u": random_direction(model, seed=0)}, engine=engine)[
        "u"
    ].curvature


def test_constants_and_changes_in_place_are_what_they_are_to_a_gradient() -> None:
    def loss(m: nn.Module, batch: Batch) -> Tensor:
        x = m(batch["x"])
        with torch.no_grad():
            scale = x.abs().mean() + 1
        y = x / scale
        y += x.detach().square()
        y.mul_(x.sigmoid())
        return y.square().mean().square()  # type: ignore[no-any-return]

    assert along(loss, "adjoint") == pytest.approx(along(loss, "double_backward"), rel=1e-9)


def test_an_operation_without_a_rule_is_named() -> None:
    with pytest.raises(MissingRuleError, match="linalg_det"):
        along(lambda m, _: torch.linalg.det(m[0].weight[:4, :4]).square(), "adjoint")  # type: ignore[index]


def test_a_loss_without_weights_in_it_is_refused() -> None:
    with pytest.raises(ClipbenchError, match="batch 0 does not depend on any trainable"):
        along(lambda _, batch: batch["x"].square().mean(), "adjoint")
