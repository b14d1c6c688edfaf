"""The held-out loss, as a mean over every term and not over batches."""

import torch
from torch import nn

from clipbench.contracts import Problem
from clipbench.geometry.undisturbed import undisturbed


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def evaluate(problem: Problem) -> float:
    """Mean loss over the evaluation batches, each weighted by its number of terms, in eval mode; leaves no trace."""
    total, weight = 0.0, 0
    with undisturbed(problem.model), torch.no_grad():
        for batch in problem.eval_batches:
            loss = problem.loss(problem.model, batch.to(device_of(problem.model)))
            total += float(loss) * batch.weight
            weight += batch.weight
    return total / weight
