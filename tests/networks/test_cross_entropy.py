"""Cross-entropy in blocks of rows: the same numbers, and never all logits at once."""

from typing import get_args

import pytest
import torch
from oracles import dense_hessian, flat
from reference.problems import random_direction
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch
from clipbench.geometry.curvature import directional_curvature
from clipbench.geometry.found import RunEngine
from clipbench.geometry.memory import MemoryTally
from clipbench.networks.cross_entropy import IGNORED, cross_entropy_in_blocks

WORDS, WIDTH = 11, 4
ENGINES: tuple[RunEngine, ...] = get_args(RunEngine)
ROWS = (1, 4, 15, 100)


class Language(nn.Module):
    """A word from the word before it; the output layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, targets: Tensor, rows: int | None) -> Tensor:
        """The loss: in blocks of so many rows, or of all logits at once."""
        hidden = self.hidden(self.embedding(tokens)).tanh()
        if rows is not None:
            return cross_entropy_in_blocks(self.head, hidden, targets, rows=rows)
        return functional.cross_entropy(self.head(hidden).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def language() -> tuple[Language, Batch]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Language().double()
        x, y = torch.randint(WORDS, (2, 3, 5))
    y[0, 1:4] = IGNORED
    return model, Batch({"x": x, "y": y}, samples=3, tokens=12)


def at_once(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch["x"], batch["y"], None)  # type: ignore[no-any-return]


@pytest.mark.parametrize("rows", ROWS)
def test_loss_and_gradient_are_those_of_all_logits_at_once(rows: int) -> None:
    model, batch = language()
    expected, found = at_once(model, batch), model(batch["x"], batch["y"], rows)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    parameters = list(model.parameters())
    for mine, exact in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(mine, exact, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rows", ROWS)
def test_every_engine_finds_the_dense_hessian_of_all_logits_at_once(engine: RunEngine, rows: int) -> None:
    model, batch = language()
    u = random_direction(model, seed=1)
    v = flat(list(u.values()))
    bend = float(v @ dense_hessian(model, at_once, [batch]) @ v / (v @ v))
    found = directional_curvature(model, lambda m, b: m(b["x"], b["y"], rows), [batch], {"u": u}, engine=engine)
    assert found.engine == engine
    assert found["u"].curvature == pytest.approx(bend, rel=1e-9)


def test_targets_that_do_not_count_may_have_another_number_and_none_that_counts_is_no_mean() -> None:
    hidden, targets = torch.randn(6, WORDS), torch.tensor([0, 3, 3, 10, 3, 1])
    found = cross_entropy_in_blocks(lambda h: h, hidden, targets, rows=2, ignore_index=3)
    torch.testing.assert_close(found, functional.cross_entropy(hidden, targets, ignore_index=3))
    assert cross_entropy_in_blocks(lambda h: h, hidden, torch.full((6,), IGNORED)).isnan()


def test_a_training_step_never_holds_all_logits() -> None:
    rows, words = 256, 1000
    head = nn.Linear(WIDTH, words, bias=False)
    hidden, targets = torch.randn(rows, WIDTH, requires_grad=True), torch.randint(words, (rows,))
    with MemoryTally() as whole:
        functional.cross_entropy(head(hidden), targets).backward()
    with MemoryTally() as blocks:
        cross_entropy_in_blocks(head, hidden, targets, rows=16).backward()
    logits = 4 * rows * words
    assert whole.peak > 2 * logits
    assert blocks.peak < 0.4 * logits


@pytest.mark.parametrize(
    ("shape", "rows", "said"), [((4,), 2, "targets of shape"), ((2, 3), 0, "blocks of 0 rows"), ((3, 2), 2, "targets")]
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], rows: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cross_entropy_in_blocks(lambda h: h, torch.randn(2, 3, 5), torch.zeros(shape, dtype=torch.long), rows=rows)
