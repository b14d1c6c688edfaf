"""The loss, the gradient, Hessian products and the loss along a line, of fixed batches."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import Trace, dense_gradient, dense_hessian, flat, flat_loss
from reference.problems import problem, random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry.losses import NonFiniteLossError
from clipbench.geometry.objective import Objective


def of(given: Problem) -> Objective:
    return Objective(given.model, given.loss, given.probe_batches)


def wide(kind: str) -> Problem:
    """In float64, so that there is no rounding to speak of."""
    given = problem(kind)
    given.model.double()
    return replace(
        given,
        probe_batches=[
            replace(b, tensors={n: t.double() if t.is_floating_point() else t for n, t in b.tensors.items()})
            for b in given.probe_batches
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_gradient_and_products_are_the_dense_ones(kind: str) -> None:
    given = wide(kind)
    vectors = [random_direction(given.model, seed=seed) for seed in (1, 2)]
    gradient, products = of(given).gradient_and_products(vectors)
    exact = dense_gradient(given.model, given.loss, given.probe_batches)
    hessian = dense_hessian(given.model, given.loss, given.probe_batches)
    torch.testing.assert_close(flat(list(gradient.values())), exact, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(flat(list(of(given).gradient().values())), exact, rtol=1e-9, atol=1e-12)
    for v, product in zip(vectors, products, strict=True):
        torch.testing.assert_close(
            flat(list(product.values())), hessian @ flat(list(v.values())).double(), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("kind", ["mlp", "transformer", "convolutional"])
def test_the_loss_along_a_line_is_that_of_moved_weights_and_leaves_no_trace(kind: str) -> None:
    given = wide(kind)
    given.loss(given.model, given.probe_batches[0]).backward()
    u = random_direction(given.model, seed=4)
    function, point = flat_loss(given.model, given.loss, given.probe_batches)
    before = Trace.of(given.model)
    with of(given).along(u) as loss_at:
        assert loss_at(0.0) == of(given).value()
        for t in (0.0, 0.5, -2.0):
            moved = point + t * flat(list(u.values())).double()
            assert loss_at(t) == pytest.approx(float(function(moved).detach()), rel=1e-12)
    before.assert_unchanged(given.model)


def test_weights_are_put_back_though_the_loss_raises_on_the_way() -> None:
    given = problem("mlp")

    def lost(model: nn.Module, batch: Batch) -> Tensor:
        if not torch.equal(model.get_parameter("0.weight"), start):
            raise RuntimeError("off the road")
        return given.loss(model, batch)

    start = given.model.get_parameter("0.weight").detach().clone()
    before = Trace.of(given.model)
    with of(replace(given, loss=lost)).along(random_direction(given.model, seed=4)) as loss_at:
        assert math.isfinite(loss_at(0.0))
        with pytest.raises(RuntimeError, match="off the road"):
            loss_at(1.0)
    before.assert_unchanged(given.model)


def test_losses_that_are_not_finite_are_refused_for_derivatives_and_told_along_a_line() -> None:
    given = problem("mlp")
    lost = of(replace(given, loss=lambda m, b: given.loss(m, b) * math.nan))
    u = random_direction(given.model, seed=4)
    with pytest.raises(NonFiniteLossError):
        lost.gradient()
    with pytest.raises(NonFiniteLossError):
        lost.gradient_and_products([u])
    with lost.along(u) as loss_at:
        assert math.isnan(loss_at(1.0))


def test_what_has_nothing_to_measure_is_refused() -> None:
    given = problem("mlp")
    with pytest.raises(ClipbenchError, match="no batches"):
        of(replace(given, probe_batches=[]))
    with pytest.raises(ClipbenchError, match="no terms in its loss"):
        of(replace(given, probe_batches=[given.probe_batches[0], replace(given.probe_batches[1], samples=0)]))
    with pytest.raises(ClipbenchError, match="no trainable parameter"):
        of(replace(given, model=nn.Tanh()))


def test_rounding_blurs_a_float32_loss_by_less_than_it_says() -> None:
    single, double = of(problem("transformer")), of(wide("transformer"))
    u = random_direction(single.model, seed=4)
    with single.along(u) as rough, double.along(u) as exact:
        for t in (0.0, 1e-3, 0.1, 1.0):
            # The weights are rounded too, which at these losses is no more.
            assert abs(rough(t) - exact(t)) <= single.blur(exact(t))
