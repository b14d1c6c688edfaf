"""Before an arm is measured: do its parameters move, does its clip clip, did its options take effect?

A benchmark whose arms are secretly the same optimizer looks perfectly healthy (the code released with
arXiv:2306.00204 was one). So each arm takes a few steps on its own problem first, and the problem is put back.
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Options, Value
from clipbench.running.equipment import build_optimizer, effective_options, trainable
from clipbench.running.evaluation import device_of

# Two steps are the fewest in which a momentum or a second moment shows; the third lets a decay of it show as well.
STEPS = 3


class NotLiveError(ClipbenchError):
    """An arm that does not do what its spec says."""


@dataclass(frozen=True)
class _Trial:
    """An arm after a few steps: its weights, what it was configured with, and (threshold, clipped, n) of each step."""

    weights: dict[str, Tensor]
    effective: Options
    attributes: dict[str, object]
    clips: list[tuple[float, int, int]]


def check(arm: Arm, problem: Problem) -> None:
    """Raise NotLiveError, with the reason, if the arm is not what it says; the problem is left as it was."""
    stream = problem.train_batches(0)
    batches = [next(stream).to(device_of(problem.model)) for _ in range(STEPS)]
    before = {name: parameter.detach().clone() for name, parameter in trainable(problem.model).items()}
    trial = _try(arm, problem, batches)
    clipped = arm.clip is not None and arm.clip.fraction > 0
    if clipped:
        _check_counts(arm, trial)
    if _same(before, trial.weights):
        raise NotLiveError(f"no parameter moved in {STEPS} steps", where=_place(arm), remedy="is its lr too small?")
    if clipped and _same(trial.weights, _try(arm.twin(), problem, batches).weights):
        found = f"after {STEPS} steps its weights equal those of its twin without the clip: the clip does nothing"
        raise NotLiveError(
            found, where=_place(arm), remedy=f"does '{arm.optimizer.use}' use only the sign of its gradient?"
        )
    for name, value in arm.optimizer.options.items():
        _check_option(arm, name, value, trial, problem, batches)


def _try(arm: Arm, problem: Problem, batches: list[Batch]) -> _Trial:
    """Take the steps from the problem's weights, and put weights, buffers, gradients and random state back."""
    model = problem.model
    saved, mode = copy.deepcopy(model.state_dict()), model.training
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    clips = []
    with torch.random.fork_rng(devices=devices):
        try:
            model.train()
            optimizer, clip = build_optimizer(arm, model)
            for batch in batches:
                optimizer.zero_grad()
                problem.loss(model, batch).backward()  # type: ignore[no-untyped-call]
                _take_step(arm, optimizer)
                if clip is not None and clip.last is not None:
                    clips.append((float(clip.last.threshold), int(clip.last.clipped), clip.last.n))
            weights = {name: parameter.detach().clone() for name, parameter in trainable(model).items()}
            return _Trial(weights, effective_options(optimizer), vars(optimizer), clips)
        finally:
            model.load_state_dict(saved)
            model.zero_grad()
            model.train(mode)


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


def _check_counts(arm: Arm, trial: _Trial) -> None:
    """At each step the clip changed as many coordinates as was asked."""
    fraction, place = arm.clip.fraction if arm.clip else 0.0, _place(arm)
    for step, (threshold, clipped, n) in enumerate(trial.clips):
        asked = int(n * fraction)
        if asked == 0:
            raise NotLiveError(
                f"a fraction of {fraction:g} of {n} coordinates is less than one coordinate", where=place
            )
        if threshold == 0.0:
            found = (
                f"the clip's threshold is zero at step {step}: at least {1 - fraction:.0%} of the coordinates are zero"
            )
            raise NotLiveError(found, where=place, remedy="it would erase the whole update; clip a smaller fraction")
        # Coordinates equal to the threshold are not changed by it, so ties lower the count; more is never right.
        if clipped > asked or clipped < 0.99 * asked - 1:
            found = f"the clip changed {clipped} of {n} coordinates at step {step} where {asked} were asked for"
            raise NotLiveError(found, where=place, remedy="many coordinates may be exactly equal in size")


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
