"""Looking at a model without leaving a trace."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from clipbench.geometry import keeping

_HOLDERS = (dict, OrderedDict, set, list)
"""Of what a module keeps in these it is put back which objects they are, of whatever kind."""


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode and has no gradients; afterwards all is as it was, bit for bit.

    What is put back, also when the body raises: the training flag of every module by itself; gradients (the same
    tensor objects); weights and buffers (the same objects with the same contents, for an embedding with a `max_norm`
    changes its weight in every forward pass); which attributes every module has, and the contents of those that are
    plain (counters, lists, tensors, generators); the global random states of torch on the CPU and on the model's
    devices, of Python and of NumPy. It takes a copy of the weights. It does not turn differentiation on or off: that is
    the body's choice.

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
    modules = [_references(module) for module in model.modules()]
    plain = [(module, keeping.attributes(module)) for module in model.modules()]
    contents = [(tensor, keeping.clone(tensor)) for tensor in (*model.parameters(), *model.buffers())]
    gradients = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    generators = keeping.generators({tensor.device for tensor, _ in contents})

    def put_back() -> None:
        for put_references_back in modules:
            put_references_back()
        for module, kept in plain:
            keeping.put_back(module, kept)
        for tensor, content in contents:
            keeping.overwrite(tensor, content)
        for parameter, gradient, requires in gradients:
            parameter.requires_grad_(requires).grad = gradient
        keeping.put_generators_back(generators)

    return put_back


def _references(module: nn.Module) -> Callable[[], None]:
    """What puts back which objects a module has: its attributes, parameters, buffers, modules and hooks."""
    have = vars(module)
    attributes = dict(have)
    inside = [(value, value.copy()) for value in have.values() if type(value) in _HOLDERS]

    def put_back() -> None:
        for name in have.keys() - attributes.keys():
            del have[name]
        have.update(attributes)
        for holder, content in inside:
            holder.clear()
            if isinstance(holder, list):
                holder += content
            else:
                holder.update(content)

    return put_back
