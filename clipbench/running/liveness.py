"""Before an arm is measured: do its parameters move, does its clip clip, did its options take effect?

A benchmark whose arms are secretly the same optimizer looks perfectly healthy (the code released with
arXiv:2306.00204 was one). So each arm takes a few steps on its own problem first, and the problem is put back.
"""

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.report import Clipped
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, ClipSettings, Options, Value
from clipbench.running.equipment import Clip, build_optimizer, effective_options, trainable
from clipbench.running.evaluation import device_of

# Two steps are the fewest in which a momentum or a second moment shows; the third lets a decay of it show as well.
STEPS = 3
# Where a clip that was idle is made to act, as a share of the first gradient's size.
_TIGHT = 0.01


class NotLiveError(ClipbenchError):
    """An arm that does not do what its spec says."""


@dataclass(frozen=True)
class _Step:
    """What the clip did at a step: whether it erased what it looked at, how many coordinates it clipped of how many.

    `asked` is how many it should have clipped, for a clip by fraction.
    """

    erased: bool
    clipped: int
    n: int
    asked: int


@dataclass(frozen=True)
class _Trial:
    """An arm after a few steps: its weights, what it was configured with, and what its clip did at each step.

    `largest` and `length` are of the first raw gradient: its largest magnitude and its ℓ2 norm.
    """

    weights: dict[str, Tensor]
    effective: Options
    attributes: dict[str, object]
    clips: list[_Step]
    largest: float
    length: float


def check(arm: Arm, problem: Problem) -> None:
    """Raise NotLiveError, with the reason, if the arm is not what it says; the problem is left as it was."""
    stream = problem.train_batches(0)
    batches = [next(stream).to(device_of(problem.model)) for _ in range(STEPS)]
    before = {name: parameter.detach().clone() for name, parameter in trainable(problem.model).items()}
    trial = _try(arm, problem, batches)
    by_fraction = arm.clip is not None and arm.clip.rule == "fraction"
    if arm.clip is not None and by_fraction and arm.clip.amount > 0:
        _check_counts(arm, arm.clip.amount, trial)
    if _same(before, trial.weights):
        raise NotLiveError(f"no parameter moved in {STEPS} steps", where=_place(arm), remedy="is its lr too small?")
    if arm.clip is not None and arm.clip.amount > 0:
        _check_against_twin(arm, arm.clip, trial, problem, batches)
    for name, value in arm.optimizer.options.items():
        _check_option(arm, name, value, trial, problem, batches)


def step_flops(arm: Arm, problem: Problem) -> int | None:
    """The floating-point operations of one step of the arm, forward, backward and optimizer; the problem is left as
    it was.

    As torch counts them: matrix products, convolutions and attention, not what goes coordinate by coordinate. None
    where the counter cannot follow a step (one that torch has compiled, say).
    """
    batch = next(problem.train_batches(0)).to(device_of(problem.model))
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            _try(arm, problem, [batch])
    except Exception:  # the arm is known to step: what fails is the counter, and the run can do without its count
        return None
    return counter.get_total_flops()


def _try(arm: Arm, problem: Problem, batches: list[Batch]) -> _Trial:
    """Take the steps from the problem's weights, and put weights, buffers, gradients and random state back."""
    model = problem.model
    saved, mode = copy.deepcopy(model.state_dict()), model.training
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    clips: list[_Step] = []
    largest = length = 0.0
    with torch.random.fork_rng(devices=devices):
        try:
            model.train()
            optimizer, clip = build_optimizer(arm, model)
            for batch in batches:
                optimizer.zero_grad()
                problem.loss(model, batch).backward()  # type: ignore[no-untyped-call]
                if batch is batches[0]:
                    largest, length = _sizes(optimizer)
                asked = _asked(optimizer, arm.clip)
                _take_step(arm, optimizer)
                if clip is not None and (last := clip.last) is not None:
                    if isinstance(last, Clipped) and arm.clip and arm.clip.ignore_zeros and arm.clip.of == "update":
                        asked = last.asked  # which coordinates of an update are zero, a gradient does not tell
                    clips.append(_Step(_erased(clip), int(last.clipped), last.n, asked))
            weights = {name: parameter.detach().clone() for name, parameter in trainable(model).items()}
            return _Trial(weights, effective_options(optimizer), vars(optimizer), clips, largest, length)
        finally:
            model.load_state_dict(saved)
            model.zero_grad()
            model.train(mode)


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


def _erased(clip: Clip) -> bool:
    """Whether a threshold of zero took all there was to take."""
    return isinstance(clip, CoordinateClip) and clip.zero_thresholds > 0


def _take_step(arm: Arm, optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except TypeError as error:
        if "closure" in str(error):
            found = f"'{arm.optimizer.use}' needs a closure, and clipbench steps without one"
            raise NotLiveError(
                found, where=_place(arm), remedy="use an optimizer whose step() takes no argument"
            ) from error
        raise


def _check_counts(arm: Arm, fraction: float, trial: _Trial) -> None:
    """At no step the clip changed more coordinates than was asked, and at one of them at least about as many.

    Coordinates equal to the threshold are not changed by it, so ties lower the count: at Adam's first step nearly all
    of the update is of one size.
    """
    place = _place(arm)
    enough = [step.clipped >= 0.99 * step.asked - 1 for step in trial.clips]
    for number, step in enumerate(trial.clips):
        if step.asked == 0:
            raise NotLiveError(
                f"a fraction of {fraction:g} of {step.n} coordinates is less than one coordinate", where=place
            )
        if step.erased:
            found = (
                f"the clip's threshold is zero at step {number}: at least {1 - fraction:.0%} of the coordinates that "
                "share it are zero"
            )
            raise NotLiveError(found, where=place, remedy="it would erase the whole update; clip a smaller fraction")
        if step.clipped > step.asked or not any(enough):
            found = (
                f"the clip changed {step.clipped} of {step.n} coordinates at step {number} where {step.asked} were "
                "asked for"
            )
            raise NotLiveError(found, where=place, remedy="many coordinates may be exactly equal in size")


def _check_against_twin(arm: Arm, clip: ClipSettings, trial: _Trial, problem: Problem, batches: list[Batch]) -> None:
    """With its clip the arm goes elsewhere than without.

    A threshold or a norm may be above every gradient of the first steps: such a clip is idle, not dead. Which of the
    two is seen where it must act, at a limit far below the first gradient.
    """
    at = ""
    if clip.rule != "fraction" and not any(step.clipped for step in trial.clips):
        limit = _TIGHT * (trial.largest if clip.rule == "threshold" else trial.length)
        tight = ClipSettings(threshold=limit) if clip.rule == "threshold" else ClipSettings(norm=limit)
        trial, at = _try(replace(arm, clip=tight), problem, batches), f", even at a {clip.rule} of {limit:.3g}"
    if _same(trial.weights, _try(arm.twin(), problem, batches).weights):
        found = f"after {STEPS} steps its weights equal those of its twin without the clip{at}: the clip does nothing"
        raise NotLiveError(
            found, where=_place(arm), remedy=f"does '{arm.optimizer.use}' use only the sign of its gradient?"
        )


def _check_option(arm: Arm, name: str, value: Value, trial: _Trial, problem: Problem, batches: list[Batch]) -> None:
    """An option is observed in the optimizer, or else leaving it out changes the weights."""
    if name in trial.effective or name in trial.attributes:
        found = trial.effective[name] if name in trial.effective else trial.attributes[name]
        if not _agree(found, value):
            raise NotLiveError(f"the option {name} was set to {value!r} but is {found!r}", where=_place(arm))
        return
    options = {other: setting for other, setting in arm.optimizer.options.items() if other != name}
    without = replace(arm, optimizer=replace(arm.optimizer, options=options))
    try:
        changed = not _same(trial.weights, _try(without, problem, batches).weights)
    except TypeError:
        return  # it cannot be left out: the constructor needs it, so it was taken
    if not changed:
        found = f"the option {name} has no effect: it shows nowhere, and {STEPS} steps are the same without it"
        raise NotLiveError(found, where=_place(arm), remedy="take it out, or mend the optimizer")


def _agree(found: object, value: Value) -> bool:
    if isinstance(found, list | tuple) and isinstance(value, tuple):
        return len(found) == len(value) and all(_agree(a, b) for a, b in zip(found, value, strict=True))
    return found == value


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def _place(arm: Arm) -> str:
    return f"arm '{arm.name}'"
