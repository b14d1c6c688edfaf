"""Each optimizer against its formula, written out in float64."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from oracles import flat
from reference import optimizers as reference
from reference import second_moments
from torch import Tensor, nn

SHAPES = [(4, 3), (3,), (), (2, 5)]
STEPS = 12


def parameters(dtype: torch.dtype) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"p{i}": nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
        for i, shape in enumerate(SHAPES)
    }


def gradients() -> list[list[Tensor]]:
    """Of very different sizes from tensor to tensor and step to step; the third tensor's are zero at first."""
    generator = torch.Generator().manual_seed(2)
    steps = [
        [torch.randn(s, generator=generator, dtype=torch.float64) * 10.0 ** (i - t % 3) for i, s in enumerate(SHAPES)]
        for t in range(STEPS)
    ]
    for t in range(4):
        steps[t][2] = torch.zeros((), dtype=torch.float64)
    return steps


def run(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> list[Tensor]:
    weights = parameters(dtype)
    optimizer = import_module(f"clipbench.optimizers.{name}").build(weights.items(), **options)
    for given in gradients():
        for weight, gradient in zip(weights.values(), given, strict=True):
            weight.grad = gradient.to(dtype)
        optimizer.step()
    return [weight.detach() for weight in weights.values()]


LION = {"betas": (0.8, 0.95), "weight_decay": 0.3}
FACTORED = {"weight_decay": 0.3, "d": 1.5, "eps": (0.04, 0.5), "beta2_decay": -0.5}
DECOUPLED = {"weight_decay": 0.3, "decoupled_weight_decay": True}
CASES: list[tuple[str, dict[str, Any], Callable[..., list[Tensor]], dict[str, Any]]] = [
    ("normalized_sgd", {"momentum": 0.9}, reference.normalized_sgd, {"momentum": 0.9}),
    ("normalized_sgd", {"momentum": 0.0}, reference.normalized_sgd, {"momentum": 0.0}),
    ("signsgd", {"momentum": 0.9}, reference.signsgd, {"momentum": 0.9}),
    ("signsgd", {"momentum": 0.0}, reference.signsgd, {"momentum": 0.0}),
    ("lion", {}, reference.lion, {"betas": (0.9, 0.99), "weight_decay": 0.0}),
    ("lion", LION, reference.lion, LION),
    ("adam", {}, reference.adam, {}),
    ("adam", {"betas": (0.5, 0.9), "amsgrad": True}, reference.adam, {"betas": (0.5, 0.9), "amsgrad": True}),
    ("adamw", {"weight_decay": 0.3}, reference.adam, {"decay": 0.3}),
    ("adamw", {}, reference.adam, {"decay": 0.01}),
    ("nadam", {}, second_moments.nadam, {}),
    ("nadam", {**DECOUPLED, "betas": (0.5, 0.9)}, second_moments.nadam, {"decay": 0.3, "betas": (0.5, 0.9)}),
    ("radam", {}, second_moments.radam, {}),
    ("radam", {**DECOUPLED, "betas": (0.5, 0.9)}, second_moments.radam, {"decay": 0.3, "betas": (0.5, 0.9)}),
    ("rmsprop", {}, second_moments.rmsprop, {"alpha": 0.99, "momentum": 0.0}),
    ("rmsprop", {"alpha": 0.5, "momentum": 0.9}, second_moments.rmsprop, {"alpha": 0.5, "momentum": 0.9}),
    ("adafactor", {}, reference.adafactor, {}),
    ("adafactor", FACTORED, reference.adafactor, FACTORED),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "formula", "terms"), CASES)
def test_it_is_its_formula(
    name: str, options: dict[str, Any], formula: Callable[..., list[Tensor]], terms: dict[str, Any]
) -> None:
    found = run(name, lr=0.03, **options)
    expected = formula(list(parameters(torch.float64).values()), gradients(), lr=0.03, **terms)
    rtol = 1e-7 if name == "nadam" else 1e-10  # whose product of momenta is kept in float32
    torch.testing.assert_close(flat(found), flat(expected), rtol=rtol, atol=rtol / 100)


def test_sgd_with_dampening_steps_along_the_momentum_average() -> None:
    found = run("sgd", lr=0.03, momentum=0.9, dampening=0.9)
    expected = [w.detach() for w in parameters(torch.float64).values()]
    for t in range(1, STEPS + 1):
        average = reference.sgd_average(gradients()[:t], 0.9)
        expected = [w - 0.03 * m for w, m in zip(expected, average, strict=True)]
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "rule"), [("signsgd", torch.sign), ("normalized_sgd", lambda m: m / m.norm())])
def test_sign_and_normalized_sgd_turn_sgds_own_direction(name: str, rule: Callable[[Tensor], Tensor]) -> None:
    """Against torch.optim.SGD's update itself, tensor by tensor, at one point."""

    def last_updates(which: str, **options: Any) -> list[Tensor]:
        weights = {key: nn.Parameter(torch.zeros_like(p)) for key, p in parameters(torch.float64).items()}
        optimizer = import_module(f"clipbench.optimizers.{which}").build(weights.items(), lr=1.0, **options)
        for given in gradients():
            for weight, gradient in zip(weights.values(), given, strict=True):
                weight.data.zero_()
                weight.grad = gradient.clone()
            optimizer.step()
        return [weight.detach() for weight in weights.values()]

    stock = last_updates("sgd", momentum=0.9, dampening=0.9)
    for found, update in zip(last_updates(name, momentum=0.9), stock, strict=True):
        expected = rule(update) * (1.0 if name == "signsgd" else math.sqrt(update.numel()))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjusted", ["original", "match_rms_adamw"])
def test_muon_maps_the_singular_values_of_its_momentum_by_the_iterated_polynomial(
    shape: tuple[int, int], nesterov: bool, adjusted: str
) -> None:
    """By a singular value decomposition in float64; the optimizer's own products are of bfloat16, with 8 bits."""
    generator = torch.Generator().manual_seed(3)
    given = [torch.randn(shape, generator=generator) for _ in range(4)]
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    options = {"nesterov": nesterov, "adjust_lr_fn": adjusted, "weight_decay": 0.5, "momentum": 0.9}
    optimizer = import_module("clipbench.optimizers.muon").build([("w", weight)], lr=0.1, **options)
    longer = max(shape)
    scale = math.sqrt(max(1.0, shape[0] / shape[1])) if adjusted == "original" else 0.2 * math.sqrt(longer)
    average = torch.zeros(shape, dtype=torch.float64)
    for gradient in given:
        before = weight.detach().double()
        weight.grad = gradient.clone()
        optimizer.step()
        average = 0.9 * average + 0.1 * gradient.double()
        left, sizes, right = torch.linalg.svd(
            0.1 * gradient.double() + 0.9 * average if nesterov else average, full_matrices=False
        )
        sizes = sizes / sizes.norm()
        for _ in range(5):
            sizes = 3.4445 * sizes - 4.775 * sizes**3 + 2.0315 * sizes**5
        expected = left @ sizes.diag() @ right
        found = ((1 - 0.1 * 0.5) * before - weight.detach().double()) / (0.1 * scale)
        assert float((found - expected).norm() / expected.norm()) < 0.1


@pytest.mark.parametrize("size", [1e-19, 1.0, 1e18])
def test_normalized_sgd_moves_by_the_rate_whatever_the_gradients_size(size: float) -> None:
    weight = nn.Parameter(torch.zeros(8))
    optimizer = import_module("clipbench.optimizers.normalized_sgd").build([("w", weight)], lr=0.5)
    weight.grad = torch.linspace(-size, size, 8)
    optimizer.step()
    # Squares near the end of float32's range keep few digits.
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.5, rel=1e-3)


def test_normalized_sgd_fades_out_where_squares_vanish() -> None:
    weight = nn.Parameter(torch.zeros(8))
    optimizer = import_module("clipbench.optimizers.normalized_sgd").build([("w", weight)], lr=0.5)
    weight.grad = torch.full((8,), 1e-30)
    optimizer.step()
    assert float(weight.detach().abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sgd", {"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0"),
        ("sgd", {"dampening": 1.5}, "dampening must be from 0 to 1, not 1.5"),
        ("sgd", {"weight_decay": -0.1}, "weight_decay must be a number of at least 0, not -0.1"),
        ("sgd", {"nesterov": True}, "Nesterov momentum requires a momentum"),
        ("normalized_sgd", {"momentum": -0.1}, "momentum must be at least 0 and below 1, not -0.1"),
        ("signsgd", {"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0"),
        ("lion", {"betas": (0.9, 1.0)}, r"betas must each be at least 0 and below 1, not \(0.9, 1.0\)"),
        ("lion", {"weight_decay": -1.0}, "weight_decay must be a number of at least 0, not -1.0"),
        ("adam", {"betas": (1.0, 0.9)}, "beta parameter at index 0: 1.0"),
        ("adafactor", {"d": 0.5}, "d should be >= 1 but is: 0.5"),
        ("nadam", {"momentum_decay": -1.0}, "momentum_decay value: -1.0"),
        ("rmsprop", {"alpha": 1.0}, "alpha must be at least 0 and below 1, not 1.0"),
        ("rmsprop", {"momentum": 1.5}, "momentum must be at least 0 and below 1, not 1.5"),
        ("muon", {"ns_steps": 0}, "ns_steps must be from 1 to 99, not 0"),
        ("muon", {}, r"muon is for matrices, and p1 is none \(2 of 4 are not\)"),
    ],
)
def test_a_value_outside_its_bounds_is_refused_by_name(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(name, lr=0.1, **options)
