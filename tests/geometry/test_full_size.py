"""A probe of several directions at the paper's size: what it waits for is its result, and no more.

A probe reads its numbers by nature: the length of each direction, the loss of each batch and whether it is finite, and
the slopes and curvatures of each pass. A wait for each parameter would be hundreds.
"""

from collections.abc import Callable

import pytest
import torch
from full_size import answered, every_model, paper_model
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from clipbench.geometry.contexts import math_attention
from clipbench.geometry.directions import UnitDirections, unit_directions
from clipbench.geometry.found import Carried
from clipbench.geometry.jets.adjoint import by_adjoints
from clipbench.geometry.jets.chunks import Limits
from clipbench.geometry.jets.forward import by_jets

pytestmark = pytest.mark.slow

DIRECTIONS, AT_ONCE = 4, 2
Engine = Callable[..., Carried]


def directions(model: nn.Module) -> UnitDirections:
    parameters = dict(model.named_parameters())
    given = {str(k): {name: torch.empty_like(p) for name, p in parameters.items()} for k in range(DIRECTIONS)}
    with answered(condition=True) as waits:
        units, _ = unit_directions(given, parameters)
    assert waits.count == DIRECTIONS  # the lengths
    return units


@every_model
@pytest.mark.parametrize(("by", "a_pass", "a_batch"), [(by_jets, 3, 1), (by_adjoints, 2, 2)])
def test_a_probe_waits_for_its_result_alone(name: str, by: Engine, a_pass: int, a_batch: int) -> None:
    """A pass has slopes and curvatures; and of jets whether the loss is finite, which an adjoint asks once a batch."""
    with FakeTensorMode():
        model, loss, batch = paper_model(name)
        model.eval()
        units = directions(model)
        passes = DIRECTIONS // AT_ONCE
        with math_attention(), answered(condition=True) as waits:
            found = by(model, loss, [batch], units, limits=Limits(AT_ONCE))
        assert [len(row) for row in found.rows] == [DIRECTIONS]
        assert waits.count == passes * a_pass + a_batch


def test_without_an_answer_the_first_wait_is_an_error() -> None:
    with FakeTensorMode():
        model, loss, batch = paper_model("T5-small")
        units = directions(model)
        with math_attention(), pytest.raises(DataDependentOutputException):
            by_jets(model.eval(), loss, [batch], units, limits=Limits(AT_ONCE))
