"""What one probe has had measured, the next one is given: the same numbers, for no work."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import torch
from oracles import Trace
from reference.problems import problem
from reference.snapshots import snapshot

from clipbench.contracts import Snapshot
from clipbench.errors import ClipbenchError
from clipbench.geometry import curvature, measuring, shared
from clipbench.geometry.curvature import Curvatures, directional_curvature
from clipbench.probes import kinks, sharpness, taylor

KINDS = ["mlp", "transformer", "convolutional"]
PROBES = {"sharpness": sharpness.measure, "taylor": taylor.measure, "kinks": kinks.measure}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches each measurement of curvature went through."""
    counted: list[int] = []

    def counting(*given: Any, **options: Any) -> Curvatures:
        counted.append(len(given[2]))
        return directional_curvature(*given, **options)

    monkeypatch.setattr(shared, "directional_curvature", counting)
    return counted


def alone(held: Snapshot) -> Snapshot:
    """The same step, of which nothing has been measured."""
    return replace(held, measured=[])


@pytest.mark.parametrize("kind", KINDS)
def test_three_probes_evaluate_the_curvature_once(kind: str, passes: list[int]) -> None:
    held = snapshot(problem(kind))
    everything = len(held.problem.probe_batches)
    for measure in PROBES.values():
        list(measure(held))
    assert passes == [everything, 1]  # the second for the mini-batch
    list(taylor.measure(held, same_batch=True))
    assert passes == [everything, 1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_probe_says_the_same_alone_and_after_others(kind: str) -> None:
    held = snapshot(problem(kind))
    expected = {name: list(measure(alone(held))) for name, measure in PROBES.items()}
    for order in permutations(PROBES):
        together = alone(held)
        assert {name: list(PROBES[name](together)) for name in order} == expected


def test_what_is_kept_leaves_no_trace() -> None:
    held = snapshot(problem("transformer"))
    before = Trace.of(held.problem.model)
    for measure in PROBES.values():
        list(measure(held))
    before.assert_unchanged(held.problem.model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_batches_of_a_measurement_are_what_they_are_alone(kind: str, passes: list[int]) -> None:
    held = snapshot(problem(kind))
    batches = held.problem.probe_batches
    expected = [shared.curvatures(alone(held), batches[:count]) for count in range(1, len(batches))]
    whole = shared.curvatures(held, batches)
    passes.clear()
    assert repr([shared.curvatures(held, batches[:count]) for count in range(1, len(batches))]) == repr(expected)
    assert passes == []
    assert shared.curvatures(held, batches) == whole


def test_a_direction_without_a_length_is_so_in_the_first_batches_as_well() -> None:
    held = snapshot(problem("mlp"))
    zero = {name: torch.zeros_like(u) for name, u in held.directions["own"].items()}
    held = replace(held, directions={"zero": zero, **held.directions})
    batches = held.problem.probe_batches
    expected = repr(shared.curvatures(alone(held), batches[:1]))
    shared.curvatures(held, batches)
    assert repr(shared.curvatures(held, batches[:1])) == expected
    nowhere = replace(held, directions={"zero": zero})
    expected = repr(shared.curvatures(alone(nowhere), batches[:1]))
    shared.curvatures(nowhere, batches)
    assert repr(shared.curvatures(nowhere, batches[:1])) == expected


def test_the_first_batches_are_measured_anew_where_another_engine_stood_in(
    passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation without a rule may be in a later batch alone, and jets would measure those before it."""

    def refuses(*_: Any, **__: Any) -> Any:
        raise curvature.MissingRuleError("aten.something")

    held = snapshot(problem("mlp"))
    batches = held.problem.probe_batches
    with monkeypatch.context() as without_jets:
        without_jets.setattr(measuring, "by_jets", refuses)
        assert shared.curvatures(held, batches).engine == "double_backward"
        assert shared.curvatures(held, batches).engine == "double_backward"
    assert passes == [len(batches)]
    assert shared.curvatures(held, batches[:2]).engine == "jets"
    assert passes == [len(batches), 2]


def test_what_differs_is_measured_for_itself(passes: list[int]) -> None:
    held = snapshot(problem("mlp"))
    batches = held.problem.probe_batches

    def lower(model: Any, batch: Any) -> torch.Tensor:
        return held.problem.loss(model, batch) / 2

    others = {
        "a chunk": (held, batches, 1),
        "other batches": (held, batches[1:], None),
        "fewer directions": (replace(held, directions={"own": held.directions["own"]}), batches, None),
        "other updates": (replace(held, directions={n: dict(u) for n, u in held.directions.items()}), batches, None),
        "another loss": (replace(held, problem=replace(held.problem, loss=lower)), batches, None),
    }
    shared.curvatures(held, batches)
    for other, of_batches, chunk in others.values():
        passes.clear()
        found = shared.curvatures(other, of_batches, chunk=chunk)
        assert passes == [len(of_batches)]
        assert found == shared.curvatures(alone(other), of_batches, chunk=chunk)
    passes.clear()
    shared.curvatures(held, batches, chunk=curvature.TOGETHER)  # which is the chunk where none is given
    assert passes == []


def test_bad_questions_are_refused_after_good_ones_as_well() -> None:
    held = snapshot(problem("mlp"))
    shared.curvatures(held, held.problem.probe_batches)
    with pytest.raises(ClipbenchError, match="no batches"):
        shared.curvatures(held, [])
    with pytest.raises(ClipbenchError, match="a chunk of 0"):
        shared.curvatures(held, held.problem.probe_batches, chunk=0)
