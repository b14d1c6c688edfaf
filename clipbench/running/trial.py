"""A few steps of an arm on its problem, which is put back: what a check of life looks at."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.report import Clipped
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry.undisturbed import undisturbed
from clipbench.records import Arm, ClipSettings
from clipbench.running.equipment import AttachedClip, as_batch, build_optimizer, trainable
from clipbench.running.evaluation import device_of
from clipbench.running.grouping import by_group

# Two steps are the fewest in which a momentum or a second moment shows; the third lets a decay of it show as well.
LIFE_STEPS = 3
# By design some optimizers stand still at first: RAdam until its step 6, AdaShift until its step 10. Where the first
# steps show nothing, so many are taken.
MOST_STEPS = 20

# What torch, or an optimizer, says where a gradient is differentiated that has no graph.
_OF_SECOND_ORDER = ("create_graph", "does not have a grad_fn", "does not require grad")

Gradient = dict[str, Tensor]  # by parameter name, without those that have none
TrialSource = Callable[[], None]  # of a step's gradient, which it leaves on the parameters


class NotLiveError(ClipbenchError):
    """An arm that does not do what its spec says."""


@dataclass(frozen=True)
class Step:
    """What the clip did at a step: whether it erased what it looked at, how many coordinates it clipped of how many.

    `asked` is how many it should have clipped, for a clip by fraction.
    """

    erased: bool
    clipped: int
    n: int
    asked: int


@dataclass(frozen=True)
class LifeTrial:
    """An arm after a few steps: its weights, its optimizer, and what its clip did at each step that had a gradient.

    `configured` has every value that the new optimizer showed under the name of an option, before a step could change
    it. `largest` and `length` are of the first raw gradient, for an arm with a clip: its largest magnitude and its ℓ2
    norm. `gradient`: whether any step had one that is not zero.
    """

    weights: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    configured: Mapping[str, Sequence[object]]
    clips: list[Step]
    largest: float
    length: float
    gradient: bool


def sources(problem: Problem, steps: int = LIFE_STEPS) -> list[TrialSource]:
    """The gradients of the first batches, each of the weights that are there when it is its turn."""
    drawn = itertools.islice(problem.train_batches(0), steps)
    batches = [as_batch(batch, step) for step, batch in enumerate(drawn)]
    if not batches:
        raise ClipbenchError("the task has no training batches")
    return [partial(_backward, problem, batch) for batch in batches]


def _backward(problem: Problem, batch: Batch) -> None:
    loss = problem.loss(problem.model, batch.to(device_of(problem.model)))
    if not loss.requires_grad:
        raise NotLiveError("the task's loss has no gradient: it depends on no parameter that is trained")
    loss.backward()


def given(problem: Problem, gradient: Gradient) -> TrialSource:
    """A gradient that is there already, whatever the weights are."""

    def give() -> None:
        for name, parameter in trainable(problem.model).items():
            parameter.grad = gradient[name].clone() if name in gradient else None

    return give


def first_gradients(problem: Problem) -> list[Gradient]:
    """The gradients of the first batches, all of the problem's weights; everything is left as it was."""
    gradients: list[Gradient] = []
    with put_back(problem):
        for source in sources(problem):
            problem.model.zero_grad()
            source()
            held = ((name, parameter.grad) for name, parameter in trainable(problem.model).items())
            gradients.append({name: gradient for name, gradient in held if gradient is not None})
    return gradients


@contextmanager
def put_back(problem: Problem) -> Iterator[None]:
    """Training mode inside; afterwards the model and the random state are as they were.

    So are the hooks of the parameters: an optimizer that steps in the backward pass would go on stepping in the run.
    """
    parameters = list(problem.model.parameters())
    hooks = {number for parameter in parameters for of_kind in _hooks(parameter) for number in of_kind}
    with undisturbed(problem.model, problem.loss):
        try:
            problem.model.train()
            yield
        finally:
            for parameter in parameters:
                for of_kind in _hooks(parameter):
                    for number in of_kind.keys() - hooks:
                        del of_kind[number]


def _hooks(parameter: nn.Parameter) -> list[dict[int, Any]]:
    """The hooks of a parameter, as torch keeps them by number: on its gradient, and on that being there."""
    both = (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
    return [cast("dict[int, Any]", hooks) for hooks in both if hooks is not None]


def take_steps(arm: Arm, problem: Problem, steps: Sequence[TrialSource]) -> LifeTrial:
    """Take the arm's steps from the problem's weights, and put everything back."""
    clips: list[Step] = []
    largest = length = 0.0
    gradient = False
    with put_back(problem):
        optimizer, clip = build_optimizer(arm, problem.model)
        members = zip(arm.optimizers.items(), by_group(optimizer).values(), strict=True)
        configured = {
            f"{path}{name}": _shown(member, name) for (path, choice), member in members for name in choice.options
        }
        for number, source in enumerate(steps):
            optimizer.zero_grad()
            source()
            if number == 0 and clip is not None:
                largest, length = _sizes(optimizer)
            alive = (clip is not None or not gradient) and _has_gradient(problem)
            gradient = gradient or alive
            asked = _asked(optimizer, arm.clip)
            _take_step(arm, optimizer)
            if clip is not None and alive and (last := clip.last) is not None:
                if isinstance(last, Clipped) and arm.clip and arm.clip.ignore_zeros and arm.clip.of == "update":
                    asked = last.asked  # which coordinates of an update are zero, a gradient does not tell
                clips.append(Step(_erased(clip), int(last.clipped), last.n, asked))
        weights = {name: parameter.detach().clone() for name, parameter in trainable(problem.model).items()}
        return LifeTrial(weights, optimizer, configured, clips, largest, length, gradient)


def _shown(optimizer: torch.optim.Optimizer, name: str) -> list[object]:
    """All that an optimizer shows under a name: in its groups, its attributes and its defaults."""
    shelves: Iterable[Mapping[str, object]] = (*optimizer.param_groups, vars(optimizer), optimizer.defaults)
    shown = (shelf[name] for shelf in shelves if name in shelf)
    return [value.detach().clone() if isinstance(value, Tensor) else copy.copy(value) for value in shown]


def _has_gradient(problem: Problem) -> bool:
    """Whether any trained parameter has a gradient that is not zero."""
    gradients = (p.grad for p in trainable(problem.model).values() if p.grad is not None)
    return any(bool((g.coalesce().values() if g.is_sparse else g).any()) for g in gradients)


def _sizes(optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    """The largest magnitude of the gradient, and its ℓ2 norm."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norms = [[float(torch.linalg.vector_norm(g, ord=order)) for g in gradients] for order in (math.inf, 2)]
    return max(norms[0], default=0.0), math.hypot(*norms[1])


def _asked(optimizer: torch.optim.Optimizer, clip: ClipSettings | None) -> int:
    """How many coordinates the coming step should clip; the clip's own word is not taken for it."""
    if clip is None or clip.rule != "fraction":
        return 0
    by_group = [[p.grad for p in group["params"] if p.grad is not None] for group in optimizer.param_groups]
    lists = {
        "global": [[gradient for gradients in by_group for gradient in gradients]],
        "group": by_group,
        "tensor": [[gradient] for gradients in by_group for gradient in gradients],
    }[clip.scope]
    alive = [gradients for gradients in lists if any(bool(gradient.any()) for gradient in gradients)]
    counts = [sum(_counted(gradient, clip) for gradient in gradients) for gradients in alive]
    return sum(int(clip.amount * count) for count in counts)


def _counted(gradient: Tensor, clip: ClipSettings) -> int:
    return int(torch.count_nonzero(gradient)) if clip.ignore_zeros else gradient.numel()


def _erased(clip: AttachedClip) -> bool:
    """Whether a threshold of zero took all there was to take."""
    return isinstance(clip, CoordinateClip) and clip.zero_thresholds > 0


def _take_step(arm: Arm, optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except ClipbenchError:
        raise
    except Exception as error:  # an optimizer is anybody's code, and raises what it likes for want of a closure
        if wanting := _wanting(str(error)):
            reason, remedy = wanting
            raise NotLiveError(f"'{arm.optimizer.use}' {reason}", where=place(arm), remedy=remedy) from error
        raise


def _wanting(text: str) -> tuple[str, str] | None:
    """What a step lacked, by the text of its error, and what to do; None where it was something else."""
    if "closure" in text or text == "'NoneType' object is not callable":
        return "needs a closure, and clipbench steps without one", "use an optimizer whose step() takes no argument"
    if any(words in text for words in _OF_SECOND_ORDER):
        reason = "differentiates the gradient, and clipbench's backward pass keeps no graph of it (create_graph)"
        return reason, "use an optimizer that takes the gradient as it is"
    return None


def place(arm: Arm) -> str:
    """How an error calls an arm."""
    return f"arm '{arm.name}'"
