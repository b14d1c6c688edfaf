"""How a clip joins an optimizer's step, before it or after each evaluation of its closure, and goes into its copies."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
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


# copy.deepcopy and pickle ask the object, not its class, for this method: an entry of its own takes precedence.
_ENTRY = "__reduce_ex__"
_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")

Again = Callable[[torch.optim.Optimizer, Any], None]


def carry(clip: object, optimizer: torch.optim.Optimizer, *, again: Again, settings: Any) -> None:
    """Have every deep copy and pickle of the optimizer call again(copy, settings), and remember whose clip it has."""
    vars(optimizer)[_ENTRY] = partial(_reduced, clip, optimizer, again, settings)


def carried_by(optimizer: torch.optim.Optimizer) -> Any:
    """The clip that the optimizer carries, or None."""
    entry = vars(optimizer).get(_ENTRY)
    return entry.args[0] if isinstance(entry, partial) and entry.func is _reduced else None


def drop(optimizer: torch.optim.Optimizer) -> None:
    """Copies of the optimizer are what torch makes them, again."""
    del vars(optimizer)[_ENTRY]


def _reduced(_: object, optimizer: torch.optim.Optimizer, again: Again, settings: Any, protocol: Any) -> Any:
    reduced: Any = type(optimizer).__reduce_ex__(optimizer, protocol)
    make, arguments, state, *rest = reduced
    if isinstance(state, dict):  # some optimizers hand on all they have, and these hooks belong to the original
        state = {name: value for name, value in state.items() if name not in (_ENTRY, *_HOOKS)}
    return _copy, (again, settings, make, *arguments), state, *rest


def _copy(again: Again, settings: Any, make: Callable[..., torch.optim.Optimizer], *arguments: Any) -> Any:
    optimizer = make(*arguments)
    for hooks in _HOOKS:  # torch adds them in __setstate__, after this, and leaves those that exist
        vars(optimizer).setdefault(hooks, OrderedDict())
    again(optimizer, settings)
    return optimizer
