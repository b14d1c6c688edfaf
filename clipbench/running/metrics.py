"""What is read of a problem at every evaluation beside its loss: metrics, and the loss of a slice of training data."""

from collections.abc import Mapping

import torch

from clipbench.contracts import Problem
from clipbench.errors import ClipbenchError, in_one_line
from clipbench.geometry.undisturbed import undisturbed
from clipbench.quantities import RESERVED
from clipbench.records import TRAIN_SLICE_LOSS
from clipbench.running.evaluation import device_of, mean_losses

_PAIR = "return (sum over the batch, number of its terms), such as (correct.sum(), len(correct))"


def readings(problem: Problem) -> dict[str, float]:
    """The value of every metric, and of the slice of training data its loss; in eval mode, leaves no trace.

    A metric is Σ sums / Σ weights over the evaluation batches. Each has a pass of its own, so that neither the loss nor
    another metric sees what it draws or writes.

    Raises:
        ClipbenchError: a metric raised, returned no pair of numbers, or counted no terms.
    """
    values = {name: value_of(problem, name) for name in problem.metrics}
    if problem.train_slice:
        values[TRAIN_SLICE_LOSS] = mean_losses(problem, problem.train_slice).loss
    return values


def recorded(problem: Problem) -> tuple[str, ...]:
    """The names of what `readings` has."""
    return *problem.metrics, *((TRAIN_SLICE_LOSS,) if problem.train_slice else ())


def value_of(problem: Problem, name: str) -> float:
    """The value of a metric; raises as `readings` does."""
    metric, device = problem.metrics[name], device_of(problem.model)
    total = terms = 0.0
    with undisturbed(problem.model, (problem.loss, metric)), torch.no_grad():
        for batch in problem.eval_batches:
            try:
                returned = metric(problem.model, batch.to(device))
            except Exception as error:  # a metric is anybody's code
                remedy = "mend it, or take it out of the task's metrics"
                raise ClipbenchError(f"the metric {name!r} raised {in_one_line(error)}", remedy=remedy) from error
            of_batch, weight = _pair(name, returned)
            total, terms = total + of_batch, terms + weight
    if not terms > 0:
        message = f"the metric {name!r} has a weight of {terms:g} over all evaluation batches"
        raise ClipbenchError(message, remedy=f"{_PAIR}, and evaluate on batches that have such terms")
    return total / terms


def _pair(name: str, returned: object) -> tuple[float, float]:
    if isinstance(returned, tuple | list) and len(returned) == 2:
        try:
            return float(returned[0]), float(returned[1])
        except (TypeError, ValueError, RuntimeError):  # texts, other objects, tensors of several numbers
            pass
    what = f"a {type(returned).__name__}"
    raise ClipbenchError(f"the metric {name!r} returned {what}, not a pair of numbers", remedy=_PAIR)


def unusable(metrics: object) -> tuple[str, str] | None:
    """What is wrong with a problem's metrics, with its mend; None where they can be recorded."""
    if not isinstance(metrics, Mapping):
        return f"a {type(metrics).__name__} for its metrics", "give a dict of functions by name: {'accuracy': accuracy}"
    for name, metric in metrics.items():
        if reason := _bad_name(name):
            return f"a metric called {name!r}: {reason}", "give it another name, in plain letters"
        if not callable(metric):
            return f"a {type(metric).__name__} for its metric {name!r}", "give a function of the model and a batch"
    return None


def _bad_name(name: object) -> str:
    if not isinstance(name, str) or not name or not name.isprintable() or name != name.strip():
        return "a name is text that can be printed, without blanks around it"
    if "@" in name:
        return "what follows an @ is a direction"
    return "clipbench has a quantity of this name" if name in RESERVED else ""
