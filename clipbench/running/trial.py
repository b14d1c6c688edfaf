"""A few steps of an arm on its problem, which is put back: what a check of life looks at."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.report import Clipped
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import AS_WRITTEN, Arm, ClipSettings, TrainingSettings
from clipbench.running.equipment import AttachedClip, as_batch, build_optimizer, trainable
from clipbench.running.evaluation import device_of
from clipbench.running.grouping import by_group, parts
from clipbench.running.stepping import Stepping, evaluated, take
from clipbench.running.undoing import put_back
from clipbench.running.wanting import wanting, wants_closure

# Two steps are the fewest in which a momentum or a second moment shows; the third lets a decay of it show as well.
LIFE_STEPS = 3
# By design some optimizers stand still at first: RAdam until its step 6, AdaShift until its step 10. Where the first
# steps show nothing, so many are taken.
MOST_STEPS = 20

Gradient = dict[str, Tensor]  # by parameter name, without those that have none
TrialSource = Callable[[], Tensor]  # of a step's gradient, which it leaves on the parameters; its loss


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


def sources(
    problem: Problem, steps: int = LIFE_STEPS, *, create_graph: bool = False, settings: TrainingSettings = AS_WRITTEN
) -> list[TrialSource]:
    """The gradients of the first batches, each of the weights that are there when it is its turn."""
    drawn = itertools.islice(problem.train_batches(0), steps)
    batches = [as_batch(batch, step) for step, batch in enumerate(drawn)]
    if not batches:
        raise ClipbenchError("the task has no training batches")
    return [partial(_evaluate, problem, batch, settings, create_graph) for batch in batches]


def _evaluate(problem: Problem, batch: Batch, settings: TrainingSettings, create_graph: bool) -> Tensor:
    problem.model.zero_grad()
    return evaluated(problem, batch.to(device_of(problem.model)), settings, create_graph=create_graph)


def given(problem: Problem, gradient: Gradient) -> TrialSource:
    """A gradient that is there already, whatever the weights are."""

    def give() -> Tensor:
        for name, parameter in trainable(problem.model).items():
            parameter.grad = gradient[name].clone() if name in gradient else None
        return torch.tensor(math.nan)

    return give


def first_gradients(problem: Problem) -> list[Gradient]:
    """The gradients of the first batches, all of the problem's weights; everything is left as it was."""
    gradients: list[Gradient] = []
    with put_back(problem):
        for source in sources(problem):
            source()
            held = ((name, parameter.grad) for name, parameter in trainable(problem.model).items())
            gradients.append({name: gradient for name, gradient in held if gradient is not None})
    return gradients


def take_steps(arm: Arm, problem: Problem, steps: Sequence[TrialSource], stepping: Stepping = "gradient") -> LifeTrial:
    """Take the arm's steps from the problem's weights, and put everything back."""
    clips: list[Step] = []
    with put_back(problem):
        optimizer, clip = build_optimizer(arm, problem.model)
        members = zip(arm.parts.items(), parts(optimizer), strict=True)
        configured = {
            f"{path}{name}": _shown(member, name) for (path, choice), member in members for name in choice.options
        }
        seen = _Gradients(arm, problem, optimizer)
        for source in steps:
            optimizer.zero_grad()
            seen.alive = False
            _take_step(partial(take, optimizer, stepping, partial(_looked_at, source, seen), clip), seen)
            if clip is not None and seen.alive and (last := clip.last) is not None:
                asked = seen.asked
                if isinstance(last, Clipped) and arm.clip and arm.clip.ignore_zeros and arm.clip.of == "update":
                    asked = last.asked  # which coordinates of an update are zero, a gradient does not tell
                clips.append(Step(_erased(clip), int(last.clipped), last.n, asked))
        weights = {name: parameter.detach().clone() for name, parameter in trainable(problem.model).items()}
        return LifeTrial(weights, optimizer, configured, clips, seen.largest, seen.length, seen.any)


@dataclass
class _Gradients:
    """What a trial has seen of its raw gradients.

    `alive`: whether the latest is not zero, and `asked` how many coordinates of it to clip; `any`: whether one was not
    zero; `largest` and `length` are of the first. `raised`: what the task raised, which is not the optimizer's.
    """

    arm: Arm
    problem: Problem
    optimizer: torch.optim.Optimizer
    alive: bool = False
    any: bool = False
    asked: int = 0
    largest: float = 0.0
    length: float = 0.0
    evaluations: int = 0
    raised: Exception | None = None

    def see(self) -> None:
        """Look at the gradient that is there."""
        clip = self.arm.clip
        if self.evaluations == 0 and clip is not None:
            self.largest, self.length = _sizes(self.optimizer, clip)
        self.evaluations += 1
        self.alive = (clip is not None or not self.any) and _has_gradient(self.problem)
        self.any = self.any or self.alive
        self.asked = _asked(self.optimizer, clip)


def _looked_at(source: TrialSource, seen: _Gradients) -> Tensor:
    try:
        with torch.enable_grad():
            loss = source()
    except Exception as error:
        seen.raised = error
        raise
    seen.see()
    return loss


def _shown(part: Any, name: str) -> list[object]:
    """All that an optimizer or a wrapper shows under a name: in its groups, its attributes and its defaults."""
    groups, defaults = getattr(part, "param_groups", ()), getattr(part, "defaults", {})
    shelves: Iterable[Mapping[str, object]] = (*groups, getattr(part, "__dict__", {}), defaults)
    shown = (shelf[name] for shelf in shelves if name in shelf)
    return [value.detach().clone() if isinstance(value, Tensor) else copy.copy(value) for value in shown]


def _has_gradient(problem: Problem) -> bool:
    """Whether any trained parameter has a gradient that is not zero."""
    gradients = (p.grad for p in trainable(problem.model).values() if p.grad is not None)
    return any(bool((g.coalesce().values() if g.is_sparse else g).any()) for g in gradients)


def _clipped(optimizer: torch.optim.Optimizer, clip: ClipSettings) -> list[dict[str, Any]]:
    """The parameter groups that the clip is over."""
    members = by_group(optimizer).items()
    return [group for name, each in members if not clip.groups or name in clip.groups for group in each.param_groups]


def _sizes(optimizer: torch.optim.Optimizer, clip: ClipSettings) -> tuple[float, float]:
    """The largest magnitude of the gradient that is clipped, and its ℓ2 norm."""
    gradients = [p.grad for group in _clipped(optimizer, clip) for p in group["params"] if p.grad is not None]
    norms = [[float(torch.linalg.vector_norm(g, ord=order)) for g in gradients] for order in (math.inf, 2)]
    return max(norms[0], default=0.0), math.hypot(*norms[1])


def _asked(optimizer: torch.optim.Optimizer, clip: ClipSettings | None) -> int:
    """How many coordinates the coming step should clip; the clip's own word is not taken for it."""
    if clip is None or clip.rule != "fraction":
        return 0
    groups = [[p.grad for p in group["params"] if p.grad is not None] for group in _clipped(optimizer, clip)]
    lists = {
        "global": [[gradient for gradients in groups for gradient in gradients]],
        "group": groups,
        "tensor": [[gradient] for gradients in groups for gradient in gradients],
    }[clip.scope]
    alive = [gradients for gradients in lists if any(bool(gradient.any()) for gradient in gradients)]
    counts = [sum(_counted(gradient, clip) for gradient in gradients) for gradients in alive]
    return sum(int(clip.amount * count) for count in counts)


def _counted(gradient: Tensor, clip: ClipSettings) -> int:
    return int(torch.count_nonzero(gradient)) if clip.ignore_zeros else gradient.numel()


def _erased(clip: AttachedClip) -> bool:
    """Whether a threshold of zero took all there was to take."""
    return isinstance(clip, CoordinateClip) and clip.zero_thresholds > 0


def _take_step(step: Callable[[], None], seen: _Gradients) -> None:
    arm = seen.arm
    try:
        step()
    except ClipbenchError:
        raise
    except Exception as error:  # an optimizer is anybody's code, and raises what it likes for want of something
        if error is not seen.raised and (known := _wanting(arm, error)):
            reason, remedy = known
            raise NotLiveError(f"'{arm.optimizer.use}' {reason}", where=place(arm), remedy=remedy) from error
        raise


def _wanting(arm: Arm, error: Exception) -> tuple[str, str] | None:
    """What a step lacked, by its error, and what to do; None where it was something else."""
    if arm.wrap and wants_closure(error):
        return "needs a closure, which what is around it does not hand on", "mend its `wrap`"
    if wants_closure(error):
        reason = "asks for a closure at a later step, though its first one went without"
        return reason, "use an optimizer whose step() takes a closure always, or never"
    return wanting(arm.optimizer.use, error, create_graph=arm.create_graph)


def place(arm: Arm) -> str:
    """How an error calls an arm."""
    return f"arm '{arm.name}'"
