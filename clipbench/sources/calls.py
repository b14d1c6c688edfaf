"""Whether a function calls another one by its name, seen without calling it."""

import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any


def names(function: Callable[..., Any], package: str, attribute: str) -> bool:
    """Whether a function, or a function of its own module that it names, names `package.attribute`.

    It may be imported at the top of the module, inside the function, or be an attribute of the package.
    """
    seen: set[int] = set()
    left: list[Any] = [inspect.unwrap(function)]
    while left:
        each = left.pop()
        if not isinstance(each, FunctionType) or id(each) in seen:
            continue
        seen.add(id(each))
        used = set(_of_code(each.__code__))
        known = [each.__globals__[name] for name in used if name in each.__globals__]
        if any(_is(thing, package, attribute) for thing in known):
            return True
        if attribute in used and (package in used or sys.modules.get(package) in known):
            return True
        left += [thing for thing in known if getattr(thing, "__module__", None) == each.__module__]
    return False


def _is(thing: object, package: str, attribute: str) -> bool:
    home = getattr(thing, "__module__", None) or ""
    return isinstance(thing, FunctionType) and thing.__name__ == attribute and str(home).partition(".")[0] == package


def _of_code(code: CodeType) -> Iterator[str]:
    """The global names and attributes that code uses, that of the functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
