"""Looking at a model without leaving a trace."""

import copy
import itertools
import random
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from operator import is_, setitem
from types import EllipsisType, ModuleType, NoneType, NotImplementedType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clipbench.geometry import keeping
from clipbench.geometry.holders import Container, HeldPart, parts, passages

LARGEST_TENSOR = 10**6
"""Elements of a tensor or an array; a larger one in a closure or a helper object is taken for data."""
LONGEST_ROW = 10**4
"""Items of a list or a dict, for the same reason."""

_NOTHING_INSIDE = (NoneType, bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_NEVER_CHANGED = {*_NOTHING_INSIDE, range, EllipsisType, NotImplementedType, ModuleType, object}
_ROWS = (dict, list, tuple, set, frozenset, deque)
_OVER_ROWS: tuple[Iterator[Any], ...] = (iter(()), iter([]), iter(range(0)), iter(""), itertools.count())
_ITERATORS = {itertools.cycle, *map(type, _OVER_ROWS)}
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
    optimizers, Python generators, objects of torch, NumPy and the standard library, and what installed packages keep in
    global names and in classes. It does not turn differentiation on or off: that is the body's choice.

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
        self._held: list[tuple[HeldPart, Any, Container]] = []
        self._contents: list[Callable[[], None]] = []
        self._copies: dict[int, object] = {}  # of iterators, which nothing winds back

    def follow(self, *roots: object) -> None:
        left = [(root, True) for root in roots]
        while left:
            thing, in_module = left.pop()
            if id(thing) in self._seen or not (in_module or _is_small(thing)):
                continue
            self._seen[id(thing)] = thing
            in_module = isinstance(thing, nn.Module | nn.Parameter) or (in_module and isinstance(thing, _ROWS))
            left += [(child, in_module) for child in self._take(thing) if type(child) not in _NEVER_CHANGED]

    def _take(self, thing: Any) -> list[Any]:
        """Keep what an object holds; returns all that it leads to."""
        kind: Any = type(thing)
        if (keep := _keeper(kind)) is not None and (back := keep(thing)) is not None:
            self._contents.append(back)
        if kind in _ITERATORS and (anew := _copy_of_iterator(thing)) is not None:
            self._copies[id(thing)] = anew
        through = passages(kind)
        reached = [] if through is None else [*through(thing)]
        for part in parts(kind):
            content = part.read(thing)
            self._held.append((part, thing, content))
            reached += content.values() if isinstance(content, dict) else content
        return reached

    def put_back(self) -> None:
        for part, thing, content in self._held:
            before = self._with_copies(content) if self._copies else content
            if not _same(part.read(thing), before):
                part.write(thing, before)
        for back in self._contents:
            back()

    def _with_copies(self, content: Container) -> Container:
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


def _same(now: Container, before: Container) -> bool:
    """Whether the very same objects stand in the same order."""
    if len(now) != len(before) or not all(map(is_, now, before)):
        return False
    if isinstance(now, dict) and isinstance(before, dict):
        return all(map(is_, now.values(), before.values()))
    return True


@cache
def _keeper(kind: Any) -> Callable[[Any], Callable[[], None] | None] | None:
    """What keeps the numbers in an object of this kind, and gives what puts them back; None for a kind without any."""
    if issubclass(kind, random.SystemRandom):
        return None
    return next((keep for base, keep in _KEEPERS.items() if issubclass(kind, base)), None)


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
    """An iterator that stands where this one stands.

    None for what is no iterator, or runs over something that cannot be read twice.
    """
    if type(thing) is not itertools.cycle:
        return copy.copy(thing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, and 3.14 has none
        try:
            again: Any = thing.__reduce__()
        except TypeError:
            return None
        _, (rest,), (seen, over) = again
        if type(rest) is itertools.cycle or type(rest) not in _ITERATORS:
            return None
        anew: Any = itertools.cycle(copy.copy(rest))
        anew.__setstate__((seen.copy(), over))
        return anew


def _array(array: NDArray[Any]) -> Callable[[], None] | None:
    return _state(partial(setitem, array, ...), array.copy()) if array.flags.writeable else None


def _bits(generator: np.random.BitGenerator) -> Callable[[], None]:
    return _state(partial(setattr, generator, "state"), copy.deepcopy(generator.state))


_KEEPERS: dict[type, Callable[[Any], Callable[[], None] | None]] = {
    Tensor: _numbers,
    np.ndarray: _array,
    bytearray: lambda row: _state(partial(setitem, row, slice(None)), row[:]),
    array: lambda row: _state(partial(setitem, row, slice(None)), row[:]),
    torch.Generator: lambda drawer: _state(drawer.set_state, drawer.get_state()),
    random.Random: lambda drawer: _state(drawer.setstate, drawer.getstate()),
    np.random.RandomState: lambda drawer: _state(drawer.set_state, drawer.get_state(legacy=False)),
    np.random.Generator: lambda drawer: _bits(drawer.bit_generator),
    np.random.BitGenerator: _bits,
}
