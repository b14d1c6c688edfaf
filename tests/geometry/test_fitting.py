"""Where memory is short: fewer directions at once, then parts of the batches, and the same numbers.

The allocator of these tests raises above so many examples, or directions times examples, in a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, get_args
from unittest.mock import Mock

import pytest
import torch
from reference.networks import NETWORKS, network
from reference.problems import random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss
from clipbench.geometry.curvature import Curvatures, TooFewBytesError, directional_curvature
from clipbench.geometry.found import RunEngine
from clipbench.geometry.jets.jet import Jet
from clipbench.geometry.objective import Objective
from clipbench.geometry.said import engine as in_words
from clipbench.geometry.splitting import at_most, first_examples, halves

ENGINES: tuple[RunEngine, ...] = get_args(RunEngine)
WORDS = {torch.OutOfMemoryError: "CUDA out of memory", RuntimeError: "DefaultCPUAllocator: can't allocate memory"}
Fits = Callable[[int, int, bool], bool]
"""`fits(examples, directions, ordinary)`: whether there is memory for a pass; an ordinary one has a graph, no jets."""


def limited(loss: Loss, fits: Fits, kind: type[RuntimeError] = torch.OutOfMemoryError) -> Loss:
    """The loss in a memory that is enough for some passes alone."""

    def within(model: nn.Module, batch: Batch) -> Tensor:
        found = loss(model, batch)
        moving = found.x1 if isinstance(found, Jet) else None
        ordinary = torch.is_grad_enabled() and not isinstance(found, Jet)
        if not fits(batch.samples, 0 if moving is None else len(moving), ordinary):
            raise kind(WORDS[kind])
        return found

    return within


def measured(model: nn.Module, loss: Loss, batches: Sequence[Batch], **options: Any) -> Curvatures:
    """Along five directions. The exact numbers are to be measured first: a model is not tried again with too much."""
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(5)}
    return directional_curvature(model, loss, batches, directions, **options)


def agree(found: Curvatures, exact: Curvatures) -> None:
    assert found.loss == pytest.approx(exact.loss, rel=1e-12)
    assert found.losses == pytest.approx(exact.losses, rel=1e-12)
    for name, along in exact.items():
        assert found[name].slopes == pytest.approx(along.slopes, rel=1e-10)
        assert found[name].curvatures == pytest.approx(along.curvatures, rel=1e-10)
        assert found[name].curvature_error == pytest.approx(along.curvature_error, rel=1e-8, nan_ok=True)


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("most", [3, 1])
@pytest.mark.parametrize("engine", ["jets", "adjoint"])
def test_fewer_directions_are_carried_at_once(engine: RunEngine, most: int, kind: type[RuntimeError]) -> None:
    model, loss, batches = network("causal transformer", dtype=torch.float64)
    exact = measured(model, loss, batches, engine=engine, chunk=5)
    scarce = limited(loss, lambda _, directions, __: directions <= most, kind)
    found = measured(model, scarce, batches, engine=engine, chunk=5)
    agree(found, exact)
    at_once = {3: "2 directions at once", 1: "1 direction at once"}[most]
    assert in_words(found) == f"engine {engine}; for want of memory {at_once}"


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_of_examples_is_measured_in_parts(engine: RunEngine, kind: type[RuntimeError]) -> None:
    model, loss, batches = network("mlp", dtype=torch.float64)
    batches = [
        Batch(
            {name: tensor.repeat(2, *[1] * (tensor.dim() - 1))[:7] for name, tensor in batches[0].tensors.items()},
            samples=7,
        ),
        batches[1],
    ]
    exact = measured(model, loss, batches, engine=engine)
    found = measured(model, limited(loss, lambda examples, *_: examples <= 2, kind), batches, engine=engine)
    agree(found, exact)
    assert found.engine == engine
    assert "batches of 7 samples in parts of 2" in in_words(found)


def test_first_directions_are_given_up_then_the_batch_is_cut_and_auto_never_goes_to_double_backward() -> None:
    model, loss, batches = network("mlp", dtype=torch.float64)
    exact = measured(model, loss, batches)
    passes: list[tuple[int, int]] = []
    note = Mock(side_effect=passes.append)  # out of reach: what a loss keeps itself is put back

    def fits(examples: int, directions: int, ordinary: bool) -> bool:
        if directions:
            note((directions, examples))
        return not ordinary and directions * examples <= 2

    scarce = limited(loss, fits)
    found = measured(model, scarce, batches)
    agree(found, exact)
    assert in_words(found) == (
        "engine jets; for want of memory 1 direction at once, batches of 4 samples in parts of 2; "
        "unchecked: there is no memory for double backward"
    )
    assert passes[:4] == [(4, 4), (2, 4), (1, 4), (1, 2)]
    passes.clear()
    assert in_words(measured(model, scarce, batches)) == in_words(found)  # a later step starts from what fitted
    assert (4, 4) not in passes


def test_tokens_that_nothing_counts_by_example_are_not_cut() -> None:
    model, loss, batches = network("causal transformer")
    scarce = limited(loss, lambda examples, *_: examples <= 2)
    with pytest.raises(TooFewBytesError, match="cannot be cut any further"):
        measured(model, scarce, batches)
    assert measured(model, scarce, batches[1:]).engine == "jets"


def test_a_loss_between_examples_is_not_cut() -> None:
    model, _, batches = network("mlp")

    def contrastive(m: nn.Module, batch: Batch) -> Tensor:
        x = m(batch["x"])
        return (x @ x.T).logsumexp(1).mean()  # type: ignore[no-any-return]

    def fits(examples: int, directions: int, ordinary: bool) -> bool:
        return examples <= 2 or not (directions or ordinary)

    with pytest.raises(TooFewBytesError, match="cannot be cut any further"):
        measured(model, limited(contrastive, fits), batches)


def test_a_limit_in_bytes_cuts_the_batch_as_well() -> None:
    model, loss, batches = network("mlp", dtype=torch.float64)
    with pytest.raises(TooFewBytesError, match=r"one direction takes [\d,]+ of 100 bytes"):
        measured(model, loss, batches, memory=100)
    exact = measured(model, loss, batches)
    found = measured(model, loss, batches, memory=1000)
    agree(found, exact)
    assert "in parts of" in in_words(found)


def test_a_batch_that_knows_the_tokens_of_each_example_is_cut_by_them() -> None:
    model, loss, [batch, _] = network("causal transformer", dtype=torch.float64)

    counted = replace(batch, terms=(batch["y"] >= 0).sum(dim=1))
    exact = measured(model, loss, [batch])
    agree(measured(model, limited(loss, lambda examples, *_: examples <= 1), [counted]), exact)


def test_values_gradients_and_products_are_taken_in_parts_as_well() -> None:
    model, loss, batches = network("mlp", dtype=torch.float64)
    u = random_direction(model, seed=0)
    exact = Objective(model, loss, batches)
    scarce = Objective(model, limited(loss, lambda examples, *_: examples <= 1), batches)
    assert scarce.value() == pytest.approx(exact.value(), rel=1e-12)
    (slope, [product]), (slope_exact, [product_exact]) = (each.gradient_and_products([u]) for each in (scarce, exact))
    for mine, right in ((scarce.gradient(), exact.gradient()), (slope, slope_exact), (product, product_exact)):
        for name, tensor in right.items():
            torch.testing.assert_close(mine[name], tensor, rtol=1e-10, atol=1e-14)
    with pytest.raises(TooFewBytesError, match="cannot be cut"):
        Objective(model, limited(loss, lambda *_: False), batches).value()


ROWS = torch.arange(6.0).view(3, 2)
UNCUT = {
    "one example": Batch({"x": ROWS[:1]}, samples=1),
    "tensors of several lengths": Batch({"x": ROWS, "y": ROWS[:2]}, samples=3),
    "a number": Batch({"x": torch.tensor(1.0)}, samples=3),
    "nothing": Batch({}, samples=3),
    "rows that are no samples": Batch({"x": ROWS}, samples=6),
    "tokens": Batch({"x": ROWS}, samples=3, tokens=5),
}


@pytest.mark.parametrize("name", UNCUT)
def test_what_has_no_rows_that_are_terms_has_no_halves(name: str) -> None:
    assert halves(nn.Linear(1, 1), lambda *_: torch.zeros(()), UNCUT[name]) == ()


def test_the_first_examples_are_the_first_rows_of_every_tensor_and_never_all() -> None:
    batch = Batch({"x": ROWS, "y": torch.arange(3)}, samples=3)
    first = first_examples(batch, 2)
    assert first is not None
    assert first.samples == 2
    assert first["x"].tolist() == ROWS[:2].tolist()
    assert first["y"].tolist() == [0, 1]
    assert first_examples(batch, 3) is None
    assert first_examples(UNCUT["a number"], 1) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_parts_of_batches_of_every_network_have_the_numbers_of_the_whole(name: str) -> None:
    model, loss, batches = network(name, dtype=torch.float64)
    batches = [replace(batch, tokens=None) for batch in batches]
    if batches[0]["x"].dtype == torch.long:
        batches = [replace(each, tensors={"x": each["x"], "y": each["y"].clamp(min=0)}) for each in batches]
    scarce = limited(loss, lambda examples, *_: examples <= 1)
    exact = measured(model, loss, batches)
    agree(measured(model, scarce, batches), exact)


def drained(queue: "SimpleQueue[int]") -> list[int]:
    return [queue.get() for _ in range(queue.qsize())]


def test_batches_are_measured_in_pieces_of_a_size_on_request() -> None:
    """As a run with micro-batches does; the numbers are those of the whole."""
    model, loss, [batch, _] = network("causal transformer", dtype=torch.float64)
    counted = replace(batch, terms=(batch["y"] >= 0).sum(dim=1))
    exact = measured(model, loss, [batch])
    seen: SimpleQueue[int] = SimpleQueue()  # which a measurement does not put back

    def noting(model: nn.Module, batch: Batch) -> torch.Tensor:
        seen.put(len(batch["y"]))
        return loss(model, batch)

    with at_most(2):
        agree(measured(model, noting, [counted], check=False), exact)
        value = Objective(model, noting, [counted]).value()
    assert max(drained(seen)) == 2 < counted.samples
    assert value == pytest.approx(Objective(model, loss, [batch]).value(), rel=1e-12)
    with at_most(2):  # nobody knows its terms
        agree(measured(model, noting, [batch], check=False), exact)
    assert max(drained(seen)) == batch.samples
