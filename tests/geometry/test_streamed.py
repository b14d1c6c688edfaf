"""Directions that are made when they are needed: the same numbers, and never more of them alive than is said."""

import math
import weakref
from collections.abc import Callable

import pytest
import torch
from reference.networks import network
from reference.problems import random_direction
from torch import Tensor

from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import CurvatureEngine, directional_curvature
from clipbench.geometry.directions import unit_directions

ENGINES: tuple[CurvatureEngine, ...] = ("jets", "adjoint", "double_backward")


def made(direction: dict[str, Tensor]) -> Callable[[str], Tensor]:
    return lambda name: direction[name].clone()


@pytest.mark.parametrize("engine", ENGINES)
def test_callables_and_mappings_give_the_same_numbers_mixed_or_not(engine: CurvatureEngine) -> None:
    model, loss, batches = network("causal transformer")
    given = {str(seed): random_direction(model, seed=seed) for seed in range(3)}
    mixed: dict[str, dict[str, Tensor] | Callable[[str], Tensor]] = {
        "0": made(given["0"]),
        "1": given["1"],
        "2": made(given["2"]),
    }
    expected = directional_curvature(model, loss, batches, given, engine=engine)
    assert directional_curvature(model, loss, batches, mixed, engine=engine) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_of_what_callables_make_at_most_two_tensors_are_alive(engine: CurvatureEngine) -> None:
    model, loss, batches = network("causal transformer", dtype=torch.float64)
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(6)}
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most: list[int] = []

    def streamed(direction: dict[str, Tensor]) -> Callable[[str], Tensor]:
        def give(name: str) -> Tensor:
            tensor = direction[name].float()  # of another dtype, so that it is never the engine's own
            alive.add(tensor)
            most.append(len(alive))
            return tensor

        return give

    callables = {name: streamed(direction) for name, direction in directions.items()}
    found = directional_curvature(model, loss, batches, callables, engine=engine)
    assert max(most) == 2
    assert found["0"].curvature == pytest.approx(
        directional_curvature(model, loss, batches, directions, engine=engine)["0"].curvature, rel=1e-5
    )


def test_a_callable_of_wrong_shapes_names_or_kinds_is_refused_as_a_mapping_is() -> None:
    model, loss, batches = network("mlp")
    right = random_direction(model, seed=0)

    def refused(message: str, direction: Callable[[str], Tensor]) -> None:
        with pytest.raises(ClipbenchError, match=message):
            directional_curvature(model, loss, batches, {"made": direction})

    refused(r"'made' has the shape \(1,\) at '0.weight', where the parameter has", lambda _: torch.ones(1))
    refused("knows nothing of '2.bias'", {n: u for n, u in right.items() if n != "2.bias"}.__getitem__)
    refused("'made' is float at '0.weight', not a tensor", lambda _: 1.0)  # type: ignore[arg-type,return-value]
    refused("gives two tensors for '0.weight'", lambda name: torch.randn_like(right[name]))


def test_a_callable_of_zero_or_of_nan_has_no_direction() -> None:
    model, loss, batches = network("mlp")
    right = random_direction(model, seed=0)
    found = directional_curvature(
        model, loss, batches, {"zero": lambda n: 0 * right[n], "nan": lambda n: math.nan * right[n]}
    )
    assert found["zero"].norm == 0.0
    assert math.isnan(found["nan"].norm)
    assert all(math.isnan(along.curvature) for _, along in found.items())


@pytest.mark.parametrize("exponent", [-400, -90, 0, 90, 400])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_length_of_any_size_is_brought_between_one_and_two(exponent: int, dtype: torch.dtype) -> None:
    model, _, _ = network("mlp", dtype=dtype)
    parameters = dict(model.named_parameters())
    plain = {name: u.double() for name, u in random_direction(model, seed=0).items()}
    scaled = {name: u * 2.0**exponent for name, u in plain.items()}
    units, norms = unit_directions({"u": scaled}, parameters)
    stacked, (length,) = units.stacked(range(1))
    alone, _ = unit_directions({"u": plain}, parameters)
    expected = alone.stacked(range(1))
    for name, stack in stacked.items():
        other = expected[0][name]
        assert stack is not None
        assert other is not None
        torch.testing.assert_close(stack / length, other / expected[1][0])
    assert norms["u"] > 0
    assert 1.0 <= length < 2.0
