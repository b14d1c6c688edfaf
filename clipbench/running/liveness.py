"""Before an arm is measured: do its parameters move, does its clip clip, did its options take effect?

A benchmark whose arms are secretly the same optimizer looks perfectly healthy (the code released with
arXiv:2306.00204 was one). So each arm takes a few steps on its own problem first, and the problem is put back. An arm
that is certainly not what it says is refused; where that is not known, a remark says what was seen.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clipbench.contracts import Problem
from clipbench.geometry.contexts import eager
from clipbench.records import AS_WRITTEN, Arm, ClipSettings, TrainingSettings, Value
from clipbench.running.differing import alike, other_values, same, same_values
from clipbench.running.equipment import trainable
from clipbench.running.evaluation import has_two_states
from clipbench.running.grouping import parts, shared_out
from clipbench.running.held import held
from clipbench.running.stepping import Stepping, stepping_of
from clipbench.running.trial import (
    LIFE_STEPS,
    MOST_STEPS,
    Gradient,
    LifeTrial,
    NotLiveError,
    TrialSource,
    given,
    place,
    sources,
    take_steps,
)

# Where a clip that was idle is made to act, as a share of the first gradient's size.
_TIGHT = 0.01

LifeFinding = NotLiveError | str  # what is wrong where it is certain, what was seen where it is not
Course = Callable[[], Sequence[TrialSource]]


def check(arm: Arm, problem: Problem, stepping: Stepping = "gradient") -> tuple[str, ...]:
    """What may be wrong with the arm, a sentence each; the problem is left as it was.

    Args:
        arm: what is tried.
        problem: on which.
        stepping: how the arm's optimizer is stepped.

    Raises:
        NotLiveError: the arm is certainly not what it says, and its spec does not ask to run it all the same; or it
            cannot step at all.
    """
    if arm.liveness == "off":
        return ()
    remarks: list[str] = []
    lengths = [partial(sources, problem, n, create_graph=arm.create_graph) for n in (LIFE_STEPS, MOST_STEPS)]
    for finding in _findings(_Trials(arm, problem, lengths, stepping)):
        if isinstance(finding, str):
            remarks.append(finding)
        elif arm.liveness == "refuse":
            raise finding
        else:
            remarks.append(finding.message)
    return tuple(remarks)


def check_ghost(arm: Arm, problem: Problem, gradients: Sequence[Gradient]) -> tuple[str, ...]:
    """The same of a ghost, by the gradients of `first_gradients`, which serve all ghosts: none of them goes anywhere.

    On a task without batches these are all alike, and hide what depends on how they change. So it is only by steps that
    go somewhere that anything is said of an arm.
    """
    if arm.liveness == "off":
        return ()
    if arm.create_graph:
        raise NotLiveError(
            "it differentiates the gradient, and a run keeps no graph of it for ghosts", where=place(arm)
        )
    if stepping_of(arm, problem) != "gradient":
        message = "its step needs a closure, which would evaluate the loss away from the run's path"
        raise NotLiveError(message, where=place(arm), remedy="it can be an arm, and not a ghost")
    by_given = _Trials(arm, problem, [lambda: [given(problem, gradient) for gradient in gradients]])
    return () if next(_findings(by_given), None) is None else check(arm, problem)


class _Trials:
    """Trials of an arm, and of arms that differ from it in one thing: short, and longer where short ones show nothing.

    Of an arm that stands still in a short trial only the longer ones are looked at.
    """

    def __init__(self, arm: Arm, problem: Problem, courses: Sequence[Course], stepping: Stepping = "gradient") -> None:
        self.arm, self._problem, self._stepping = arm, problem, stepping
        self._courses = [cache(course) for course in courses]
        self._own: dict[int, LifeTrial] = {}
        self._before = {name: parameter.detach().clone() for name, parameter in trainable(problem.model).items()}
        moving = (n for n in range(len(courses)) if not same(self._before, self.take(arm, n).weights))
        first = next(moving, None)
        self.moved = first is not None
        self.lengths = range(len(courses) - 1 if first is None else first, len(courses))

    @property
    def first(self) -> LifeTrial:
        """The arm's own, in the shortest length in which it moves, or the longest."""
        return self.take(self.arm, self.lengths[0])

    def take(self, arm: Arm, length: int) -> LifeTrial:
        """The trial of an arm in one of the `lengths`."""
        if arm is not self.arm:
            stepping = self._stepping if len(arm.wrap) == len(self.arm.wrap) else stepping_of(arm, self._problem)
            return take_steps(arm, self._problem, self._courses[length](), stepping)
        if length not in self._own:
            self._own[length] = take_steps(arm, self._problem, self._courses[length](), self._stepping)
        return self._own[length]

    def still_groups(self) -> dict[str, list[str]]:
        """The parameters of each group of the arm of which none moves in any trial."""

        def moves(name: str) -> bool:
            trials = (self.take(self.arm, length) for length in self.lengths)
            return any(not same_values(self._before[name], trial.weights[name]) for trial in trials)

        taken = shared_out(self.arm, self._problem.model)
        return {group: list(parameters) for group, parameters in taken.items() if not any(map(moves, parameters))}

    def part(self, first: Arm, second: Arm) -> bool:
        """Whether the weights of two arms part in a trial."""
        return any(not same(self.take(first, n).weights, self.take(second, n).weights) for n in self.lengths)


def _findings(trials: _Trials) -> Iterator[LifeFinding]:
    arm, clip = trials.arm, trials.arm.clip
    if not trials.moved and not trials.first.gradient:
        message = f"the task's gradient is zero at each of {MOST_STEPS} steps"
        yield _dead(arm, message, "does the loss depend on the parameters?")
        return
    clips = clip is not None and clip.amount > 0
    if clip is not None and clips and clip.rule == "fraction" and (fault := _miscount(arm, clip.amount, trials.first)):
        yield fault
    if not trials.moved:
        yield _dead(arm, f"no parameter moved in {MOST_STEPS} steps", "is its lr too small?")
        return
    if arm.groups:
        yield from _still(trials)
    if clip is not None and clips and (fault := _idle(arm, clip, trials)):
        yield fault
    for choice, part in zip(arm.parts.values(), parts(trials.first.optimizer), strict=True):
        if callable(getattr(part, "backward", None)):
            yield f"'{choice.use}' has a backward() of its own, and clipbench calls that of the loss"
    for wrapper in arm.wrap:
        without = replace(arm, wrap=tuple(each for each in arm.wrap if each is not wrapper))
        if not has_two_states(trials.first.optimizer) and not trials.part(without, arm):
            yield f"its wrapper '{wrapper.name}' has no effect in {MOST_STEPS} steps"
    for name, value in arm.options.items():
        if finding := _option(name, value, trials):
            yield finding


def _still(trials: _Trials) -> Iterator[NotLiveError]:
    """Groups of the arm of which no parameter moves in the longest trial."""
    for group, names in trials.still_groups().items():
        message = f"no parameter of the group '{group}' moved in {MOST_STEPS} steps ({', '.join(names[:3])})"
        yield _dead(trials.arm, message, "is its lr too small, or its gradient zero?")


def _dead(arm: Arm, message: str, remedy: str) -> NotLiveError:
    return NotLiveError(
        message, where=place(arm), remedy=f"{remedy} (`liveness: warn` on the arm runs it all the same)"
    )


def step_flops(
    arm: Arm, problem: Problem, stepping: Stepping = "gradient", settings: TrainingSettings = AS_WRITTEN
) -> int | None:
    """The floating-point operations of one step of the arm: forward, backward and optimizer.

    As torch counts them: matrix products, convolutions and attention, not what goes coordinate by coordinate; what
    torch has compiled is counted as it was written. None where the counter cannot follow a step. The problem is left
    as it was.
    """
    [first, *_] = sources(problem, 1, create_graph=arm.create_graph, settings=settings)
    counter = FlopCounterMode(display=False)
    try:
        with eager(), counter:
            take_steps(arm, problem, [first], stepping)
    except Exception:  # the arm is known to step: what fails is the counter, and the run can do without its count
        return None
    return counter.get_total_flops()


def _miscount(arm: Arm, fraction: float, trial: LifeTrial) -> NotLiveError | None:
    """At no step the clip changed more coordinates than was asked, and at one of them at least about as many.

    Coordinates equal to the threshold are not changed by it, so ties lower the count: at Adam's first step nearly all
    of the update is of one size. A step without any gradient has nothing to clip.
    """
    enough = [step.clipped >= 0.99 * step.asked - 1 for step in trial.clips]
    for number, step in enumerate(trial.clips):
        if step.asked == 0:
            message = f"a fraction of {fraction:g} of {step.n} coordinates is less than one coordinate"
            return _dead(arm, message, "clip a larger fraction")
        if step.erased:
            message = (
                f"the clip's threshold is zero at step {number}: at least {1 - fraction:.0%} of the coordinates that "
                "share it are zero"
            )
            return _dead(arm, message, "it would erase the whole update; clip a smaller fraction")
        if step.clipped > step.asked or not any(enough):
            message = (
                f"the clip changed {step.clipped} of {step.n} coordinates at step {number} where {step.asked} were "
                "asked for"
            )
            return _dead(arm, message, "many coordinates may be exactly equal in size")
    return None


def _idle(arm: Arm, clip: ClipSettings, trials: _Trials) -> NotLiveError | None:
    """With its clip the arm goes elsewhere than without.

    A threshold or a norm may be above every gradient of the first steps: such a clip is idle, not dead. Which of the
    two is seen where it must act, at a limit far below the first gradient.
    """
    at, clipped = "", arm
    if clip.rule != "fraction" and not any(step.clipped for step in trials.first.clips):
        limit = _TIGHT * (trials.first.largest if clip.rule == "threshold" else trials.first.length)
        of_rule: dict[str, Any] = {clip.rule: limit}
        tight = replace(clip, **of_rule)
        at, clipped = f", even at a {clip.rule} of {limit:.3g}", replace(arm, clip=tight)
    if trials.part(clipped, arm.twin()):
        return None
    message = (
        f"after {MOST_STEPS} steps its weights equal those of its twin without the clip{at}: the clip does nothing"
    )
    return _dead(arm, message, f"does '{arm.optimizer.use}' use only the sign of its gradient?")


def _option(name: str, value: Value, trials: _Trials) -> LifeFinding | None:
    """An option is taken where the new optimizer shows it at its value, or where another value of it changes something.

    To be shown it need not act: whether a momentum of 0.9 that stands in a group is used, a few steps may not tell.
    """
    shown = trials.first.configured[name]
    if any(_agree(current, value) for current in shown):
        return None
    effect = _effect(name, value, trials)
    if shown and effect == "none":
        message = f"the option {name} was set to {value!r} but is {shown[0]!r} whatever it is set to"
        return _dead(trials.arm, message, "mend the optimizer, or set what it takes")
    if shown:
        return f"the option {name} was set to {value!r} and stands at {shown[0]!r} in the optimizer"
    if effect == "none":
        message = f"the option {name} has no effect: it shows nowhere, and {MOST_STEPS} steps are the same without it"
        return _dead(trials.arm, message, "take it out, or mend the optimizer")
    if effect == "kept":
        return f"the option {name} is kept in the optimizer, but {MOST_STEPS} steps are the same at another value"
    if effect == "unknown":
        return f"the option {name} shows nowhere in the optimizer, which took no other value to compare it with"
    return None


def _effect(name: str, value: Value, trials: _Trials) -> Literal["acts", "kept", "none", "unknown"]:
    """What becomes of the arm where an option has another value, or is left out.

    The option acts if the weights change, and is kept if only what the optimizer holds does. Where neither does and
    no other value was accepted, nothing is known: what an option is left out for may be the value that it had.
    """
    arm, options = trials.arm, trials.arm.options
    left_out = {option: setting for option, setting in options.items() if option != name}
    varied = [*({**options, name: alternative} for alternative in other_values(value)), left_out]
    arms = [arm.with_options(setting) for setting in varied]
    kept = accepted = False
    for length in trials.lengths:
        own = trials.take(arm, length)
        for variant in arms:
            try:
                trial = trials.take(variant, length)
            except Exception:  # the value is not admissible, in whatever way the optimizer says so
                continue
            if not same(own.weights, trial.weights):
                return "acts"
            accepted = accepted or variant is not arms[-1]
            kept = kept or not alike(_held(own.optimizer), _held(trial.optimizer))
    return "kept" if kept else "none" if accepted else "unknown"


def _held(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    return held({"": optimizer}, trained=[p for group in optimizer.param_groups for p in group["params"]])


def _agree(shown: object, value: Value) -> bool:
    """Whether what an optimizer shows is a value of a spec; numbers may have gone through float32."""
    if isinstance(shown, Tensor | np.ndarray | np.generic):
        shown = shown.tolist()
    if isinstance(shown, list | tuple) and isinstance(value, tuple):
        return len(shown) == len(value) and all(_agree(a, b) for a, b in zip(shown, value, strict=True))
    if isinstance(shown, float) and isinstance(value, int | float):
        return math.isclose(shown, value, rel_tol=1e-6)
    return bool(shown == value) or (isinstance(value, str) and str(shown) == f"torch.{value}")
