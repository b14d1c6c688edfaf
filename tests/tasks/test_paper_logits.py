"""The logits of tasks of language: those of the model itself, and never all at once where they are many."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest
import torch
from reference.problems import random_direction
from tasks.papers import ENGINES, LANGUAGE_MODELS, MODELS, build, first, gradient, logits, of_unequal_lengths
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipbench.geometry.curvature import directional_curvature
from clipbench.geometry.memory import MemoryTally
from clipbench.networks import counted as counting
from clipbench.networks import hub

pytestmark = pytest.mark.slow  # heavy packages, and models of theirs

pytest.importorskip("transformers", reason="not installed: transformers")


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_an_output_layer_after_the_model_gives_the_models_own_logits(name: str) -> None:
    problem = build(name)
    batch = first(problem)
    asked: list[Mapping[str, Any]] = []
    hook = problem.model.register_forward_pre_hook(lambda _, __, given: asked.append(given), with_kwargs=True)
    found = logits(name, problem, batch)
    hook.remove()
    with torch.no_grad():
        own = problem.model(**asked[0]).logits
    assert found.shape[2] == own.shape[2] == 320
    assert torch.allclose(found, own, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_model_that_may_do_more_with_its_logits_keeps_its_output_layer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = build(name)
    batch = first(problem)
    expected = problem.loss(problem.model, batch)
    monkeypatch.setattr(hub, "_HEAD_LAST", ())
    output, *_ = import_module(f"clipbench.tasks.{MODELS[name][0]}").predicted(problem.model, batch)
    assert output.hidden.shape[2] == output.classes == 320
    torch.testing.assert_close(problem.loss(problem.model, batch), expected)


class _LargestOfClasses(TorchDispatchMode):
    """The largest tensor whose last axis is the classes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.ndim and each.shape[-1] == 320:
                self.largest = max(self.largest, each.numel())
        return result


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_logits_never_exist_all_at_once_where_they_are_more_than_a_block(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a training step nor in a metric; and every number is the same to rounding."""
    problem = build(name)
    batch = of_unequal_lengths(name, problem)
    direction = {"": random_direction(problem.model, seed=0)}

    def numbers() -> tuple[Tensor, dict[str, Tensor], list[float], int]:
        largest = _LargestOfClasses()
        with largest:
            slopes = gradient(problem, batch)
            of_metric = problem.metrics["accuracy"](problem.model, batch)
        found = [
            directional_curvature(problem.model, problem.loss, [batch], direction, engine=engine)[""].curvature
            for engine in ENGINES
        ]
        return problem.loss(problem.model, batch), slopes, [*map(float, of_metric), *found], largest.largest

    loss, slopes, others, all_logits = numbers()
    monkeypatch.setattr(counting, "BLOCK", 40 * 320)
    in_blocks = numbers()
    torch.testing.assert_close(in_blocks[0], loss)
    for part, slope in slopes.items():
        torch.testing.assert_close(in_blocks[1][part], slope, rtol=1e-4, atol=1e-6)
    assert in_blocks[2] == pytest.approx(others, rel=1e-4)
    assert in_blocks[3] == 40 * 320 < all_logits


def test_a_training_step_needs_less_memory_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = build("GPT-Neo", length=100, batch=8)
    batch = first(problem)
    peaks = []
    for block in (counting.BLOCK, 50 * 320):
        monkeypatch.setattr(counting, "BLOCK", block)
        with MemoryTally() as tally:
            problem.loss(problem.model, batch).backward()
        peaks.append(tally.peak)
    all_logits = 4 * 8 * 100 * 320
    assert peaks[0] - peaks[1] > all_logits
