"""How an optimizer is stepped: by a gradient that is there, by a closure that evaluates it, or by both.

An arm's optimizer is not asked what it wants, since signatures do not tell: it is built and takes a step by a made-up
gradient, which costs no pass through the model, and what it does is undone.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry.contexts import math_attention
from clipbench.records import AS_WRITTEN, Arm, TrainingSettings
from clipbench.running.equipment import AttachedClip, build_optimizer, trainable
from clipbench.running.evaluation import as_loss
from clipbench.running.memory import stepping_on
from clipbench.running.precision import forward_pass, rounded_products
from clipbench.running.undoing import put_back
from clipbench.running.wanting import missing_argument, wants_closure

# - gradient: step(), as most optimizers;
# - closure: step(closure), which it evaluates at the weights where it starts, and at others (torch's LBFGS);
# - gradient and closure: it moves by the gradient that is there before it evaluates (SAM as its authors wrote it).
Stepping = Literal["gradient", "closure", "gradient and closure"]

_MADE_UP = 1e-3  # each coordinate of the gradient by which an optimizer is tried


def evaluated(
    problem: Problem, batch: Batch, settings: TrainingSettings = AS_WRITTEN, *, create_graph: bool = False
) -> Tensor:
    """The loss of a batch on the model's device, whose gradient it adds to the parameters'.

    Of a batch that is cut into pieces i with wᵢ terms of W, both are those of Σᵢ (wᵢ/W)·lossᵢ. With `create_graph` the
    gradient can be differentiated again, and attention is computed by its plain formula.

    Raises:
        ClipbenchError: the loss is not one number or has no gradient, or the batch cannot be split.
        OutOfMemoryError: in a sentence what may fit.
    """
    pieces = [piece for shard in shards(batch, settings) for piece in pieces_of(shard, settings)]
    return of_pieces(problem, pieces, settings, of=batch, create_graph=create_graph)


def shards(batch: Batch, settings: TrainingSettings) -> list[Batch]:
    """What each process of a run takes of a batch: as many examples each, but for the last; the last may have none.

    Raises:
        ClipbenchError: the batch cannot be split.
    """
    n = settings.processes
    return [batch] if n == 1 else batch.split(math.ceil(batch.samples / n))


def pieces_of(shard: Batch, settings: TrainingSettings) -> list[Batch]:
    """What goes through the model at a time.

    Raises:
        ClipbenchError: the batch cannot be split.
    """
    return [shard] if settings.micro_batch is None else shard.split(settings.micro_batch)


def of_pieces(
    problem: Problem, pieces: Sequence[Batch], settings: TrainingSettings, *, of: Batch, create_graph: bool = False
) -> Tensor:
    """What `evaluated` says of some pieces of the batch `of`: their part of its loss, and of its gradient."""
    losses: list[Tensor] = []
    with math_attention() if create_graph else nullcontext(), rounded_products(settings), stepping_on(pieces, settings):
        for piece in pieces:
            with forward_pass(settings, problem.model):
                loss = as_loss(problem, problem.loss(problem.model, piece))
            if not loss.requires_grad:
                raise ClipbenchError("the task's loss has no gradient: it depends on no parameter that is trained")
            if piece is not of:
                loss = loss * (piece.weight / of.weight)
            _go_back(loss, create_graph=create_graph)
            losses.append(loss)
    if len(losses) == 1:
        return losses[0]
    return torch.stack([loss.detach().double() for loss in losses]).sum() if losses else torch.zeros(())


def _go_back(loss: Tensor, *, create_graph: bool) -> None:
    if not create_graph:
        loss.backward()
        return
    with warnings.catch_warnings():  # of the cycle of a parameter and its gradient: zero_grad() breaks it
        warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")
        loss.backward(create_graph=True)


def take(
    optimizer: torch.optim.Optimizer,
    stepping: Stepping,
    evaluate: Callable[[], Tensor],
    clip: AttachedClip | None = None,
) -> None:
    """One step, which begins without a gradient.

    Args:
        optimizer: what steps.
        stepping: how.
        evaluate: returns the loss, and leaves its gradient, and no earlier one, on the parameters.
        clip: the optimizer's, which acts on every gradient that is evaluated.
    """
    if stepping == "gradient":
        evaluate()
        optimizer.step()
        return
    if stepping == "gradient and closure":
        evaluate()
        if clip is not None:
            clip.clip_gradients()
    optimizer.step(evaluate)  # type: ignore[arg-type]  # torch's annotation has a float


class _FirstEvaluation(BaseException):  # no Exception, so that no handler in an optimizer's step takes it for a failure
    """Ends a step that is tried where its closure is evaluated for the first time."""


def stepping_of(arm: Arm, problem: Problem) -> Stepping:
    """How the arm's optimizer is stepped; the problem is left as it was.

    What it raises for another reason than want of an argument is left to its first step by a true gradient.

    Raises:
        ClipbenchError: its step() needs an argument that is no closure.
    """
    if not (argument := _wanted_argument(arm, problem)):
        return "gradient"
    with put_back(problem):
        optimizer, _ = build_optimizer(arm.twin(), problem.model)
        _make_up(problem)
        before = _versions(problem), _weights(problem)

        def evaluate() -> Tensor:
            raise _FirstEvaluation

        try:
            optimizer.step(evaluate)  # type: ignore[arg-type]
        except _FirstEvaluation:
            pass
        except Exception:
            if argument == _CLOSURE:
                return "closure"
            raise _not_stepped(arm, argument) from None
        else:
            if argument != _CLOSURE:
                raise _not_stepped(arm, argument)
        moved = _versions(problem) != before[0] or not all(map(torch.equal, _weights(problem), before[1]))
        return "gradient and closure" if moved else "closure"


_CLOSURE = "a closure"


def _wanted_argument(arm: Arm, problem: Problem) -> str:
    """What the arm's step() cannot do without; empty for nothing."""
    with put_back(problem):
        optimizer, _ = build_optimizer(arm.twin(), problem.model)
        parameter = inspect.signature(optimizer.step).parameters.get("closure")
        if parameter is not None and parameter.default is inspect.Parameter.empty:
            return _CLOSURE
        _make_up(problem)
        try:
            optimizer.step()
        except Exception as error:  # an optimizer is anybody's code, and raises what it likes for want of a closure
            return _CLOSURE if wants_closure(error) else missing_argument(error)
    return ""


def _not_stepped(arm: Arm, argument: str) -> ClipbenchError:
    return ClipbenchError(
        f"the step() of '{arm.optimizer.use}' asks for {argument}, and clipbench calls step() or step(closure)",
        where=f"arm '{arm.name}'",
        remedy="write a subclass whose step(closure) makes it: closure() returns the loss and leaves its gradient",
    )


def _make_up(problem: Problem) -> None:
    """Put a gradient on every trained parameter."""
    for parameter in trainable(problem.model).values():
        parameter.grad = torch.full_like(parameter, _MADE_UP, requires_grad=False)


def _versions(problem: Problem) -> list[int]:
    """How often torch has seen each parameter written to, also by a value that it had."""
    return [parameter._version for parameter in trainable(problem.model).values()]


def _weights(problem: Problem) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in trainable(problem.model).values()]
