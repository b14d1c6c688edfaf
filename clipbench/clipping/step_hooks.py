"""How a clip joins an optimizer's step: before it, or after each evaluation of its closure within it."""

from collections.abc import Callable
from typing import Any

import torch

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a step: (the optimizer itself, closure), {}


def check_runs_hooks(optimizer: object, *, clip: str) -> None:
    """Refuse what is no optimizer, and an optimizer whose step() would never call a clip.

    A wrapper may pass for an optimizer, by its class, and hand the step on to the one within: Accelerate's and
    Lightning's do. torch marks the step() of each class that it has taught to run hooks.

    Args:
        optimizer: what somebody wants clipped.
        clip: how the error calls the clip.

    Raises:
        TypeError: it says what to pass instead, where it is known.
    """
    is_one = isinstance(optimizer, torch.optim.Optimizer)
    if is_one and getattr(type(optimizer).step, "hooked", False):  # type: ignore[attr-defined]
        return
    name, within = type(optimizer).__name__, getattr(optimizer, "optimizer", None)
    if isinstance(within, torch.optim.Optimizer):
        raise TypeError(
            f"{clip} needs the torch.optim.Optimizer that takes the steps, and {name} is a wrapper around it "
            f"({type(within).__name__}): pass its .optimizer"
        )
    if is_one:
        raise TypeError(f"{clip} works by step hooks, and {name} runs none: does its __init__ call super().__init__()?")
    raise TypeError(f"{clip} needs a torch.optim.Optimizer, not {name}")


def closure_of(arguments: Arguments) -> Callable[[], Any] | None:
    """The closure that a step was given, if any."""
    args, kwargs = arguments
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    return closure if callable(closure) else None


def after_each_evaluation(arguments: Arguments, closure: Callable[[], Any], clip: Callable[[], None]) -> Arguments:
    """The step's arguments with a closure that clips, without recording gradients, what each evaluation left."""

    def evaluate() -> Any:
        result = closure()
        with torch.no_grad():
            clip()
        return result

    args, kwargs = arguments
    return ((args[0], evaluate, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": evaluate})


def uncompiled(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Dynamo would break its graph inside the clip anyway, where counts are read; so it is left out whole."""
    left_out: Callable[..., Any] = torch.compiler.disable(hook)
    return left_out
