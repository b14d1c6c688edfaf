"""What every probe does with a loss or a step that is not sound: a new one is enrolled by being there."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module

import pytest
from oracles import Trace
from reference.problems import problem
from reference.snapshots import snapshot

from clipbench.contracts import Snapshot
from clipbench.spec import catalogue

pytestmark = pytest.mark.parametrize("name", catalogue.names("probes"))


def probe(name: str) -> Callable[[Snapshot], Iterable[tuple[str, str, float]]]:
    measure: Callable[[Snapshot], Iterable[tuple[str, str, float]]] = import_module(f"clipbench.probes.{name}").measure
    return measure


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_for_the_loop_to_report(name: str, factor: float) -> None:
    held = snapshot(problem("mlp"))
    lost = replace(held.problem, loss=lambda model, batch: held.problem.loss(model, batch) * factor)
    before = Trace.of(held.problem.model)
    for _, _, value in probe(name)(replace(held, problem=lost)):
        assert type(value) is float
    before.assert_unchanged(held.problem.model)


@pytest.mark.parametrize("factor", [0.0, math.nan, math.inf])
def test_a_step_without_a_length_costs_no_other_its_rows(name: str, factor: float) -> None:
    held = snapshot(problem("mlp"))
    none = {parameter: u * factor for parameter, u in held.directions["own"].items()}
    rows = list(probe(name)(replace(held, directions={"none": none, **held.directions})))
    expected = list(probe(name)(held))
    assert [row[:2] for row in rows if row[0] != "none"] == [row[:2] for row in expected]
    assert not any(math.isfinite(value) for direction, quantity, value in rows if direction == "none" and factor)
