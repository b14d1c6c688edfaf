"""The mean over batches of each batch's own Rayleigh quotient."""

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean, stdev

import pytest
import torch
from oracles import dense_gradient, dense_hessian
from reference.problems import classification_batch, problem
from reference.snapshots import snapshot

from clipbench.contracts import Batch, Problem, Snapshot
from clipbench.errors import ClipbenchError
from clipbench.probes.batch_sharpness import ERROR, measure
from clipbench.records import BATCH_SHARPNESS


def batch(number: int) -> Batch:
    return classification_batch(6, features=5, generator=torch.Generator().manual_seed(number))


def held_with_batches() -> Snapshot:
    """A snapshot of step 1 whose training batches differ."""
    held = snapshot(problem("mlp"))

    def train_batches(start: int) -> Iterator[Batch]:
        while True:
            yield batch(start)
            start += 1

    return replace(held, problem=replace(held.problem, train_batches=train_batches))


def test_it_is_the_mean_of_each_batchs_own_quotient_from_this_step_on() -> None:
    held = held_with_batches()
    given = held.problem
    each = []
    for number in (1, 2, 3, 4):
        g = dense_gradient(given.model, given.loss, [batch(number)])
        each.append(float(g @ dense_hessian(given.model, given.loss, [batch(number)]) @ g / (g @ g)))
    rows = {row[:2]: row[2] for row in measure(held, batches=4)}
    # A float32 model against float64.
    assert rows == pytest.approx({("", BATCH_SHARPNESS): mean(each), ("", ERROR): stdev(each) / 2}, rel=1e-3)


def test_batches_without_a_gradient_or_a_loss_are_left_out_and_said() -> None:
    held = held_with_batches()
    said: list[str] = []

    def loss(model: torch.nn.Module, one: Batch) -> torch.Tensor:
        place = next(i for i in range(1, 5) if torch.equal(one["x"], batch(i)["x"]))
        return held.problem.loss(model, one) * {1: 1.0, 2: math.nan, 3: 0.0, 4: 1.0}[place]

    broken = replace(held, problem=replace(held.problem, loss=loss), remark=said.append)
    rows = {row[1]: row[2] for row in measure(broken, batches=4)}
    values = []
    for number in (1, 4):
        [(_, _, value), _] = measure(replace(held, step=number, problem=_only(held, number)), batches=2)
        values.append(value)
    assert rows[BATCH_SHARPNESS] == pytest.approx(mean(values), rel=1e-6)
    assert "batches without a gradient or a finite loss are left out" in said


def _only(held: Snapshot, number: int) -> Problem:
    def train_batches(start: int) -> Iterator[Batch]:  # noqa: ARG001
        while True:
            yield batch(number)

    return replace(held.problem, train_batches=train_batches)


def test_with_no_sound_batch_there_is_no_row() -> None:
    held = held_with_batches()
    broken = replace(held.problem, loss=lambda m, b: held.problem.loss(m, b) * math.nan)
    assert list(measure(replace(held, problem=broken))) == []


def test_one_batch_has_no_error_and_is_refused() -> None:
    with pytest.raises(ClipbenchError, match="1 batches"):
        list(measure(held_with_batches(), batches=1))
