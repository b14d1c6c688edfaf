"""The held-out loss, as a mean over every term and not over batches."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry import keeping
from clipbench.geometry.averages import averaged
from clipbench.geometry.undisturbed import undisturbed
from clipbench.records import Change
from clipbench.running import memory


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
    """Where the model's parameters lie."""
    return next(model.parameters()).device


def as_loss(problem: Problem, value: object) -> Tensor:
    """What a problem's loss has returned, if it is one number.

    Raises:
        ClipbenchError: it is something else.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    what = f"tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    name = getattr(problem.loss, "__qualname__", type(problem.loss).__name__)
    raise ClipbenchError(
        f"the task's loss {name!r} returned a {what}, not a 0-d tensor",
        where=getattr(problem.loss, "__module__", ""),
        remedy="average over the batch, and return the tensor itself",
    )


def evaluate(problem: Problem) -> Evaluation:
    """The loss of every evaluation batch, in eval mode; leaves no trace."""
    return mean_losses(problem, problem.eval_batches)


def mean_losses(problem: Problem, batches: Sequence[Batch]) -> Evaluation:
    """The same of any batches."""
    losses, weights = [], []
    with undisturbed(problem.model, problem.loss), torch.no_grad():
        for batch in batches:
            with memory.evaluating(batch):
                losses.append(float(as_loss(problem, problem.loss(problem.model, batch.to(device_of(problem.model))))))
            weights.append(batch.weight)
    return Evaluation(losses, weights)


def change(problem: Problem, first: Sequence[float], last: Sequence[float]) -> Change:
    """From the losses of the evaluation batches at the start to those at the end, paired by batch."""
    weights = [batch.weight for batch in problem.eval_batches]
    differences = [after - before for before, after in zip(first, last, strict=True)]
    [(_, error)] = averaged([differences], weights)
    return Change(Evaluation(first, weights).loss, Evaluation(last, weights).loss, error)


def has_two_states(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer has weights to train at and others to be used: methods train() and eval().

    Schedule-free and averaging optimizers have them. Methods of these names that want arguments mean something else.
    """
    return all(_takes_nothing(getattr(optimizer, mode, None)) for mode in ("train", "eval"))


def _takes_nothing(method: object) -> bool:
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def at_evaluation_weights(optimizer: torch.optim.Optimizer, *, steps: int) -> Iterator[None]:
    """Inside, the model has the weights that `optimizer.eval()` gives it; afterwards all is as it was, bit for bit.

    `optimizer.train()` alone does not bring the training weights back: it computes them, and rounds. So weights, the
    optimizer's state, groups and attributes and the random state come back from copies. Before the first of its `steps`
    the two kinds of weights are the same, and nothing is asked of the optimizer.
    """
    if not has_two_states(optimizer) or steps == 0:
        yield
        return
    modes: Any = optimizer
    put_back = _taken(optimizer)
    modes.eval()
    try:
        yield
    finally:
        modes.train()
        put_back()


def _taken(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """What puts back all that an optimizer has, in place."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    weights = [(p, keeping.clone(p)) for p in parameters]
    settings = [
        {name: keeping.kept_value(value) for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    states = {
        key: (
            state,
            {name: keeping.kept_value(value) for name, value in state.items()}
            if isinstance(state, dict)
            else keeping.kept_value(state),
        )
        for key, state in optimizer.state.items()
    }
    attributes = [(each, keeping.attributes(each)) for each in _inside(optimizer)]
    generators = keeping.generators({p.device for p in parameters})

    def put_back() -> None:
        for group, kept in zip(optimizer.param_groups, settings, strict=True):
            _put_back(group, kept, apart=("params",))
        for key in optimizer.state.keys() - states.keys():
            del optimizer.state[key]
        for key, (state, kept) in states.items():
            if isinstance(state, dict):
                _put_back(state, kept)
            optimizer.state[key] = state if isinstance(state, dict) else keeping.restored_value(state, kept)
        for each, own in attributes:
            keeping.put_back(each, own)
        for parameter, weight in weights:
            keeping.overwrite(parameter, weight)
        keeping.put_generators_back(generators)

    return put_back


def is_composed(optimizer: object) -> bool:
    """Whether it is one of ours that is made of others: anybody's may have attributes of the same names."""
    return type(optimizer).__module__.startswith("clipbench.running.")


def _inside(optimizer: Any) -> Iterator[Any]:
    """An optimizer, and all optimizers and wrappers that it is made of."""
    yield optimizer
    if is_composed(optimizer):
        for each in (*([optimizer.wrapped] if hasattr(optimizer, "wrapped") else []), *optimizer.members.values()):
            yield from _inside(each)


def _put_back(into: dict[str, Any], kept: Mapping[str, Any], *, apart: Collection[str] = ()) -> None:
    for name in into.keys() - kept.keys() - set(apart):
        del into[name]
    for name, value in kept.items():
        into[name] = keeping.restored_value(into.get(name), value)
