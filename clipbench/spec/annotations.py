"""The types of options: read from a shelf file's text without running it, and enforced without leniency."""

import ast
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from clipbench.records import Value

ALLOWED = "bool, int, float, str, None, tuple[...] of those, Literal[...] and unions of them"

_SCALARS: Mapping[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def evaluate(node: ast.expr, names: Mapping[str, ast.expr]) -> Any:
    """The type that an annotation denotes; `names` are the module's own assignments, for aliases.

    Raises:
        ValueError: the annotation uses more than ALLOWED.
    """
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str(text)):
            return evaluate(ast.parse(text, mode="eval").body, names)
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Name(id=name) if name in names:
            return evaluate(names[name], {alias: names[alias] for alias in names if alias != name})
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            # A union made at run time has no spelling that a type checker follows.
            return cast("Any", Union)[evaluate(left, names), evaluate(right, names)]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=chosen):
            values = ast.literal_eval(chosen)
            return cast("Any", Literal)[values]
        case ast.Subscript(value=ast.Name(id="tuple"), slice=items):
            return types.GenericAlias(tuple, _items(items, names))
    raise ValueError(f"its type `{ast.unparse(node)}` is not one of {ALLOWED}")


def _items(node: ast.expr, names: Mapping[str, ast.expr]) -> tuple[Any, ...]:
    nodes = node.elts if isinstance(node, ast.Tuple) else [node]
    inner: list[Any] = []
    for item in nodes:
        if isinstance(item, ast.Constant) and item.value is Ellipsis:
            inner.append(Ellipsis)
            continue
        value = evaluate(item, names)
        if takes_tuple(value):
            raise ValueError("a tuple of tuples cannot be an option")
        inner.append(value)
    return tuple(inner)


def spelled(accepts: Any) -> str:
    """A type as an author would write it, aliases resolved: `float | None`, `tuple[float, float]`, `'a' | 'b'`."""
    members = [spelled(member) for member in get_args(accepts)] if get_origin(accepts) is not Literal else []
    if get_origin(accepts) is Literal:
        return " | ".join(repr(value) for value in get_args(accepts))
    if get_origin(accepts) is tuple:
        return f"tuple[{', '.join(members)}]"
    if members:
        return " | ".join(members)
    return "..." if accepts is Ellipsis else "None" if accepts is type(None) else str(accepts.__name__)


def takes_tuple(accepts: Any) -> bool:
    """Whether a list in a spec is one value of this type, not a grid of values."""
    if get_origin(accepts) in (Union, types.UnionType):
        return any(takes_tuple(member) for member in get_args(accepts))
    return get_origin(accepts) is tuple


def fit(accepts: Any, value: Any) -> Value:
    """`value` as the type has it: an int becomes a float where only a float is taken, a list becomes a tuple.

    Nothing else is converted: true is no number, 0.5 and 1.0 are no ints, "1" is text, NaN and infinity are
    nothing that an optimizer can be told.

    Raises:
        ValueError: the value is not of the type.
    """
    given = tuple(value) if isinstance(value, list) else value
    try:
        fitted = TypeAdapter(accepts, config=_STRICT).validate_python(given)
    except ValidationError as error:
        raise ValueError(f"not of type {accepts}") from error
    if not _kept(fitted, given):
        raise ValueError(f"not of type {accepts}")
    return cast("Value", fitted)


def fits(accepts: Any, value: Any) -> bool:
    """Whether the value is of the type, as `fit` has it."""
    try:
        fit(accepts, value)
    except ValueError:
        return False
    return True


def is_numeric(accepts: Any) -> bool:
    """Whether numbers are of the type, so that a space of them can be."""
    return fits(accepts, 1)


def _kept(fitted: Any, given: Any) -> bool:
    """Python holds 1, 1.0 and true for equal, and so would pass true for Literal[1]."""
    if isinstance(given, tuple):
        return all(_kept(item, given_item) for item, given_item in zip(fitted, given, strict=True))
    return type(fitted) is type(given) or (type(fitted) is float and type(given) is int)
