"""What an object holds: read it, and write it back into the same object.

Objects are taken apart as far as a forward pass or a loss can change them: attributes and slots, lists and dicts (also
of classes derived from them), what functions close over, and the global names and class attributes of code that is not
installed. Loggers, locks and whatever else belongs to torch, NumPy or the standard library stay closed.
"""

import sys
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

Container = dict[Any, Any] | list[Any]

_LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy"}
_OPEN_ALL_THE_SAME = (nn.Module, SimpleNamespace, UserDict, UserList, Tensor)
_CLOSED = (torch.optim.Optimizer, type, Enum, ModuleType)


@dataclass(frozen=True)
class HeldPart:
    """What objects of a kind hold by name or in order: how to read it, and how to write it into the same object."""

    read: Callable[[Any], Container]
    write: Callable[[Any, Any], None]


@cache
def parts(kind: Any) -> tuple[HeldPart, ...]:
    """All that can be written back into objects of this kind."""
    if issubclass(kind, FunctionType):
        return _FUNCTION
    held = [part for base, part in _PARTS.items() if issubclass(kind, base)][:1]
    if is_open(kind):
        held += [_ATTRIBUTES] * (kind.__dictoffset__ != 0) + [_SLOTS] * bool(_slots(kind))
    return tuple([*held, _KIND] if issubclass(kind, LazyModuleMixin) else held)


@cache
def passages(kind: Any) -> Callable[[Any], list[Any]] | None:
    """What gives the further objects that an object of this kind leads to, beside those in its parts."""
    for base, passage in _PASSAGES.items():
        if issubclass(kind, base):
            return passage
    users = [each for each in kind.__mro__ if _is_users(each.__module__)]
    return (lambda _: users) if users else None


def _fill(kind: type[dict[Any, Any]], thing: dict[Any, Any], content: dict[Any, Any]) -> None:
    """By the methods of the built-in type, for a derived class may count what goes through its own."""
    kind.clear(thing)
    for name, value in content.items():
        kind.__setitem__(thing, name, value)


def _write_list(thing: list[Any], content: list[Any]) -> None:
    list.__setitem__(thing, slice(None), content)


def _write_set(thing: set[Any], content: list[Any]) -> None:
    set.clear(thing)
    set.update(thing, content)


def _write_deque(thing: deque[Any], content: list[Any]) -> None:
    deque.clear(thing)
    deque.extend(thing, content)


def _read_globals(function: FunctionType) -> dict[str, Any]:
    there = function.__globals__
    return {name: there[name] for name in _names(function) if name in there}


def _write_globals(function: FunctionType, content: dict[str, Any]) -> None:
    there = function.__globals__
    for name in _names(function):
        if name in content:
            there[name] = content[name]
        else:
            there.pop(name, None)


def _enclosed(function: FunctionType) -> dict[int, Any]:
    """What a function closes over, by place."""
    content: dict[int, Any] = {}
    if _is_of_a_library(function.__module__):
        return content
    for i, cell in enumerate(function.__closure__ or ()):
        try:
            content[i] = cell.cell_contents
        except ValueError:  # a name that has no value yet
            continue
    return content


def _enclose(function: FunctionType, content: dict[int, Any]) -> None:
    for i in _enclosed(function).keys() - content.keys():
        del function.__closure__[i].cell_contents  # type: ignore[index]
    for i, cell in enumerate(function.__closure__ or ()):
        if i in content:
            cell.cell_contents = content[i]


def _names(function: FunctionType) -> set[str]:
    """The global names that a function of the user's and those inside it may use."""
    return _names_in(function.__code__) if _is_users(function.__module__) else set()


def _names_in(code: CodeType) -> set[str]:
    inside = (each for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names}.union(*map(_names_in, inside))


def _attributes(thing: object) -> dict[str, Any]:
    of_a_library = isinstance(thing, FunctionType) and _is_of_a_library(thing.__module__)
    return {} if of_a_library else vars(thing).copy()


def _write_attributes(thing: object, content: dict[str, Any]) -> None:
    have = vars(thing)
    for name in have.keys() - content.keys():
        del have[name]
    have.update(content)


def _write_kind(thing: object, content: list[type]) -> None:
    """A lazy module becomes another in its first forward pass."""
    [thing.__class__] = content


@cache
def _slots(kind: Any) -> tuple[MemberDescriptorType, ...]:
    slotted = (vars(each) for each in kind.__mro__ if "__slots__" in vars(each))
    return tuple(slot for namespace in slotted for slot in namespace.values() if isinstance(slot, MemberDescriptorType))


def _read_slots(thing: object) -> dict[int, Any]:
    content = {}
    kind: Any = type(thing)
    for i, slot in enumerate(_slots(kind)):
        try:
            content[i] = slot.__get__(thing)
        except AttributeError:  # nothing in it yet
            continue
    return content


def _write_slots(thing: object, content: dict[int, Any]) -> None:
    kind: Any = type(thing)
    slots = _slots(kind)
    for i in _read_slots(thing).keys() - content.keys():
        slots[i].__delete__(thing)
    for i, value in content.items():
        slots[i].__set__(thing, value)


def _class_attributes(kind: type) -> dict[str, Any]:
    """Of a class of the user's, without methods and what Python keeps there."""
    if not _is_users(kind.__module__):
        return {}
    return {name: value for name, value in vars(kind).items() if not (_is_dunder(name) or _is_descriptor(value))}


def _write_class_attributes(kind: type, content: dict[str, Any]) -> None:
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


def is_open(kind: type) -> bool:
    """Whether the attributes of objects of this kind count."""
    if issubclass(kind, _CLOSED):
        return False
    return issubclass(kind, _OPEN_ALL_THE_SAME) or not _is_of_a_library(kind.__module__)


def _is_of_a_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES or module == "builtins"


@cache
def _is_users(module: str | None) -> bool:
    """Whether a module is neither a library, nor installed, nor ours."""
    if _is_of_a_library(module) or (module or "").partition(".")[0] == "clipbench":
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _through_function(function: FunctionType) -> list[Any]:
    return [] if _is_of_a_library(function.__module__) else [function.__defaults__, function.__kwdefaults__]


def _through_class(kind: type) -> list[Any]:
    return [value for value in vars(kind).values() if _is_code(value)] if _is_users(kind.__module__) else []


def _through_tensor(tensor: Tensor) -> list[Any]:
    own = [tensor.grad, tensor._backward_hooks, tensor._post_accumulate_grad_hooks] if tensor.is_leaf else []
    return [*own, *(kind for kind in type(tensor).__mro__ if _is_users(kind.__module__))]


_ATTRIBUTES = HeldPart(_attributes, _write_attributes)
_SLOTS = HeldPart(_read_slots, _write_slots)
_KIND = HeldPart(lambda thing: [type(thing)], _write_kind)
_FUNCTION = (HeldPart(_enclosed, _enclose), HeldPart(_read_globals, _write_globals), _ATTRIBUTES)
_PARTS: dict[type, HeldPart] = {
    OrderedDict: HeldPart(lambda thing: dict(OrderedDict.items(thing)), partial(_fill, OrderedDict)),
    dict: HeldPart(lambda thing: dict(dict.items(thing)), partial(_fill, dict)),
    list: HeldPart(lambda thing: [*list.__iter__(thing)], _write_list),
    set: HeldPart(lambda thing: [*set.__iter__(thing)], _write_set),
    deque: HeldPart(lambda thing: [*deque.__iter__(thing)], _write_deque),
    type: HeldPart(_class_attributes, _write_class_attributes),
}
_PASSAGES: dict[type, Callable[[Any], list[Any]]] = {
    tuple: list,
    frozenset: list,
    MethodType: lambda method: [method.__self__, method.__func__],
    BuiltinMethodType: lambda method: [method.__self__],
    partial: lambda call: [call.func, call.args, call.keywords],
    FunctionType: _through_function,
    staticmethod: lambda method: [method.__func__],
    classmethod: lambda method: [method.__func__],
    property: lambda accessor: [accessor.fget, accessor.fset],
    type: _through_class,
    Tensor: _through_tensor,
    np.ndarray: lambda array: [*array.flat] if array.dtype.hasobject else [],
}
