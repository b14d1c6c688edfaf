"""A step of anybody's training loop, watched without a trace."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import Trace, dense_gradient, dense_hessian, flat, same_bits
from reference.problems import problem
from torch import Tensor, nn
from torch.nn import functional

from clipbench import StepGeometry
from clipbench.contracts import Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry.selfcheck import was_checked

Pair = list[Tensor]


def pair_loss(model: nn.Module, batch: Pair) -> Tensor:
    """Of a batch as a DataLoader gives it: a list."""
    x, y = batch
    return functional.cross_entropy(model(x), y)


def pair(given: Problem, place: int) -> Pair:
    batch = given.probe_batches[place]
    return [batch["x"], batch["y"]]


def ready(given: Problem, make: Callable[..., torch.optim.Optimizer] = torch.optim.Adam) -> torch.optim.Optimizer:
    optimizer = make(given.model.parameters(), lr=0.05)
    torch.manual_seed(0)  # dropout draws
    given.loss(given.model, given.probe_batches[0]).backward()
    return optimizer


def test_it_is_the_dense_hessian_and_the_dense_gradient() -> None:
    given = problem("mlp")
    optimizer = ready(given)
    at_start = copy.deepcopy(given.model)
    with StepGeometry(given.model, pair_loss).around(pair(given, 0)) as step:
        optimizer.step()
    u = (flat(list(given.model.parameters())) - flat(list(at_start.parameters()))).double()
    on = [given.probe_batches[0]]
    g, hessian = dense_gradient(at_start, given.loss, on), dense_hessian(at_start, given.loss, on)
    # A float32 model against float64.
    assert step.slope == pytest.approx(float(g @ u / u.norm()), rel=1e-4)
    assert step.sharpness == pytest.approx(float(u @ hessian @ u / u.square().sum()), rel=1e-4, abs=1e-6)
    assert step.cosine == pytest.approx(-float(g @ u / (u.norm() * g.norm())), rel=1e-4)
    assert step.predicted_change == pytest.approx(float(g @ u + 0.5 * u @ hessian @ u), rel=1e-4, abs=1e-6)
    change = given.loss(given.model, on[0]) - given.loss(at_start, on[0])
    assert step.observed_change == pytest.approx(float(change.detach()), abs=2 * step.ledger.rounding)
    assert step.ledger.norm == pytest.approx(float(u.norm()), rel=1e-6)
    assert step.engine == "engine jets"


@pytest.mark.parametrize("kind", ["mlp", "convolutional"])
def test_it_leaves_no_trace(kind: str) -> None:
    watched, alone = problem(kind), problem(kind)
    geometry = StepGeometry(watched.model, pair_loss)
    optimizers = [ready(watched), ready(alone)]
    for _ in range(3):
        torch.manual_seed(1)
        with geometry.around(pair(watched, 1)):
            optimizers[0].step()
        drawn = torch.rand(3)
        before = Trace.of(watched.model)
        torch.manual_seed(1)
        optimizers[1].step()
        assert torch.equal(drawn, torch.rand(3))
        for mine, other in zip(watched.model.parameters(), alone.model.parameters(), strict=True):
            assert same_bits(mine, other)
            assert same_bits(mine.grad, other.grad)
        for buffer, twin in zip(watched.model.buffers(), alone.model.buffers(), strict=True):
            assert same_bits(buffer, twin)
        assert all(module.training for module in watched.model.modules())
        for given, optimizer in zip((watched, alone), optimizers, strict=True):
            torch.manual_seed(2)
            optimizer.zero_grad()
            given.loss(given.model, given.probe_batches[0]).backward()
        assert before.identities[: len(before.weights)] == Trace.of(watched.model).identities[: len(before.weights)]


def test_a_step_with_a_closure_is_a_step() -> None:
    given, alone = problem("mlp"), problem("mlp")
    results = []
    for one in (given, alone):
        optimizer = torch.optim.LBFGS(one.model.parameters(), lr=0.1, max_iter=3)

        def closure(one: Problem = one, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = one.loss(one.model, one.probe_batches[0])
            loss.backward()
            return loss

        with StepGeometry(one.model, pair_loss).around(pair(one, 0)) as step:
            optimizer.step(closure)
        results.append(step)
    assert results[0].observed_change < 0
    assert results[0].slope < 0
    assert results[0].ledger == results[1].ledger


def test_several_batches_count_alike() -> None:
    ledgers = []
    for places in ((0,), (1,), (0, 1)):
        given = problem("mlp")
        optimizer = ready(given, torch.optim.SGD)
        with StepGeometry(given.model, pair_loss).around(*(pair(given, i) for i in places)) as step:
            optimizer.step()
        ledgers.append(step.ledger)
    first, second, both = ledgers
    for quantity in ("slope", "sharpness", "observed_change"):
        # Sums in float32 and float64, and a difference of losses.
        mean = (getattr(first, quantity) + getattr(second, quantity)) / 2
        assert getattr(both, quantity) == pytest.approx(mean, rel=1e-5, abs=1e-6)


def test_batches_count_by_their_weights() -> None:
    ledgers = []
    for places, weights in (((0,), None), ((1,), (7,)), ((0, 1), (60, 4))):
        given = problem("mlp")
        optimizer = ready(given, torch.optim.SGD)
        geometry = StepGeometry(given.model, pair_loss)
        with geometry.around(*(pair(given, i) for i in places), weights=weights) as step:
            optimizer.step()
        ledgers.append(step.ledger)
    first, second, both = ledgers
    for quantity in ("slope", "sharpness", "observed_change"):
        mean = (60 * getattr(first, quantity) + 4 * getattr(second, quantity)) / 64
        assert getattr(both, quantity) == pytest.approx(mean, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("weights", [(1,), (1, 0), (1, 2.5), (1, 2, 3)])
def test_weights_that_are_no_terms_of_the_batches_are_refused(weights: Any) -> None:
    given = problem("mlp")
    with (
        pytest.raises(ClipbenchError, match="there are 2 batches and the weights"),
        StepGeometry(given.model, pair_loss).around(pair(given, 0), pair(given, 1), weights=weights),
    ):
        pass


def test_the_engine_is_checked_once_and_not_at_every_step() -> None:
    given = problem("mlp")
    geometry = StepGeometry(given.model, pair_loss)
    optimizer = ready(given)
    assert not was_checked(given.model, geometry._loss, by="jets")
    with geometry.around(pair(given, 0)):
        optimizer.step()
    assert was_checked(given.model, geometry._loss, by="jets")


def test_an_engine_can_be_chosen() -> None:
    given = problem("mlp")
    optimizer = ready(given)
    with StepGeometry(given.model, pair_loss, engine="double_backward").around(pair(given, 0)) as step:
        optimizer.step()
    assert step.engine == "engine double_backward"


def test_a_step_that_goes_nowhere_has_no_geometry() -> None:
    given = problem("mlp")
    with StepGeometry(given.model, pair_loss).around(pair(given, 0)) as step:
        pass
    assert math.isnan(step.slope)
    assert math.isnan(step.sharpness)
    assert step.ledger.norm == step.observed_change == 0.0


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_gives_nan_and_lets_the_training_go_on(factor: float) -> None:
    given = problem("mlp")
    optimizer = ready(given)
    with StepGeometry(given.model, lambda m, b: pair_loss(m, b) * factor).around(pair(given, 0)) as step:
        optimizer.step()
    assert math.isnan(step.slope)
    assert math.isnan(step.predicted_change)
    assert step.ledger.norm > 0
    assert step.engine == ""


def test_a_step_to_where_there_is_no_loss_is_told() -> None:
    given = problem("mlp")
    with StepGeometry(given.model, pair_loss).around(pair(given, 0)) as step, torch.no_grad():
        given.model.get_parameter("0.weight").fill_(math.nan)
    assert math.isnan(step.observed_change)
    assert math.isnan(step.sharpness)
    assert bool(given.model.get_parameter("0.weight").isnan().all())


def test_what_cannot_be_measured_is_an_error_and_the_step_is_kept() -> None:
    given = problem("mlp")
    optimizer = ready(given)
    alone = problem("mlp")
    ready(alone).step()
    geometry = StepGeometry(given.model, lambda m, b: pair_loss(m, b)[None])
    with pytest.raises(ClipbenchError, match=r"has the shape \(1,\)"), geometry.around(pair(given, 0)):
        optimizer.step()
    for mine, other in zip(given.model.parameters(), alone.model.parameters(), strict=True):
        assert same_bits(mine, other)


def test_no_batch_is_an_error_before_the_step() -> None:
    given = problem("mlp")
    with pytest.raises(ClipbenchError, match="no batch to measure on"), StepGeometry(given.model, pair_loss).around():
        pytest.fail("the block ran")


def test_an_exception_in_the_block_passes_through_and_nothing_is_measured() -> None:
    given = problem("mlp")
    with pytest.raises(KeyError), StepGeometry(given.model, pair_loss).around(pair(given, 0)) as step:
        raise KeyError
    with pytest.raises(ClipbenchError, match="has not been measured"):
        _ = step.slope


def test_reading_before_the_end_is_an_error() -> None:
    given = problem("mlp")
    around = StepGeometry(given.model, pair_loss).around(pair(given, 0))
    with around as step, pytest.raises(ClipbenchError, match="after the with block"):
        _ = step.sharpness
