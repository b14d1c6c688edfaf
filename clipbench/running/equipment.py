"""From a run's description to the live things: the task's problem, the arm's optimizer with its clip, the probes."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip
from clipbench.contracts import Batch, Problem, Snapshot
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Choice, ClipSettings, Options, Run, Scalar, Value
from clipbench.running.evaluation import has_two_states
from clipbench.running.grouping import by_group, grouped, shared_out
from clipbench.running.metrics import unusable
from clipbench.running.wanting import wanting
from clipbench.running.wrapping import wrapped

Function = TypeVar("Function", bound=Callable[..., Any])
ProbeMeasure = Callable[[Snapshot], Iterable[tuple[str, str, float]]]
AttachedClip = CoordinateClip | FixedClip


def load(choice: Choice) -> Any:
    """The function or class a choice names ("module:attribute")."""
    module, _, attribute = choice.target.partition(":")
    thing: Any = import_module(module)
    for part in attribute.split("."):
        thing = getattr(thing, part)
    return thing


def build_problem(run: Run, device: torch.device) -> Problem:
    """Build what a run's task describes.

    Raises:
        ClipbenchError: the task builds no Problem, or one in which something is missing.
    """
    problem = load(run.task)(run.seed, device, **run.task.options)
    if not isinstance(problem, Problem):
        message = f"the task '{run.task.use}' built a {type(problem).__name__}, not a clipbench.contracts.Problem"
        raise ClipbenchError(message, where=run.task.target, remedy="return clipbench.problem(...) or Problem(...)")
    if lacking := _lacking(problem):
        reason, remedy = lacking
        message = f"the task '{run.task.use}' built a problem with {reason}"
        raise ClipbenchError(message, where=run.task.target, remedy=remedy)
    return problem


def _lacking(problem: Problem) -> tuple[str, str] | None:
    """What a problem must have and has not, with the mend where it is not plain; None where nothing is missing."""
    if not trainable(problem.model):
        return "no trainable parameter", ""
    if not callable(problem.train_batches):
        remedy = "give a function of the step to start at, or let clipbench.problem draw batches from the data set"
        return f"a {type(problem.train_batches).__name__} for its train_batches", remedy
    for name in ("eval_batches", "probe_batches", "train_slice"):
        batches = getattr(problem, name)
        if isinstance(batches, DataLoader | Iterator):
            return f"a {type(batches).__name__} for its {name}", "give a list of batches, so that they stay the same"
        kinds: list[type] = [type(batch) for batch in batches]
        if strange := [kind for kind in kinds if not issubclass(kind, Batch)]:
            return f"a {strange[0].__name__} in its {name}", _BATCH
    if not sum(batch.weight for batch in problem.eval_batches) > 0:
        return "no evaluation batches, or none with a term in its loss", ""
    if problem.train_slice and not sum(batch.weight for batch in problem.train_slice) > 0:
        return "a train_slice without a term in its loss", ""
    return unusable(problem.metrics)


_BATCH = "make Batch({'x': x, 'y': y}, samples=len(x)) of it, or let clipbench.problem make the batches"


def standing_for(given: Callable[..., Any], wrapper: Function) -> Function:
    """A wrapper of ours around a function of a task, which `as_given` finds again; errors show the function's name."""
    vars(wrapper)["given_by_task"] = given
    wrapper.__module__ = getattr(given, "__module__", wrapper.__module__)
    wrapper.__qualname__ = getattr(given, "__qualname__", type(given).__qualname__)
    return wrapper


def as_given(function: Callable[..., Any]) -> Callable[..., Any]:
    """A task's function, without wrappers of ours."""
    while "given_by_task" in getattr(function, "__dict__", {}):
        function = vars(function)["given_by_task"]
    return function


def next_batch(batches: Iterator[Batch], step: int) -> Batch:
    """The training batch of a step.

    Raises:
        ClipbenchError: the task has no more of them, or what it has is no batch.
    """
    if not isinstance(batches, Iterator):
        raise ClipbenchError(
            f"train_batches({step}) returned a {type(batches).__name__}, which is no iterator",
            where="train_batches",
            remedy="yield the batches one by one, without end, or let clipbench.problem draw them from the data set",
        )
    try:
        return as_batch(next(batches), step)
    except (StopIteration, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error.__cause__, StopIteration):
            raise  # a generator inside which another one ended raises a RuntimeError
    raise ClipbenchError(
        f"the task's training batches ended at step {step}",
        where="train_batches",
        remedy="they must go on without end, epoch after epoch: the budget says when training stops",
    )


def as_batch(drawn: object, step: int) -> Batch:
    """What a task has drawn for a step, if it can be trained on.

    Raises:
        ClipbenchError: it is no Batch, or one without anything in its tensors.
    """
    if not isinstance(drawn, Batch):
        message = f"the task's training batch {step} is a {type(drawn).__name__}, not a clipbench.contracts.Batch"
        raise ClipbenchError(message, where="train_batches", remedy=_BATCH)
    if drawn.tensors and not any(tensor.numel() for tensor in drawn.tensors.values()):
        message = f"the task's training batch {step} is empty"
        raise ClipbenchError(message, where="train_batches", remedy="look at where the data are read and cut")
    return drawn


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters by name, each tied weight once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def build_optimizer(arm: Arm, model: torch.nn.Module) -> tuple[torch.optim.Optimizer, AttachedClip | None]:
    """The arm's optimizer over the model's trainable parameters, with its clip, inside its wrappers.

    A shelf factory gets the parameters by name; any other class gets them as torch's own optimizers do. A wrapper's
    factory gets the optimizer and the parameters by name; any other class gets the optimizer. What has a train() of its
    own is in training mode.

    Raises:
        ClipbenchError: what is built is no optimizer, or the arm's groups do not share out the parameters.
    """
    if arm.groups:
        taken = shared_out(arm, model)
        optimizer: torch.optim.Optimizer = grouped(
            {group.name: _built(group.optimizer, taken[group.name], arm.name) for group in arm.groups}
        )
    else:
        optimizer = _built(arm.optimizer, trainable(model), arm.name)
    clip = attach(arm.clip, optimizer) if arm.clip else None
    if arm.wrap:
        optimizer = wrapped(optimizer, _wrappers(arm, optimizer, model))
    if has_two_states(optimizer):  # torch's own have no such method
        optimizer.train()  # type: ignore[attr-defined]
    return optimizer, clip


def _wrappers(arm: Arm, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, Any]:
    """What goes around the optimizer, innermost first."""
    around: dict[str, Any] = {}
    inside: Any = optimizer
    for choice in arm.wrap:
        factory = load(choice)
        handed = [inside] if isinstance(factory, type) else [inside, list(trainable(model).items())]
        inside = around[choice.name] = _called(choice, arm.name, factory, *handed)
        if not callable(getattr(inside, "step", None)):
            message = f"'{choice.use}' built a {type(inside).__name__}, which has no step()"
            raise ClipbenchError(message, where=f"wrapper of the arm '{arm.name}'")
        if not hasattr(inside, "param_groups"):  # the next wrapper may look for the parameters there
            with suppress(AttributeError):  # of an object that takes no attributes
                inside.param_groups = optimizer.param_groups
    return around


def _built(choice: Choice, parameters: Mapping[str, torch.nn.Parameter], arm: str) -> torch.optim.Optimizer:
    factory = load(choice)
    handed: Any = list(parameters.values()) if isinstance(factory, type) else list(parameters.items())
    optimizer = _called(choice, arm, factory, handed)
    if not isinstance(optimizer, torch.optim.Optimizer):
        message = f"'{choice.use}' built a {type(optimizer).__name__}, not a torch.optim.Optimizer"
        raise ClipbenchError(message, where=f"optimizer of the arm '{arm}'")
    return optimizer


def _called(choice: Choice, arm: str, factory: Callable[..., Any], *handed: object) -> Any:
    """What the factory builds with the choice's options.

    Raises:
        ClipbenchError: its error is known by its words, and what to write for it.
        Exception: whatever else it raises.
    """
    try:
        return factory(*handed, **choice.options)
    except ClipbenchError:
        raise
    except Exception as error:  # it is anybody's code
        if known := wanting(choice.use, error):
            reason, remedy = known
            raise ClipbenchError(f"'{choice.use}' {reason}", where=f"arm '{arm}'", remedy=remedy) from error
        raise


def attach(clip: ClipSettings, optimizer: torch.optim.Optimizer) -> AttachedClip:
    """The clip that a spec describes, on an optimizer."""
    groups = _places(clip, optimizer) if clip.groups else None
    if clip.rule == "fraction":
        return CoordinateClip(
            optimizer,
            clip.amount,
            of=clip.of,
            scope=clip.scope,
            scale=clip.scale,
            ignore_zeros=clip.ignore_zeros,
            groups=groups,
        )
    return FixedClip(optimizer, threshold=clip.threshold, norm=clip.norm, groups=groups)


def _places(clip: ClipSettings, optimizer: torch.optim.Optimizer) -> list[int]:
    """The places of the parameter groups of the arm's groups that the clip names."""
    named = [
        id(group) for name, each in by_group(optimizer).items() if name in clip.groups for group in each.param_groups
    ]
    return [place for place, group in enumerate(optimizer.param_groups) if id(group) in named]


def build_probes(run: Run) -> list[tuple[str, ProbeMeasure]]:
    """The probes of a run, each by its name with its options filled in."""
    return [(probe.name, functools.partial(load(probe), **probe.options)) for probe in run.measure.probes]


def effective_options(optimizer: torch.optim.Optimizer) -> Options:
    """The configuration an optimizer really runs with, read from its first parameter group.

    Of an arm with groups, from the first of each optimizer, with the group's name before that of the option.
    """
    return {
        f"{group}.{name}" if group else name: _plain(value)
        for group, member in by_group(optimizer).items()
        for name, value in member.param_groups[0].items()
        if name not in ("params", "param_names")
    }


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """The memory of every tensor that the optimizer keeps between steps, however deep it lies; a shared one once."""
    tensors: dict[int, torch.Tensor] = {}
    left: list[object] = list(optimizer.state.values())
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            tensors[id(value)] = value
        elif isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _plain(value: object) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_plain_scalar(item) for item in value)
    return _plain_scalar(value)


def _plain_scalar(value: object) -> Scalar:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value)
    return value if isinstance(value, bool | int | float | str | None) else repr(value)
