"""The clip under Accelerate: attach it before or after prepare(), and the loop stays as it is."""

import os
from typing import Any

import pytest
import torch
from integrations.twin import FRACTION, Net, adamw, batches, batches_seen_by, check, plain_loop, watch

from clipbench.clipping.hook import CoordinateClip

pytestmark = pytest.mark.slow  # heavy packages, and trainings by them

os.environ["HF_HUB_OFFLINE"] = "1"
accelerate = pytest.importorskip("accelerate", reason="not installed: accelerate")


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("attach", ["before prepare", "after prepare"])
def test_an_accelerated_loop_trains_what_a_plain_loop_trains(accumulate: int, attach: str) -> None:
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    model = Net()
    optimizer = adamw(model)
    if attach == "before prepare":
        clip = CoordinateClip(optimizer, FRACTION, of="numerator")
    wrapped, prepared, loader = accelerator.prepare(model, optimizer, batches())
    if attach == "after prepare":
        clip = CoordinateClip(prepared.optimizer, FRACTION, of="numerator")
    seen, given = watch(optimizer, clip), batches_seen_by(model)
    for batch in loader:
        with accelerator.accumulate(wrapped):
            accelerator.backward(wrapped(**batch)["loss"])
            prepared.step()
            prepared.zero_grad()
    assert len(given) == 8
    expected, without = (plain_loop(Net(), given, accumulate=accumulate, clipped=clipped) for clipped in (True, False))
    check(model, seen, like=expected, unlike=without, steps=8 // accumulate)


def test_the_wrapper_around_an_optimizer_is_refused_and_never_left_unclipped_in_silence() -> None:
    """Only the optimizer within takes steps and calls hooks."""
    prepared: Any = accelerate.Accelerator(cpu=True).prepare(adamw(Net()))
    within = prepared.optimizer
    assert isinstance(prepared, torch.optim.Optimizer)
    with pytest.raises(TypeError, match=r"AcceleratedOptimizer is a wrapper around it \(AdamW\): pass its \.optimizer"):
        CoordinateClip(prepared, FRACTION)
    assert CoordinateClip(within, FRACTION).last is None
