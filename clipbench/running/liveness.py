"""Before an arm is measured: do its parameters move, does its clip clip, did its options take effect?

A benchmark whose arms are secretly the same optimizer looks perfectly healthy (the code released with
arXiv:2306.00204 was one). So each arm takes a few steps on its own problem first, and the problem is put back.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clipbench.contracts import Problem
from clipbench.geometry.eager import eager
from clipbench.records import Arm, ClipSettings, Value
from clipbench.running.equipment import trainable
from clipbench.running.trial import STEPS, Gradient, NotLiveError, Source, Trial, given, place, sources, take_steps

# Where a clip that was idle is made to act, as a share of the first gradient's size.
_TIGHT = 0.01


def check(arm: Arm, problem: Problem) -> None:
    """Raise NotLiveError, with the reason, if the arm is not what it says; the problem is left as it was."""
    _check(arm, problem, sources(problem))


def check_ghost(arm: Arm, problem: Problem, gradients: Sequence[Gradient]) -> None:
    """The same of a ghost, by the gradients of `first_gradients`, which serve all ghosts: none of them goes anywhere.

    On a task without batches these are all alike, and hide what depends on how they change. So it is only by steps that
    go somewhere that an arm fails.
    """
    try:
        _check(arm, problem, [given(problem, gradient) for gradient in gradients])
    except NotLiveError:
        check(arm, problem)


def _check(arm: Arm, problem: Problem, steps: Sequence[Source]) -> None:
    before = {name: parameter.detach().clone() for name, parameter in trainable(problem.model).items()}
    trial = take_steps(arm, problem, steps)
    by_fraction = arm.clip is not None and arm.clip.rule == "fraction"
    if arm.clip is not None and by_fraction and arm.clip.amount > 0:
        _check_counts(arm, arm.clip.amount, trial)
    if _same(before, trial.weights):
        raise NotLiveError(f"no parameter moved in {STEPS} steps", where=place(arm), remedy="is its lr too small?")
    if arm.clip is not None and arm.clip.amount > 0:
        _check_against_twin(arm, arm.clip, trial, problem, steps)
    for name, value in arm.optimizer.options.items():
        _check_option(arm, name, value, trial, problem, steps)


def step_flops(arm: Arm, problem: Problem) -> int | None:
    """The floating-point operations of one step of the arm, forward, backward and optimizer; the problem is left as
    it was.

    As torch counts them: matrix products, convolutions and attention, not what goes coordinate by coordinate; what
    torch has compiled is counted as it was written. None where the counter cannot follow a step.
    """
    [first, *_] = sources(problem)
    counter = FlopCounterMode(display=False)
    try:
        with eager(), counter:
            take_steps(arm, problem, [first])
    except Exception:  # the arm is known to step: what fails is the counter, and the run can do without its count
        return None
    return counter.get_total_flops()


def _check_counts(arm: Arm, fraction: float, trial: Trial) -> None:
    """At no step the clip changed more coordinates than was asked, and at one of them at least about as many.

    Coordinates equal to the threshold are not changed by it, so ties lower the count: at Adam's first step nearly all
    of the update is of one size.
    """
    where = place(arm)
    enough = [step.clipped >= 0.99 * step.asked - 1 for step in trial.clips]
    for number, step in enumerate(trial.clips):
        if step.asked == 0:
            raise NotLiveError(
                f"a fraction of {fraction:g} of {step.n} coordinates is less than one coordinate", where=where
            )
        if step.erased:
            found = (
                f"the clip's threshold is zero at step {number}: at least {1 - fraction:.0%} of the coordinates that "
                "share it are zero"
            )
            raise NotLiveError(found, where=where, remedy="it would erase the whole update; clip a smaller fraction")
        if step.clipped > step.asked or not any(enough):
            found = (
                f"the clip changed {step.clipped} of {step.n} coordinates at step {number} where {step.asked} were "
                "asked for"
            )
            raise NotLiveError(found, where=where, remedy="many coordinates may be exactly equal in size")


def _check_against_twin(arm: Arm, clip: ClipSettings, trial: Trial, problem: Problem, steps: Sequence[Source]) -> None:
    """With its clip the arm goes elsewhere than without.

    A threshold or a norm may be above every gradient of the first steps: such a clip is idle, not dead. Which of the
    two is seen where it must act, at a limit far below the first gradient.
    """
    at = ""
    if clip.rule != "fraction" and not any(step.clipped for step in trial.clips):
        limit = _TIGHT * (trial.largest if clip.rule == "threshold" else trial.length)
        tight = ClipSettings(threshold=limit) if clip.rule == "threshold" else ClipSettings(norm=limit)
        trial, at = take_steps(replace(arm, clip=tight), problem, steps), f", even at a {clip.rule} of {limit:.3g}"
    if _same(trial.weights, take_steps(arm.twin(), problem, steps).weights):
        found = f"after {STEPS} steps its weights equal those of its twin without the clip{at}: the clip does nothing"
        raise NotLiveError(
            found, where=place(arm), remedy=f"does '{arm.optimizer.use}' use only the sign of its gradient?"
        )


def _check_option(arm: Arm, name: str, value: Value, trial: Trial, problem: Problem, steps: Sequence[Source]) -> None:
    """An option is observed in the optimizer, or else leaving it out changes the weights."""
    if name in trial.effective or name in trial.attributes:
        found = trial.effective[name] if name in trial.effective else trial.attributes[name]
        if not _agree(found, value):
            raise NotLiveError(f"the option {name} was set to {value!r} but is {found!r}", where=place(arm))
        return
    options = {other: setting for other, setting in arm.optimizer.options.items() if other != name}
    without = replace(arm, optimizer=replace(arm.optimizer, options=options))
    try:
        changed = not _same(trial.weights, take_steps(without, problem, steps).weights)
    except TypeError:
        return  # it cannot be left out: the constructor needs it, so it was taken
    if not changed:
        found = f"the option {name} has no effect: it shows nowhere, and {STEPS} steps are the same without it"
        raise NotLiveError(found, where=place(arm), remedy="take it out, or mend the optimizer")


def _agree(found: object, value: Value) -> bool:
    if isinstance(found, list | tuple) and isinstance(value, tuple):
        return len(found) == len(value) and all(_agree(a, b) for a, b in zip(found, value, strict=True))
    return found == value


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)
