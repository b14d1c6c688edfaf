import math
from itertools import islice, pairwise

import pytest
import torch

from clipbench.contracts import Batch, Problem
from clipbench.data import python_stdlib
from clipbench.tasks.byte_lstm import build, loss

CPU = torch.device("cpu")


def end(problem: Problem, optimizer: torch.optim.Optimizer) -> float:
    for batch in islice(problem.train_batches(0), 60):
        optimizer.zero_grad()
        problem.loss(problem.model, batch).backward()
        optimizer.step()
    with torch.no_grad():
        losses = [problem.loss(problem.model, batch).item() for batch in problem.eval_batches]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(3))
def test_the_first_loss_is_the_logarithm_of_256(seed: int) -> None:
    problem = build(seed, CPU)
    for batch in problem.eval_batches:
        assert problem.loss(problem.model, batch).item() == pytest.approx(math.log(256), rel=0.01)


def test_the_loss_is_that_of_an_lstm_written_out() -> None:
    problem = build(0, CPU, width=6, context=5, batch=2)
    batch = next(problem.train_batches(0))
    weights = {name: value.detach().double() for name, value in problem.model.named_parameters()}
    terms, right = [], 0
    for window in batch["tokens"].tolist():
        hidden, cell = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
        for byte, following in pairwise(window):
            gates = weights["lstm.weight_ih_l0"] @ weights["embedding.weight"][byte] + weights["lstm.bias_ih_l0"]
            gates = gates + weights["lstm.weight_hh_l0"] @ hidden + weights["lstm.bias_hh_l0"]
            kept_in, kept, new, out = gates.split(6)
            cell = kept.sigmoid() * cell + kept_in.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cell.tanh()
            logits = weights["head.weight"] @ hidden + weights["head.bias"]
            terms.append((logits.logsumexp(0) - logits[following]).item())
            right += int(logits.argmax()) == following
    assert len(terms) == batch.tokens == 10
    assert loss(problem.model, batch).item() == pytest.approx(sum(terms) / 10, rel=1e-5)
    total, weight = problem.metrics["accuracy"](problem.model, batch)
    assert (int(total), weight) == (right, 10)


def test_windows_come_from_their_own_part_of_the_text() -> None:
    problem, text = build(0, CPU), python_stdlib()
    held_out = int(0.05 * len(text))
    training, evaluation, probing = text[: -2 * held_out], text[-2 * held_out : -held_out], text[-held_out:]

    def windows(batch: Batch) -> list[bytes]:
        return [bytes(window.tolist()) for window in batch["tokens"]]

    assert all(window in training for window in windows(next(problem.train_batches(0))))
    assert all(window in evaluation for batch in problem.eval_batches for window in windows(batch))
    assert all(window in probing for batch in problem.probe_batches for window in windows(batch))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_sgd_with_momentum_ends_below_adam_where_both_are_tuned(seed: int) -> None:
    sgd, adam = build(seed, CPU), build(seed, CPU)
    ours = end(sgd, torch.optim.SGD(sgd.model.parameters(), lr=1, momentum=0.9))
    theirs = end(adam, torch.optim.Adam(adam.model.parameters(), lr=0.0178))
    assert ours < theirs


@pytest.mark.parametrize("option", ["width", "context", "batch"])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a positive number, not 0"):
        build(0, CPU, **{option: 0})


def test_a_window_longer_than_the_held_out_text_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the text"):
        build(0, CPU, context=10**6)
