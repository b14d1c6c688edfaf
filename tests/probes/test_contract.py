"""What every file on the probe shelf promises: a new one is enrolled by being there."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from oracles import Trace
from reference.problems import problem
from reference.snapshots import snapshot

import clipbench.probes
from clipbench.contracts import Snapshot

SHELF = sorted(path.stem for path in Path(clipbench.probes.__path__[0]).glob("*.py") if path.stem != "__init__")

pytestmark = [
    pytest.mark.slow,  # every probe on every kind of model
    pytest.mark.parametrize("name", SHELF),
    pytest.mark.parametrize("kind", ["mlp", "transformer", "convolutional"]),
]


def probe(name: str) -> Callable[[Snapshot], Iterable[tuple[str, str, float]]]:
    measure: Callable[[Snapshot], Iterable[tuple[str, str, float]]] = import_module(f"clipbench.probes.{name}").measure
    return measure


@cache
def quantities(name: str, kind: str) -> set[str]:
    return {quantity for _, quantity, _ in probe(name)(snapshot(problem(kind)))}


def test_it_yields_directions_quantities_and_finite_numbers(name: str, kind: str) -> None:
    rows = list(probe(name)(snapshot(problem(kind))))
    assert rows
    for direction, quantity, value in rows:
        assert direction in {"", "own", "against"}
        assert isinstance(quantity, str)
        assert quantity
        assert type(value) is float
        assert math.isfinite(value)
    assert len({row[:2] for row in rows}) == len(rows)


def test_it_leaves_everything_bit_for_bit(name: str, kind: str) -> None:
    held = snapshot(problem(kind))
    kept = {d: {n: u.clone() for n, u in tensors.items()} for d, tensors in held.directions.items()}
    raw = {n: g.clone() for n, g in held.gradient.items()}
    before = Trace.of(held.problem.model)
    list(probe(name)(held))
    before.assert_unchanged(held.problem.model)
    for direction, tensors in held.directions.items():
        assert all(torch.equal(u, kept[direction][n]) for n, u in tensors.items())
    assert all(torch.equal(g, raw[n]) for n, g in held.gradient.items())


def test_it_says_the_same_twice(name: str, kind: str) -> None:
    held = snapshot(problem(kind))
    assert list(probe(name)(held)) == list(probe(name)(replace(held, measured=[])))


def test_no_other_probe_says_the_same(name: str, kind: str) -> None:
    """A quantity that two probes recorded would count twice."""
    for other in SHELF:
        assert other == name or not quantities(name, kind) & quantities(other, kind)


def test_it_says_in_one_line_what_it_is(name: str, kind: str) -> None:  # noqa: ARG001
    assert (import_module(f"clipbench.probes.{name}").__doc__ or "").splitlines()[0].endswith(".")
    assert probe(name).__doc__
