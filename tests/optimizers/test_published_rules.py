"""Every optimizer of the shelf against its published rule, in float32, at gradients of several scales."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import flat
from reference import optimizers as reference
from reference import second_moments
from reference.clipping import Steps
from torch import Tensor, nn

import clipbench.optimizers
from clipbench.clipping.hook import CoordinateClip

SHELF = {path.stem for path in Path(clipbench.optimizers.__path__[0]).glob("*.py") if path.stem != "__init__"}
SHAPES = [(), (7,), (6, 5), (2, 3, 4), (2, 2, 3, 3)]
STEPS = 6

Weights = list[nn.Parameter]
ALONE: list[dict[str, bool]] = [{}]
LOOPS: list[dict[str, bool]] = [{"foreach": False}, {"foreach": True}]
FORMS: list[dict[str, bool]] = [{"foreach": False}, {"foreach": True}, {"fused": True}]
AVERAGE: dict[str, Any] = {"momentum": 0.9}

# Of each optimizer: its options, what they are called in its rule, where the paper clips, and its implementations.
RULES: dict[str, tuple[dict[str, Any], Callable[..., list[Tensor]], Any, list[dict[str, bool]]]] = {
    "sgd": ({**AVERAGE, "dampening": 0.9}, partial(reference.sgd, **AVERAGE), "gradient", FORMS),
    "adam": ({}, partial(reference.adam, betas=(0.9, 0.999), eps=1e-8), "numerator", FORMS),
    "adamw": ({}, partial(reference.adam, betas=(0.9, 0.999), eps=1e-8, decay=0.01), "numerator", FORMS),
    "adafactor": ({}, partial(reference.adafactor, eps=(1e-30, 1e-3), d=1.0), "numerator", ALONE),
    "lion": ({}, partial(reference.lion, betas=(0.9, 0.99), weight_decay=0.0), "gradient", ALONE),
    "signsgd": ({}, partial(reference.signsgd, **AVERAGE), "gradient", ALONE),
    "normalized_sgd": ({}, partial(reference.normalized_sgd, **AVERAGE), "gradient", ALONE),
    "nadam": ({}, second_moments.nadam, "numerator", LOOPS),
    "radam": ({}, second_moments.radam, "numerator", LOOPS),
    "rmsprop": ({}, partial(second_moments.rmsprop, alpha=0.99, momentum=0.0), "numerator", LOOPS),
}
OF_MATRICES = {"muon"}  # in 16 bits: test_formulas.py has its rule
CASES = [(name, form) for name, rule in RULES.items() for form in rule[3]]


def parameters() -> Weights:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def gradients(scale: float) -> list[list[Tensor]]:
    """Of heavy tails; a row and a column of the matrix are never used, and the first tensor is not at first."""
    generator = torch.Generator().manual_seed(2)
    steps = [[scale * torch.randn(shape, generator=generator) ** 3 for shape in SHAPES] for _ in range(STEPS)]
    for t, given in enumerate(steps):
        given[2][1], given[2][:, 3] = 0.0, 0.0
        if t < 2:
            given[0].zero_()
    return steps


def build(name: str, weights: Weights, *, lr: float, form: dict[str, bool]) -> torch.optim.Optimizer:
    """By the shelf's factory, or by the class it builds in another of its implementations."""
    options = RULES[name][0]
    named = [(f"p{i}", weight) for i, weight in enumerate(weights)]
    built: torch.optim.Optimizer = import_module(f"clipbench.optimizers.{name}").build(named, lr=lr, **options)
    if not form:
        return built
    kind: Any = type(built)
    named_by_torch = ("foreach", "fused", "decoupled_weight_decay")
    given = {key: value for key, value in built.defaults.items() if key not in named_by_torch}
    return kind(weights, **given, **form)  # type: ignore[no-any-return]


def updates(optimizer: torch.optim.Optimizer, weights: Weights, steps: Steps) -> list[Tensor]:
    found = []
    for given in steps:
        before = flat(weights).double()
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        found.append(flat(weights).double() - before)
    return found


def published(name: str, steps: Steps, *, lr: float, fraction: float) -> list[Tensor]:
    """The updates of the rule, in float64 and with nothing of the optimizer's own code."""
    rule = partial(RULES[name][1], [w.detach() for w in parameters()], lr=lr, fraction=fraction)
    path = [flat(parameters()).double(), *(flat(rule(steps[:t])) for t in range(1, len(steps) + 1))]
    return [after - before for before, after in pairwise(path)]


def test_every_optimizer_of_the_shelf_has_its_rule_here() -> None:
    assert set(RULES) | OF_MATRICES == SHELF


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize(("name", "form"), CASES)
def test_every_step_is_that_of_the_published_rule(
    name: str, form: dict[str, bool], scale: float, fraction: float
) -> None:
    # An update is known as well as the weights it is a difference of, so it is made about as large as they are.
    lr = 0.6 / scale if name in ("sgd", "radam") else 0.6  # RAdam's first five steps are the momentum's
    weights, steps = parameters(), gradients(scale)
    optimizer = build(name, weights, lr=lr, form=form)
    if fraction:
        CoordinateClip(optimizer, fraction, of=RULES[name][2])
    expected = published(name, steps, lr=lr, fraction=fraction)
    for found, rule in zip(updates(optimizer, weights, steps), expected, strict=True):
        assert float(torch.cosine_similarity(found, rule, dim=0)) > 1 - 1e-6
        # The rounding of float32 weights, of which the update is a difference: at most 3e-7 was seen.
        assert float(found.norm()) == pytest.approx(float(rule.norm()), rel=1e-6)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_clip_is_where_the_paper_has_it(name: str, form: dict[str, bool]) -> None:
    """So that the test above could fail: without the clip, or with it elsewhere, the direction is another."""
    rule = partial(published, name, gradients(1e-3), lr=0.6)
    clipped, plain = rule(fraction=0.5), rule(fraction=0.0)
    others = [plain]
    if RULES[name][2] == "numerator":
        weights = parameters()
        optimizer = build(name, weights, lr=0.6, form=form)
        CoordinateClip(optimizer, 0.5, of="gradient")
        others.append(updates(optimizer, weights, gradients(1e-3)))
    for other in others:
        cosines = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(clipped, other, strict=True)]
        assert min(cosines) < (1 - 1e-3)
