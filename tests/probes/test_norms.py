"""Lengths of the gradient and of the updates."""

import math

import pytest
from oracles import flat
from reference.problems import problem
from reference.snapshots import snapshot

from clipbench.probes.norms import measure
from clipbench.records import GRADIENT_NORM, UPDATE_NORM


def test_lengths_are_over_all_parameters() -> None:
    held = snapshot(problem("transformer"), lr=0.25)
    rows = {row[:2]: row[2] for row in measure(held)}
    length = math.sqrt(sum(g * g for g in flat(list(held.gradient.values())).tolist()))
    assert set(rows) == {("", GRADIENT_NORM), ("own", UPDATE_NORM), ("against", UPDATE_NORM)}
    assert rows["", GRADIENT_NORM] == pytest.approx(length, rel=1e-12)
    # θ_after − θ_before is rounded to float32 at the size of θ.
    assert rows["own", UPDATE_NORM] == pytest.approx(0.25 * length, rel=1e-5)
    assert rows["against", UPDATE_NORM] == pytest.approx(2 * rows["own", UPDATE_NORM], rel=1e-12)
