"""Looking at a model without leaving a trace."""

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clipbench.geometry import keeping

_HOLDERS = (dict, OrderedDict, set, list)
"""Of what a module keeps in these it is put back which objects they are, of whatever kind."""


_LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy"}
"""Whose objects are left alone: loggers, locks, functions."""


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode and has no gradients; afterwards all is as it was, bit for bit.

    What is put back, also when the body raises: the training flag of every module by itself; gradients (the same
    tensor objects); weights and buffers (the same objects with the same contents, for an embedding with a `max_norm`
    changes its weight in every forward pass); which attributes every module has, and every object of the user's own
    classes in them, and the contents of those that are plain (counters, lists, tensors, generators); the global random
    states of torch on the CPU and on the model's devices, of Python and of NumPy. It takes a copy of the weights. It
    does not turn differentiation on or off: that is the body's choice.

    Args:
        model: on any devices, in any mode.
    """
    put_back = _taken(model)
    try:
        model.eval()
        for parameter in model.parameters():
            parameter.grad = None
        yield
    finally:
        put_back()


def _taken(model: nn.Module) -> Callable[[], None]:
    """What puts back all that is there now."""
    things = [*model.modules(), *_helpers(model)]
    references = [_references(thing) for thing in things]
    plain = [(thing, keeping.attributes(thing)) for thing in things]
    tensors = [t for t in (*model.parameters(), *model.buffers()) if not is_lazy(t)]
    contents = [(tensor, keeping.clone(tensor)) for tensor in tensors]
    gradients = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    generators = keeping.generators({tensor.device for tensor, _ in contents})

    def put_back() -> None:
        for put_references_back in references:
            put_references_back()
        for thing, kept in plain:
            keeping.put_back(thing, kept)
        for tensor, content in contents:
            keeping.overwrite(tensor, content)
        for parameter, gradient, requires in gradients:
            parameter.requires_grad_(requires).grad = gradient
        keeping.put_generators_back(generators)

    return put_back


def _helpers(model: nn.Module) -> list[object]:
    """The objects of the user's own classes that modules have as attributes, or these in theirs, and so on."""
    left = [value for module in model.modules() for value in vars(module).values()]
    seen: dict[int, object] = {}
    while left:
        thing = left.pop()
        if id(thing) in seen:
            continue
        if isinstance(thing, dict):
            left += thing.values()
        elif isinstance(thing, list | tuple | set | deque):
            left += thing
        elif _is_a_helper(thing):
            left += vars(thing).values()
        else:
            continue
        seen[id(thing)] = thing
    return [thing for thing in seen.values() if _is_a_helper(thing)]


def _is_a_helper(thing: object) -> bool:
    if isinstance(thing, SimpleNamespace):
        return True
    if not hasattr(thing, "__dict__") or isinstance(thing, nn.Module | torch.optim.Optimizer | Tensor | type | Enum):
        return False
    return type(thing).__module__.partition(".")[0] not in _LIBRARIES


def _references(thing: object) -> Callable[[], None]:
    """What puts back which objects a thing has: its attributes; of a module, parameters, buffers, modules and hooks."""
    have, kind = vars(thing), type(thing)
    attributes = dict(have)
    inside = [(value, value.copy()) for value in have.values() if type(value) in _HOLDERS]

    def put_back() -> None:
        for name in have.keys() - attributes.keys():
            del have[name]
        have.update(attributes)
        if type(thing) is not kind:  # a lazy module becomes another in its first forward pass
            thing.__class__ = kind
        for holder, content in inside:
            holder.clear()
            if isinstance(holder, list):
                holder += content
            else:
                holder.update(content)

    return put_back
