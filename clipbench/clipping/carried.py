"""A clip goes with its optimizer when that is copied or pickled, where torch would leave the hooks behind.

torch.optim.Optimizer's own __getstate__ keeps defaults, state and parameter groups only, so a deep copy of a clipped
optimizer would be an unclipped one, and nothing would say so.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

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
