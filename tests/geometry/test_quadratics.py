"""Closed forms on quadratics: what clipping, signs and Adam do to the directional sharpness, exactly."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import naive_clip
from reference.problems import NO_DATA, Quadratic, quadratic_loss
from torch import Tensor, nn

from clipbench.clipping.threshold import coordinate_threshold
from clipbench.contracts import Batch
from clipbench.geometry.curvature import CurvatureEngine, DirectionalCurvature, directional_curvature

D = 40
EXACT = 1e-12  # float64 throughout


def along(hessian: Tensor, gradient: Tensor, direction: Tensor) -> DirectionalCurvature:
    """At the point where ½θᵀHθ has the given gradient."""
    model = Quadratic(hessian, torch.linalg.solve(hessian, gradient))
    return directional_curvature(model, quadratic_loss, [NO_DATA], {"u": {"point": direction}})["u"]


def sharpness(hessian: Tensor, gradient: Tensor, direction: Tensor) -> float:
    return along(hessian, gradient, direction).curvature


def clipped(gradient: Tensor, fraction: float) -> Tensor:
    threshold = coordinate_threshold([gradient], fraction)
    return gradient.clamp(min=-threshold, max=threshold)


def spread(*, seed: int) -> tuple[Tensor, Tensor]:
    """A spectrum in rising order, and a gradient with rising magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.rand(D, generator=generator, dtype=torch.float64).mul(6).exp().sort().values
    g = torch.randn(D, generator=generator, dtype=torch.float64) ** 3
    return h, g[g.abs().argsort()]


def positive_definite(*, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(D, D, generator=generator, dtype=torch.float64)
    return factor @ factor.T / D + 0.1 * torch.eye(D, dtype=torch.float64)


def rotation(*, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64)).Q  # type: ignore[no-any-return]


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_clipping_on_a_diagonal_has_its_closed_form(fraction: float) -> None:
    h, g = spread(seed=0)
    threshold, _ = naive_clip(g.tolist(), fraction)
    squares = [min(x * x, threshold * threshold) for x in g.tolist()]
    expected = sum(a * b for a, b in zip(h.tolist(), squares, strict=True)) / sum(squares)
    assert sharpness(h.diag(), g, clipped(g, fraction)) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_clipping_lowers_the_sharpness_where_steep_is_curved_and_raises_it_where_steep_is_flat(seed: int) -> None:
    h, g = spread(seed=seed)
    fractions = (0.05, 0.1, 0.2, 0.4, 0.8)
    falling = [sharpness(h.diag(), g, clipped(g, fraction)) for fraction in fractions]
    rising = [sharpness(h.flip(0).diag(), g, clipped(g, fraction)) for fraction in fractions]
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)
    assert falling[-1] < 0.9 * falling[0]
    assert rising[-1] > 1.1 * rising[0]


def test_the_limits_of_clipping_are_the_gradient_and_its_sign() -> None:
    h, g = spread(seed=1)
    hessian = positive_definite(seed=1)
    sign = g.sign()
    assert torch.equal(clipped(g, 0.5 / D), g)
    everything = clipped(g, 1 - 0.5 / D)
    for matrix in (h.diag(), hessian):
        exact = float(sign @ matrix @ sign) / D
        assert sharpness(matrix, g, everything) == pytest.approx(exact, rel=EXACT)
        assert sharpness(matrix, g, g) == pytest.approx(float(g @ matrix @ g / (g @ g)), rel=EXACT)
    assert sharpness(h.diag(), g, everything) == pytest.approx(float(h.mean()), rel=EXACT)


def test_adam_without_memory_is_the_limit_of_clipping_too() -> None:
    hessian, (_, g) = positive_definite(seed=2), spread(seed=2)
    model = Quadratic(hessian, torch.linalg.solve(hessian, g))
    before = model.point.detach().clone()
    adam = torch.optim.Adam([model.point], lr=0.1, betas=(0.0, 0.0), eps=0.0)
    quadratic_loss(model, NO_DATA).backward()
    adam.step()
    update = model.point.detach() - before
    exact = float(g.sign() @ hessian @ g.sign()) / D
    # θ_after − θ_before loses digits to the size of θ.
    assert sharpness(hessian, g, update) == pytest.approx(exact, rel=1e-9)


def test_the_best_decrease_along_any_direction_is_at_most_newtons() -> None:
    hessian, (_, g) = positive_definite(seed=3), spread(seed=3)
    newton = torch.linalg.solve(hessian, g)
    bound = float(g @ newton) / 2

    def best(direction: Tensor) -> float:
        found = along(hessian, g, direction)
        return found.slope**2 / (2 * found.curvature)

    for direction in (g, clipped(g, 0.1), clipped(g, 0.5), g.sign()):
        assert best(direction) < bound * (1 - 1e-6)
    assert best(-3.0 * newton) == pytest.approx(bound, rel=1e-10)  # two linear solves


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.8])
def test_the_best_decrease_of_a_clipped_gradient_has_its_closed_form(fraction: float) -> None:
    h, g = spread(seed=5)
    threshold, _ = naive_clip(g.tolist(), fraction)
    found = along(h.diag(), g, -clipped(g, fraction))
    kept = [min(abs(x), threshold) for x in g.tolist()]
    linear = sum(abs(x) * y for x, y in zip(g.tolist(), kept, strict=True))
    expected = linear**2 / (2 * sum(a * y * y for a, y in zip(h.tolist(), kept, strict=True)))
    assert found.slope**2 / (2 * found.curvature) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize(("steep", "gain"), [(100.0, 1.0), (1.0, 100.0)])
def test_one_bad_coordinate_among_good_ones_is_what_a_clip_is_for_if_it_is_curved_and_not_if_it_is_flat(
    steep: float, gain: float
) -> None:
    """h = steep, g = 30 at one coordinate; h = gain, g = 1 at the others: clipped to 1, all have the same length."""
    h, g = torch.full((D,), gain, dtype=torch.float64), torch.ones(D, dtype=torch.float64)
    h[0], g[0] = steep, 30.0
    whole, clip = (along(h.diag(), g, -u) for u in (g, clipped(g, 1.5 / D)))
    best, best_clipped = (found.slope**2 / (2 * found.curvature) for found in (whole, clip))
    rest = D - 1
    assert best == pytest.approx((900 + rest) ** 2 / (2 * (900 * steep + rest * gain)), rel=EXACT)
    assert best_clipped == pytest.approx((30 + rest) ** 2 / (2 * (steep + rest * gain)), rel=EXACT)
    assert (best_clipped > best) == (steep > gain)


def adam_without_memory(gradient: Tensor) -> Tensor:
    """Its first update, from a point of zeros, so that no digit of it is lost."""
    point = nn.Parameter(torch.zeros_like(gradient))
    point.grad = gradient.clone()
    torch.optim.Adam([point], lr=0.1, betas=(0.0, 0.0), eps=0.0).step()
    return point.detach()


def test_a_rotation_leaves_sgd_alone_and_changes_clip_sign_and_adam() -> None:
    h, g = spread(seed=4)
    q = rotation(seed=4)
    hessian, turned_hessian, turned = h.diag(), q @ h.diag() @ q.T, q @ g
    assert sharpness(turned_hessian, turned, turned) == pytest.approx(sharpness(hessian, g, g), rel=1e-10)
    for rule in (lambda x: clipped(x, 0.3), torch.sign, adam_without_memory):
        before, after = sharpness(hessian, g, rule(g)), sharpness(turned_hessian, turned, rule(turned))
        assert after != pytest.approx(before, rel=0.01)


def test_the_sharpness_of_a_sign_is_bounded_by_the_hessians_entries() -> None:
    for seed in range(5):
        hessian = positive_definite(seed=seed)
        _, g = spread(seed=seed)
        assert sharpness(hessian, g, g.sign()) <= float(hessian.abs().sum()) / D
        # and reaches the bound where every product of signs has the sign of its entry
        aligned = hessian.abs() * g.sign().outer(g.sign())
        aligned += torch.diag(hessian.abs().sum(0))  # so that there is a point with this gradient
        assert sharpness(aligned, g, g.sign()) == pytest.approx(float(aligned.abs().sum()) / D, rel=EXACT)


def test_a_saddle_has_its_negative_curvature() -> None:
    hessian = torch.tensor([2.0, -3.0], dtype=torch.float64).diag()
    g = torch.tensor([1.0, 1.0], dtype=torch.float64)
    down = torch.tensor([0.0, -2.0], dtype=torch.float64)
    found = along(hessian, g, down)
    assert (found.slope, found.curvature, found.norm) == (-1.0, -3.0, 2.0)


@pytest.mark.parametrize("engine", ["jets", "adjoint", "double_backward"])
def test_along_a_flat_direction_the_curvature_is_zero(engine: CurvatureEngine) -> None:
    model = Quadratic(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.ones(2))
    direction = {"u": {"point": torch.tensor([0.0, 3.0])}}
    found = directional_curvature(model, quadratic_loss, [NO_DATA], direction, engine=engine)["u"]
    assert (found.slope, found.curvature, found.norm) == (0.0, 0.0, 3.0)


@pytest.mark.parametrize("engine", ["jets", "adjoint", "double_backward"])
def test_where_the_second_derivative_is_infinite_or_not_a_number_it_is_said(engine: CurvatureEngine) -> None:
    """|x|^1.5 at zero has the value and the slope 0 and no finite curvature."""
    model = Quadratic(torch.eye(1), torch.zeros(1))
    direction = {"u": {"point": torch.ones(1)}}

    def loss(m: Any, _: Batch) -> Tensor:
        return m.point.abs().pow(1.5).sum()  # type: ignore[no-any-return]

    found = directional_curvature(model, loss, [NO_DATA], direction, engine=engine, check=False)["u"]
    assert found.slope == 0.0
    assert not math.isfinite(found.curvature)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6))
def test_it_lies_between_the_extreme_eigenvalues_and_reaches_them(seed: int, eigenvalues: list[float]) -> None:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    model = Quadratic(basis @ torch.tensor(eigenvalues, dtype=torch.float64).diag() @ basis.T, torch.ones(6).double())
    low, high = min(eigenvalues), max(eigenvalues)
    u = torch.randn(6, generator=generator, dtype=torch.float64)
    directions = {
        "any": {"point": u},
        "low": {"point": basis[:, eigenvalues.index(low)]},
        "high": {"point": basis[:, eigenvalues.index(high)]},
    }
    found = directional_curvature(model, quadratic_loss, [NO_DATA], directions)
    slack = 1e-12 * max(abs(low), abs(high), 1e-3)
    assert low - slack <= found["any"].curvature <= high + slack
    assert found["low"].curvature == pytest.approx(low, abs=slack)
    assert found["high"].curvature == pytest.approx(high, abs=slack)
