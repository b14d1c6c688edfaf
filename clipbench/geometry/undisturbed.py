"""Looking at a model without leaving a trace."""

import copy
import itertools
import random
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import is_, setitem
from types import EllipsisType, ModuleType, NoneType, NotImplementedType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clipbench.geometry import keeping
from clipbench.geometry.holders import Content, Held, held_by, leads_to

LARGEST_TENSOR = 10**6
"""Elements of a tensor or an array; a larger one in a closure or a helper object is taken for data."""
LONGEST_ROW = 10**4
"""Items of a list or a dict, for the same reason."""

_NOTHING_INSIDE = (NoneType, bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_NEVER_CHANGED = {*_NOTHING_INSIDE, range, EllipsisType, NotImplementedType, ModuleType, object}
_ROWS = (dict, list, tuple, set, frozenset, deque)
_ITERATORS = {itertools.count, *(type(iter(row)) for row in ((), [], range(0), ""))}
"""Whose copy goes on by itself over the same row."""


@contextmanager
def undisturbed(model: nn.Module, loss: object = None) -> Iterator[None]:
    """Inside, the model is in evaluation mode and has no gradients; afterwards all is as it was, bit for bit.

    What is put back, also when the body raises:

    - of the model: the training flag of every module by itself; gradients (the same tensor objects); weights and
      buffers (the same objects with the same contents, for an embedding with a `max_norm` changes its weight in every
      forward pass); hooks, and all attributes
    - all that can be reached from the model's attributes and hooks and from the loss: modules that are hidden from
      torch, whose mode is put back and not set; attributes and slots of objects; lists, dicts, sets and deques, also of
      derived classes; what functions close over, their defaults, and the global names that they use; attributes of
      classes; and the contents of tensors, arrays, generators, and iterators over rows and counts
    - the global random states of torch on the CPU and on the model's devices, of Python and of NumPy

    It takes a copy of the weights. What is large and belongs to no module is taken for data and left as it is: a tensor
    or an array of more than LARGEST_TENSOR elements, a list or a dict of more than LONGEST_ROW items. So are
    optimizers, Python generators, objects of torch, NumPy and the standard library, and global names and class attributes
    of installed packages. It does not turn differentiation on or off: that is the body's choice.

    Args:
        model: on any devices, in any mode.
        loss: what is computed with the model inside, a function or an object that can be called.
    """
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    generators = keeping.generators({tensor.device for tensor in (*model.parameters(), *model.buffers())})
    walk = _Walk()
    try:
        for parameter in model.parameters():
            parameter.grad = None
        walk.follow(model, loss)
        model.eval()
        yield
    finally:
        walk.put_back()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        keeping.put_generators_back(generators)


class _Walk:
    """Everything that was reached, each object once, with what it held."""

    def __init__(self) -> None:
        self._seen: dict[int, object] = {}
        self._held: list[tuple[Held, Content]] = []
        self._contents: list[Callable[[], None]] = []
        self._copies: dict[int, object] = {}  # of iterators, which nothing winds back

    def follow(self, *roots: object) -> None:
        left = [(root, True) for root in roots]
        while left:
            thing, in_module = left.pop()
            if type(thing) in _NEVER_CHANGED or id(thing) in self._seen or not (in_module or _is_small(thing)):
                continue
            self._seen[id(thing)] = thing
            in_module = isinstance(thing, nn.Module) or (in_module and isinstance(thing, _ROWS))
            left += [(child, in_module) for child in self._take(thing)]

    def _take(self, thing: object) -> list[object]:
        """Keep what an object holds; returns that."""
        if (back := _content(thing)) is not None:
            self._contents.append(back)
        if (anew := _copy_of_iterator(thing)) is not None:
            self._copies[id(thing)] = anew
        children = leads_to(thing)
        for held in held_by(thing):
            content = held.read()
            self._held.append((held, content))
            children += content.values() if isinstance(content, dict) else content
        return children

    def put_back(self) -> None:
        for held, content in self._held:
            before = self._with_copies(content) if self._copies else content
            if not _same(held.read(), before):
                held.write(before)
        for back in self._contents:
            back()

    def _with_copies(self, content: Content) -> Content:
        if isinstance(content, dict):
            return {name: self._copies.get(id(value), value) for name, value in content.items()}
        return [self._copies.get(id(value), value) for value in content]


def _is_small(thing: object) -> bool:
    if isinstance(thing, nn.Parameter):
        return True
    if isinstance(thing, Tensor):
        return is_lazy(thing) or thing.numel() <= LARGEST_TENSOR
    if isinstance(thing, np.ndarray):
        return thing.size <= LARGEST_TENSOR
    if isinstance(thing, bytearray | array):
        return len(thing) <= LARGEST_TENSOR
    return not isinstance(thing, _ROWS) or len(thing) <= LONGEST_ROW


def _same(now: Content, before: Content) -> bool:
    """Whether the very same objects stand in the same order."""
    if len(now) != len(before) or not all(map(is_, now, before)):
        return False
    if isinstance(now, dict) and isinstance(before, dict):
        return all(map(is_, now.values(), before.values()))
    return True


def _content(thing: Any) -> Callable[[], None] | None:
    """What writes into an object the numbers that it has now; None for an object that has none of its own."""
    if isinstance(thing, Tensor):
        return _numbers(thing)
    if isinstance(thing, np.ndarray):
        return _state(partial(setitem, thing, ...), thing.copy()) if thing.flags.writeable else None
    if isinstance(thing, bytearray | array):
        return _state(partial(type(thing).__setitem__, thing, slice(None)), thing[:])
    if isinstance(thing, torch.Generator):
        return _state(thing.set_state, thing.get_state())
    if isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):
        return _state(thing.setstate, thing.getstate())
    if isinstance(thing, np.random.RandomState):
        return _state(thing.set_state, thing.get_state(legacy=False))
    if isinstance(thing, np.random.Generator):
        return _content(thing.bit_generator)
    if isinstance(thing, np.random.BitGenerator):
        return _state(partial(setattr, thing, "state"), copy.deepcopy(thing.state))
    return None


def _state(into: Callable[[Any], object], state: Any) -> Callable[[], None]:
    def back() -> None:
        into(state)

    return back


def _numbers(tensor: Tensor) -> Callable[[], None] | None:
    """Of a tensor, with its gradient and whether it takes one; None for a kind that nothing can be written into."""
    if is_lazy(tensor) or tensor.is_nested:
        return None
    try:
        there, numbers = tensor.data, keeping.clone(tensor)
    except (RuntimeError, TypeError):
        return None
    leaf, requires = tensor.is_leaf, tensor.requires_grad
    gradient = tensor.grad if leaf else None

    def back() -> None:
        if leaf and not tensor.is_leaf and not tensor._is_view():
            tensor.detach_()
        if (tensor.shape, tensor.dtype, tensor.device) != (there.shape, there.dtype, there.device):
            tensor.data = there
        with torch.inference_mode(tensor.is_inference()):
            keeping.overwrite(tensor, numbers)
        if leaf and tensor.is_leaf:
            tensor.requires_grad_(requires).grad = gradient

    return back


def _copy_of_iterator(thing: Any) -> object:
    """One that stands where this one stands; None for what is no iterator, or runs over something that cannot be read
    twice."""
    if type(thing) in _ITERATORS:
        return copy.copy(thing)
    if type(thing) is not itertools.cycle:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, and 3.14 has none
        try:
            _, (rest,), (seen, over) = thing.__reduce__()
        except TypeError:
            return None
        if type(rest) not in _ITERATORS:
            return None
        anew = itertools.cycle(copy.copy(rest))
        anew.__setstate__((seen.copy(), over))
        return anew
