"""What has no slope or curvature to measure: each a clear error, and the model as it was."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from oracles import Trace
from reference.problems import NO_DATA, classification_loss, problem, random_direction
from torch import Tensor, nn

from clipbench.contracts import Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import NonFiniteLossError, directional_curvature


def refused(
    message: str,
    *,
    error: type[ClipbenchError] = ClipbenchError,
    given: Problem,
    moved: Mapping[str, Tensor] | None = None,
) -> None:
    real = {**random_direction(given.model, seed=0), **(moved or {})}
    before = Trace.of(given.model)
    with pytest.raises(error, match=message):
        directional_curvature(given.model, given.loss, given.probe_batches, {"own": real})
    before.assert_unchanged(given.model)


def test_losses_that_cannot_be_differentiated_are_refused() -> None:
    given = problem("mlp")
    loss = given.loss
    refused(r"batch 0 has the shape \(1,\)", given=replace(given, loss=lambda m, b: loss(m, b)[None]))
    refused("batch 0 does not depend on any trainable", given=replace(given, loss=lambda m, b: loss(m, b).detach()))
    refused(
        "loss of batch 0 is nan",
        error=NonFiniteLossError,
        given=replace(given, loss=lambda m, b: loss(m, b) * math.nan),
    )
    refused(
        "loss of batch 0 is inf",
        error=NonFiniteLossError,
        given=replace(given, loss=lambda m, b: loss(m, b) * math.inf),
    )


def test_batches_that_hold_nothing_are_refused() -> None:
    given = problem("mlp")
    refused("no batches", given=replace(given, probe_batches=[]))
    empty = replace(given.probe_batches[0], samples=0)
    refused("batch 1 has no terms", given=replace(given, probe_batches=[given.probe_batches[0], empty]))


def test_directions_that_do_not_fit_the_model_are_refused() -> None:
    given = problem("mlp")
    refused(r"direction 'own' lacks \[\] and has \['head.weight'\]", given=given, moved={"head.weight": torch.ones(2)})
    refused(r"shape \(4,\) at '0.bias', where the parameter has \(7,\)", given=given, moved={"0.bias": torch.ones(4)})
    missing = random_direction(given.model, seed=0)
    del missing["2.bias"]
    with pytest.raises(ClipbenchError, match=r"lacks \['2.bias'\]"):
        directional_curvature(given.model, given.loss, given.probe_batches, {"own": missing})


def test_a_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(ClipbenchError, match="no trainable parameter"):
        directional_curvature(nn.Tanh(), classification_loss, [NO_DATA], {})
