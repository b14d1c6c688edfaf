"""Whether a function calls another one by its name, seen without calling it."""

import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType


def names(function: object, package: str, attribute: str) -> bool:
    """Whether a function, or a function of its own module that it names, names `package.attribute`.

    It may be imported at the top of the module, inside the function, or be an attribute of the package.
    """
    seen: set[int] = set()
    left: list[object] = [inspect.unwrap(function) if isinstance(function, FunctionType) else function]
    while left:
        each = left.pop()
        if not isinstance(each, FunctionType) or id(each) in seen:
            continue
        seen.add(id(each))
        used = set(_of_code(each.__code__))
        known = [each.__globals__[name] for name in used if name in each.__globals__]
        functions = [thing for thing in known if isinstance(thing, FunctionType)]
        if any(_is(thing, package, attribute) for thing in functions):
            return True
        if attribute in used and (package in used or any(thing is sys.modules.get(package) for thing in known)):
            return True
        left += [thing for thing in functions if thing.__module__ == each.__module__]
    return False


def _is(function: FunctionType, package: str, attribute: str) -> bool:
    return function.__name__ == attribute and str(function.__module__).partition(".")[0] == package


def _of_code(code: CodeType) -> Iterator[str]:
    """The global names and attributes that code uses, that of the functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
