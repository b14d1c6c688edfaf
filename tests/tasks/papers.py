"""The tasks of the paper's size, tiny: how each is built, and a batch of it with unequal lengths."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from clipbench.contracts import Batch, Problem
from clipbench.geometry.curvature import CurvatureEngine
from clipbench.networks.counted import Output

CPU = torch.device("cpu")
# With few examples in a batch, and texts of different lengths where there can be some.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "T5": ("seq2seq", {"batch": 4}),
    "GPT-Neo": ("causal_lm", {"batch": 4, "length": 24}),
    "RoBERTa": ("masked_lm", {"batch": 4, "length": 24}),
    "DistilBERT": ("text_classification", {"batch": 4, "length": 24}),
    "ResNet": ("images", {"batch": 4}),
    "ViT": ("images", {"batch": 4, "architecture": "vit"}),
}
PADDED = {
    "T5": ("source", "target"),
    "GPT-Neo": ("tokens",),
    "RoBERTa": ("tokens", "hidden", "chosen"),
    "DistilBERT": ("tokens",),
}
ENGINES: tuple[CurvatureEngine, ...] = ("double_backward", "jets", "adjoint")
LANGUAGE_MODELS = [name for name in PADDED if name != "DistilBERT"]
every_model = pytest.mark.parametrize("name", MODELS)
every_language_model = pytest.mark.parametrize("name", PADDED)


def build(name: str, **options: Any) -> Problem:
    task, own = MODELS[name]
    problem: Problem = import_module(f"clipbench.tasks.{task}").build(3, CPU, **{**own, **options})
    return problem


def first(problem: Problem) -> Batch:
    return next(problem.train_batches(0))


def of_unequal_lengths(name: str, problem: Problem) -> Batch:
    """The first batch; its examples but the first are cut at different places, and what is beyond is padding."""
    batch = first(problem)
    if name == "T5":
        return batch  # pairs are of different lengths
    width = batch["tokens"].shape[1]
    lengths = torch.tensor([width, width - 7, 11, 5])
    tensors = {**batch.tensors, "length": lengths}
    if name == "GPT-Neo":
        return Batch(tensors, 4, int(lengths.sum()) - 4, lengths - 1)
    if name == "RoBERTa":
        chosen = batch["chosen"].clone()
        chosen[:, 0] = True
        terms = (chosen & (torch.arange(width) < lengths[:, None])).sum(dim=1)
        return Batch({**tensors, "chosen": chosen}, 4, int(terms.sum()), terms)
    return replace(batch, tensors=tensors)


def gradient(problem: Problem, batch: Batch) -> dict[str, Tensor]:
    problem.model.zero_grad()
    problem.loss(problem.model, batch).backward()
    return {name: p.grad.clone() for name, p in problem.model.named_parameters() if p.grad is not None}


def logits(name: str, problem: Problem, batch: Batch) -> Tensor:
    task = import_module(f"clipbench.tasks.{MODELS[name][0]}")
    with torch.no_grad():
        output: Output = task.predicted(problem.model, batch)[0]
    return output.head(output.hidden)
