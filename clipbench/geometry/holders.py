"""What an object holds: read it, and write it back into the same object.

Objects are taken apart as far as a forward pass or a loss can change them: attributes and slots, lists and dicts (also
of classes derived from them), what functions close over, and the global names and class attributes of code that is not
installed. Loggers, locks and whatever else belongs to torch, NumPy or the standard library stay closed.
"""

import functools
import sys
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import (
    BuiltinMethodType,
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import torch
from torch import Tensor, nn

Content = dict[Any, Any] | list[Any]

_LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy"}
_OPEN_ALL_THE_SAME = (nn.Module, SimpleNamespace, UserDict, UserList, Tensor)
_CLOSED = (torch.optim.Optimizer, type, Enum, ModuleType)


@dataclass(frozen=True)
class Held:
    """What an object holds by name or in order, and how to give it that back."""

    read: Callable[[], Content]
    write: Callable[[Any], None]


def held_by(thing: object) -> Iterator[Held]:
    """All that can be written back into this object."""
    if isinstance(thing, dict):
        kind = OrderedDict if isinstance(thing, OrderedDict) else dict
        yield Held(functools.partial(_items, kind, thing), functools.partial(_fill, kind, thing))
    elif isinstance(thing, list):
        yield Held(lambda: list(list.__iter__(thing)), functools.partial(list.__setitem__, thing, slice(None)))
    elif isinstance(thing, set):
        yield Held(lambda: list(set.__iter__(thing)), functools.partial(_refill, set.clear, set.update, thing))
    elif isinstance(thing, deque):
        yield Held(lambda: list(deque.__iter__(thing)), functools.partial(_refill, deque.clear, deque.extend, thing))
    elif isinstance(thing, FunctionType):
        yield from _of_function(thing)
    elif isinstance(thing, type) and _is_users(thing.__module__):
        yield Held(functools.partial(_class_attributes, thing), functools.partial(_set_class_attributes, thing))
    if _is_open(thing):
        yield from _of_instance(thing)


def leads_to(thing: object) -> list[Any]:
    """Further objects that can be reached from this one, beside those it holds in what can be written back."""
    if isinstance(thing, tuple | frozenset):
        return list(thing)
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, BuiltinMethodType):
        return [thing.__self__]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, FunctionType):
        return [thing.__defaults__, thing.__kwdefaults__]
    if isinstance(thing, staticmethod | classmethod):
        return [thing.__func__]
    if isinstance(thing, property):
        return [thing.fget, thing.fset]
    if isinstance(thing, type):
        return [value for value in vars(thing).values() if _is_code(value)] if _is_users(thing.__module__) else []
    kinds: list[Any] = [kind for kind in type(thing).__mro__ if _is_users(kind.__module__)]
    if isinstance(thing, Tensor) and thing.is_leaf:
        return [*kinds, thing.grad, thing._backward_hooks, thing._post_accumulate_grad_hooks]
    return kinds


def _items(kind: type[dict[Any, Any]], thing: dict[Any, Any]) -> dict[Any, Any]:
    return dict(kind.items(thing))


def _fill(kind: type[dict[Any, Any]], thing: dict[Any, Any], content: dict[Any, Any]) -> None:
    """By the methods of the built-in type, for a derived class may count what goes through its own."""
    kind.clear(thing)
    for name, value in content.items():
        kind.__setitem__(thing, name, value)


def _refill(clear: Callable[[Any], None], fill: Callable[..., None], thing: object, content: list[Any]) -> None:
    clear(thing)
    fill(thing, content)


def _of_function(function: FunctionType) -> Iterator[Held]:
    if _is_of_a_library(function.__module__):
        return
    if function.__closure__:
        yield Held(
            functools.partial(_enclosed, function.__closure__), functools.partial(_enclose, function.__closure__)
        )
    if function.__dict__:
        yield from _of_instance(function)
    if _is_users(function.__module__) and (names := _names(function.__code__)):
        there = function.__globals__
        yield Held(
            lambda: {name: there[name] for name in names if name in there}, functools.partial(_rename, there, names)
        )


def _enclosed(cells: tuple[CellType, ...]) -> dict[int, Any]:
    content = {}
    for i, cell in enumerate(cells):
        try:
            content[i] = cell.cell_contents
        except ValueError:  # a name that has no value yet
            continue
    return content


def _enclose(cells: tuple[CellType, ...], content: dict[int, Any]) -> None:
    for i, cell in enumerate(cells):
        if i in content:
            cell.cell_contents = content[i]
        elif i in _enclosed(cells):
            del cell.cell_contents


def _names(code: CodeType) -> set[str]:
    """The global names that a function and those inside it may use."""
    inside = (each for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names}.union(*map(_names, inside))


def _rename(there: dict[str, Any], names: set[str], content: dict[str, Any]) -> None:
    for name in names:
        if name in content:
            there[name] = content[name]
        else:
            there.pop(name, None)


def _of_instance(thing: object) -> Iterator[Held]:
    try:
        have = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        have = None
    if isinstance(have, dict):
        yield Held(have.copy, functools.partial(_give, thing, type(thing), have))
    slots = [slot for kind in type(thing).__mro__ if "__slots__" in vars(kind) for slot in vars(kind).values()]
    slots = [slot for slot in slots if isinstance(slot, MemberDescriptorType)]
    if slots:
        yield Held(functools.partial(_in_slots, slots, thing), functools.partial(_set_slots, slots, thing))


def _give(thing: object, kind: type, have: dict[str, Any], content: dict[str, Any]) -> None:
    for name in have.keys() - content.keys():
        del have[name]
    have.update(content)
    if type(thing) is not kind:  # a lazy module becomes another in its first forward pass
        thing.__class__ = kind


def _in_slots(slots: list[MemberDescriptorType], thing: object) -> dict[int, Any]:
    content = {}
    for i, slot in enumerate(slots):
        try:
            content[i] = slot.__get__(thing)
        except AttributeError:  # nothing in it yet
            continue
    return content


def _set_slots(slots: list[MemberDescriptorType], thing: object, content: dict[int, Any]) -> None:
    now = _in_slots(slots, thing)
    for i, slot in enumerate(slots):
        if i in content:
            slot.__set__(thing, content[i])
        elif i in now:
            slot.__delete__(thing)


def _class_attributes(kind: type) -> dict[str, Any]:
    """Without methods and what Python keeps there."""
    return {name: value for name, value in vars(kind).items() if not (_is_dunder(name) or _is_descriptor(value))}


def _set_class_attributes(kind: type, content: dict[str, Any]) -> None:
    now = _class_attributes(kind)
    for name in now.keys() - content.keys():
        type.__delattr__(kind, name)
    for name, value in content.items():
        if name not in now or now[name] is not value:
            type.__setattr__(kind, name, value)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_code(thing: object) -> bool:
    return isinstance(thing, FunctionType | staticmethod | classmethod | property)


def _is_descriptor(thing: object) -> bool:
    return _is_code(thing) or hasattr(type(thing), "__get__")


def _is_open(thing: object) -> bool:
    """Whether this is an object whose attributes count."""
    if isinstance(thing, _CLOSED):
        return False
    return isinstance(thing, _OPEN_ALL_THE_SAME) or not _is_of_a_library(type(thing).__module__)


def _is_of_a_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES or module == "builtins"


@functools.cache
def _is_users(module: str | None) -> bool:
    """Whether a module is neither a library, nor installed, nor ours."""
    if _is_of_a_library(module) or (module or "").partition(".")[0] == "clipbench":
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file
