"""Every rule against double backward of t ↦ f(x0 + t·x1 + ½t²·x2) at t = 0, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from reference.operations import FLAT, IMAGES, LAYERS, POSITIVE, TABLE, TWO, Function
from torch import Tensor
from torch.nn import functional

from clipbench.geometry.contexts import math_attention
from clipbench.geometry.jets import products
from clipbench.geometry.jets.jet import Jet, parts
from clipbench.geometry.jets.propagation import RULES, Propagation

K = 2
aten = torch.ops.aten
ONLY_ON_A_GPU = {aten._fused_rms_norm.default}  # elsewhere it is composed of others before it gets here


def along_a_curve(function: Function, jets: Sequence[tuple[Tensor, Tensor | None, Tensor | None]]) -> list[Tensor]:
    """Value, first and second derivative of f(x(t)) at 0 by double backward: of sums over f's numbers, (K, 3) each."""

    def derivatives(y: Tensor, t: Tensor) -> tuple[float, float]:
        if not y.requires_grad:
            return 0.0, 0.0
        (first,) = torch.autograd.grad(y, t, create_graph=True)
        if not first.requires_grad:
            return float(first.detach()), 0.0
        (bend,) = torch.autograd.grad(first, t, allow_unused=True, materialize_grads=True)
        return float(first.detach()), float(bend)

    rows = []
    for k in range(K):
        for weighting in range(3):
            t = torch.zeros((), dtype=torch.float64, requires_grad=True)
            point = [
                x0 + (0 if x1 is None else t * x1[k]) + (0 if x2 is None else 0.5 * t * t * x2[k])
                for x0, x1, x2 in jets
            ]
            with math_attention():
                y = function(*point)
            rows.append(derivatives((y * weights(y.shape)[weighting]).sum(), t))
    first, second = torch.tensor(rows, dtype=torch.float64).view(K, 3, 2).unbind(-1)
    return [function(*(x0 for x0, _, _ in jets)), first, second]


def weights(shape: torch.Size) -> Tensor:
    """Three random weightings of so many numbers: wrong derivatives do not cancel in all of them."""
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def drawn(shapes: Sequence[tuple[int, ...]], present: str, *, positive: bool) -> list[Any]:
    generator = torch.Generator().manual_seed(len(shapes) + len(shapes[0]))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [
        (
            normal(*shape).exp() if positive else normal(*shape),
            normal(K, *shape) if "1" in present else None,
            normal(K, *shape) if "2" in present else None,
        )
        for shape in shapes
    ]


def agree(function: Function, jets: Sequence[tuple[Tensor, Tensor | None, Tensor | None]]) -> None:
    value, *expected = along_a_curve(function, jets)
    with Propagation(), math_attention():
        found = function(*(x0 if x1 is None and x2 is None else Jet(x0, x1, x2) for x0, x1, x2 in jets))
    y0, *derivatives = parts(found)
    torch.testing.assert_close(y0, value, rtol=1e-12, atol=1e-12)
    for mine, exact in zip(derivatives, expected, strict=True):
        mine = torch.zeros(K, *value.shape, dtype=torch.float64) if mine is None else mine
        assert mine.shape == (K, *value.shape)
        summed = (mine.unsqueeze(1) * weights(value.shape)).reshape(K, 3, -1).sum(-1)
        torch.testing.assert_close(summed, exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("present", ["12", "1", "2"])
@pytest.mark.parametrize("name", TABLE)
def test_a_rule_is_double_backward(name: str, present: str) -> None:
    function, shapes = TABLE[name]
    agree(function, drawn(shapes, present, positive=False))


@pytest.mark.parametrize("present", ["12", "1", "2"])
@pytest.mark.parametrize("name", POSITIVE)
def test_a_rule_for_positive_numbers_is_double_backward(name: str, present: str) -> None:
    agree(POSITIVE[name], drawn([FLAT], present, positive=True))


@pytest.mark.parametrize("name", [*TWO, *LAYERS])
def test_an_argument_that_does_not_move_is_a_constant(name: str) -> None:
    function, shapes = TABLE[name]
    for still in range(1 if name == "in place" else 0, len(shapes)):  # a constant is not changed into a jet
        jets = drawn(shapes, "12", positive=False)
        jets[still] = (jets[still][0], None, None)
        agree(function, jets)


def test_every_rule_is_used_by_a_test_of_this_table() -> None:
    used = set()

    class Noting(dict[Any, Any]):
        def get(self, func: Any, default: Any = None) -> Any:
            used.add(func)
            return super().get(func, default)

    rules = Noting(RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipbench.geometry.jets.propagation.RULES", rules)
        for name, (function, shapes) in {**TABLE, **{n: (f, [FLAT]) for n, f in POSITIVE.items()}}.items():
            jets = drawn(shapes, "12", positive=name in POSITIVE)
            with Propagation(), math_attention():
                function(*(Jet(*each) for each in jets))
        for name in NORMS:
            test_batch_norms_of_other_devices_and_compilers_are_the_ordinary_one(name)
    assert sorted(str(func) for func in RULES.keys() - used - ONLY_ON_A_GPU) == []


NORMS: dict[str, Callable[..., Any]] = {
    "cudnn": lambda x, w, b, m, v: aten.cudnn_batch_norm(x, w, b, m, v, False, 0.1, 1e-5),
    "legit": lambda x, w, b, m, v: aten._native_batch_norm_legit(x, w, b, m, v, False, 0.1, 1e-5),
    "no training": lambda x, w, b, m, v: aten._native_batch_norm_legit_no_training(x, w, b, m, v, 0.1, 1e-5),
}


@pytest.mark.parametrize("name", NORMS)
def test_batch_norms_of_other_devices_and_compilers_are_the_ordinary_one(name: str) -> None:
    jets = [Jet(*each) for each in drawn([IMAGES, (3,), (3,)], "12", positive=False)]
    kept = (torch.ones(3).double(), torch.arange(1, 4).double())
    with Propagation():
        found = NORMS[name](*jets, *kept)[0]
        expected = functional.batch_norm(jets[0], *kept, jets[1], jets[2])
    for mine, ordinary in zip(parts(found), parts(expected), strict=True):
        torch.testing.assert_close(mine, ordinary, rtol=1e-12, atol=1e-12)


def test_the_fused_root_mean_square_is_the_composed_one() -> None:
    x, w = (Jet(*each) for each in drawn([(2, 3, 4), (4,)], "12", positive=False))
    with Propagation():
        expected = functional.rms_norm(x, (4,), w)
    (fused,) = ONLY_ON_A_GPU
    found = RULES[fused](fused, x, [4], w, None)[0]
    for mine, ordinary in zip(parts(found), parts(expected), strict=True):
        torch.testing.assert_close(mine, ordinary, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("present", ["12", "1"])
@pytest.mark.parametrize("name", ["mm", "linear", "linear with bias"])
def test_three_products_are_four(name: str, present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", 1)
    function, shapes = TABLE[name]
    first, *weights = drawn(shapes, "12", positive=False)
    x0, x1, x2 = first
    agree(function, [(x0, x1, x2 if present == "12" else None), *((w0, w1, None) for w0, w1, _ in weights)])
    agree(function, [(x0, 0 * x1, x2), *((w0, w1, None) for w0, w1, _ in weights)])


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_three_products_round_no_worse_than_the_larger_of_two(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    a0, b0 = (torch.randn(80, 80, generator=generator) for _ in range(2))
    a1, b1 = (torch.randn(K, 80, 80, generator=generator) * factor for factor in (scale, 1e-3))
    with Propagation():
        found = torch.mm(Jet(a0, a1, None), Jet(b0, b1, None))
    exact = torch.bmm(a1.double(), b0.double().expand(K, 80, 80)) + torch.matmul(a0.double(), b1.double())
    _, slope, _ = parts(found)
    assert slope is not None
    # Float32, with sums of 80 terms: 6e-8 of the whole, times a few.
    assert float((slope - exact).norm() / exact.norm()) < 1e-6
