"""The held-out loss, as a mean over every term and not over batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.contracts import Problem
from clipbench.geometry.averages import averaged
from clipbench.geometry.undisturbed import undisturbed
from clipbench.records import Change


@dataclass(frozen=True)
class Evaluation:
    """The mean loss of each evaluation batch, with how many terms it averages."""

    losses: Sequence[float]
    weights: Sequence[int]

    @property
    def loss(self) -> float:
        """The mean over every term of every batch."""
        total = sum(loss * weight for loss, weight in zip(self.losses, self.weights, strict=True))
        return total / sum(self.weights)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def evaluate(problem: Problem) -> Evaluation:
    """The loss of every evaluation batch, in eval mode; leaves no trace."""
    losses, weights = [], []
    with undisturbed(problem.model, problem.loss), torch.no_grad():
        for batch in problem.eval_batches:
            losses.append(float(problem.loss(problem.model, batch.to(device_of(problem.model)))))
            weights.append(batch.weight)
    return Evaluation(losses, weights)


def change(problem: Problem, first: Sequence[float], last: Sequence[float]) -> Change:
    """From the losses of the evaluation batches at the start to those at the end, paired by batch."""
    weights = [batch.weight for batch in problem.eval_batches]
    differences = [after - before for before, after in zip(first, last, strict=True)]
    [(_, error)] = averaged([differences], weights)
    return Change(Evaluation(first, weights).loss, Evaluation(last, weights).loss, error)


def has_two_states(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer has weights to train at and others to be used: methods train() and eval(), as schedule-free
    and averaging optimizers have."""
    return all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))


@contextmanager
def at_evaluation_weights(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, the model has the weights that `optimizer.eval()` gives it; afterwards all is as it was, bit for bit.

    `optimizer.train()` alone does not bring the training weights back: it computes them, and rounds. So weights and the
    optimizer's state come back from copies.
    """
    if not has_two_states(optimizer):
        yield
        return
    modes: Any = optimizer
    weights = [(p, p.detach().clone()) for group in optimizer.param_groups for p in group["params"]]
    states = {key: dict(state) for key, state in optimizer.state.items()}
    contents = [(v, v.clone()) for state in states.values() for v in state.values() if isinstance(v, Tensor)]
    modes.eval()
    try:
        yield
    finally:
        modes.train()
        with torch.no_grad():
            for tensor, content in (*weights, *contents):
                tensor.copy_(content)
        optimizer.state.clear()
        optimizer.state.update(states)
