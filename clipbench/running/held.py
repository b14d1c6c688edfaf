"""All that a thing keeps, however deep: what decides what it does next, beside what it is given.

Looked into: attributes, slots, containers, iterators, generators, what functions have bound, their code and the globals
they name, hooks, classes. Of Python, torch, NumPy and clipbench only the modules and optimizers are looked into, of an
installed package the objects but not the code: all of that is the same for two things that were built alike.
"""

import functools
import random
import sys
import types
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.sources.modules import file_of
from clipbench.sources.owners import USER, owner

MOST = 100_000  # things looked into: whoever keeps more keeps data

_PLAIN = bool | int | float | complex | str | bytes | None | torch.dtype | torch.device | Enum | range | slice
_LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy", "clipbench"}


def held(roots: Mapping[str, object], *, trained: Collection[Tensor] = ()) -> dict[str, object]:
    """What the roots keep, by the way to it: numbers, texts, tensors, and names of what is not looked into.

    Equal for two things that are built, told and used alike, in the same process or not. The trained tensors' own
    numbers are left out, what hangs on them as attributes is not.
    """
    apart = set(map(id, trained))
    seen: dict[int, object] = {}  # by id, and alive, so that no other thing gets the id
    left = list(roots.items())[::-1]
    leaves: dict[str, object] = {}
    while left and len(seen) + len(leaves) < MOST:
        way, thing = left.pop()
        is_trained = id(thing) in apart
        if not is_trained and (leaf := _leaf(thing)) is not None:
            leaves[way] = leaf[0]
            continue
        if not isinstance(thing, tuple):  # which cannot hold itself; which equal ones are the same is chance
            if id(thing) in seen:
                continue
            seen[id(thing)] = thing
        inside = vars(thing).items() if is_trained else _inside(thing)
        left += [(f"{way}.{name}", inner) for name, inner in inside][::-1]
    return leaves


def _leaf(thing: Any) -> tuple[object] | None:
    """What is to be compared as it is, in a tuple of its own: None is one of these."""
    if isinstance(thing, Tensor | _PLAIN):
        return (thing,)
    if isinstance(thing, np.ndarray | np.generic):
        return ((str(thing.dtype), thing.shape, thing.tobytes()),) if thing.dtype != object else None
    if (state := _drawn(thing)) is not None:
        return (state,)
    if isinstance(thing, types.ModuleType | types.BuiltinFunctionType):
        return (thing.__name__,)
    if isinstance(thing, type | types.FunctionType) and not _is_the_users(thing):
        return (f"{thing.__module__}.{thing.__qualname__}",)
    return None


def _drawn(thing: Any) -> Tensor | str | None:
    """Where a generator of random numbers is; None for anything else."""
    match thing:
        case torch.Generator():
            return thing.get_state()
        case random.Random():
            return repr(thing.getstate())
        case np.random.Generator():
            return repr(thing.bit_generator.state)
        case np.random.RandomState():
            return repr(thing.get_state())
    return None


def _inside(thing: Any) -> Iterator[tuple[object, object]]:
    """What is one step further in."""
    match thing:
        case type():
            yield from ((name, value) for name, value in vars(thing).items() if not name.startswith("__"))
        case types.FunctionType():
            yield from _of_a_function(thing)
        case types.MethodType():
            yield "self", thing.__self__
            yield "function", thing.__func__
        case types.GeneratorType():
            yield "at", thing.gi_frame.f_lasti if thing.gi_frame else None
            yield "locals", dict(thing.gi_frame.f_locals) if thing.gi_frame else None
        case functools.partial():
            yield "partial", (thing.func, thing.args, thing.keywords)
        case Mapping():
            for place, (key, inner) in enumerate(thing.items()):
                yield (key if isinstance(key, str) else place), inner
            yield from _attributes(thing)
        case Sequence() | AbstractSet():
            yield from enumerate(sorted(thing, key=repr) if isinstance(thing, AbstractSet) else thing)
            yield from _attributes(thing)
        case _:
            yield from _of_an_object(thing)


def _of_a_function(function: types.FunctionType) -> Iterator[tuple[object, object]]:
    code = function.__code__
    yield "code", (code.co_code, function.__qualname__)
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    yield "attributes", vars(function)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield name, _content(cell)
    for place, constant in enumerate(code.co_consts):
        if not isinstance(constant, types.CodeType):
            yield f"constant {place}", constant
    for name in sorted(_names(code)):
        if name in function.__globals__:
            yield f"global {name}", function.__globals__[name]


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # it is not filled yet
        return None


def _of_an_object(thing: Any) -> Iterator[tuple[object, object]]:
    kind = type(thing)
    if kind.__module__ in ("builtins", "itertools"):  # an iterator says where it is by how it would be pickled
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                yield "iterator", thing.__reduce__()
            except (TypeError, AttributeError):
                yield "kind", kind.__name__
    elif isinstance(thing, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler):
        yield from _attributes(thing)
    elif kind.__module__.partition(".")[0] in _LIBRARIES:
        yield "kind", kind.__name__
    else:
        yield from _attributes(thing)


def _attributes(thing: Any) -> Iterator[tuple[object, object]]:
    # An optimizer's defaults decide nothing once it has groups, and torch adds to them when it loads a state.
    apart = ("defaults",) if isinstance(thing, torch.optim.Optimizer) else ()
    have = getattr(thing, "__dict__", {})
    yield from ((name, value) for name, value in have.items() if not name.startswith("__") and name not in apart)
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, slot):
                yield slot, getattr(thing, slot)
        if _is_the_users(kind):
            yield f"class {kind.__qualname__}", kind


def _is_the_users(thing: Any) -> bool:
    """Whether the user wrote a class or a function."""
    name = getattr(thing, "__module__", None) or ""
    return name.partition(".")[0] not in _LIBRARIES and _is_a_users_module(name)


@functools.cache
def _is_a_users_module(name: str) -> bool:
    file = file_of(sys.modules.get(name))
    return file is None or owner(Path(file)) == USER
