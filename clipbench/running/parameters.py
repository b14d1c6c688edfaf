"""A parameter of a signature, in plain data: what a spec may say for it, or what it wants that no spec can say."""

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

# What a spec can say, as the types of a signature: "any" is any scalar, "sequence" a list of scalars.
ValueType = Literal["bool", "int", "float", "str", "sequence", "any"]


def described(parameter: inspect.Parameter) -> dict[str, Any]:
    """{name, kind, required, type, optional, unset, wants}, for JSON.

    `unset`: it is None where nobody says otherwise. `wants` is empty where a spec can say what it takes.
    """
    empty = inspect.Parameter.empty
    annotation = None if parameter.annotation is empty else parameter.annotation
    default = None if parameter.default is empty else parameter.default
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return {
        "name": parameter.name,
        "kind": parameter.kind.name,
        "required": parameter.default is empty,
        "type": value_type(members, default),
        "optional": parameter.default is None or type(None) in members,
        "unset": parameter.default is None,
        "wants": wanted(members),
    }


def value_type(members: Sequence[Any], default: Any) -> ValueType:
    """What a spec may say for a parameter: by its annotation's members where they tell, else by its default."""
    kinds = {kind for kind in map(_kind, members) if kind}
    if kinds == {"int", "float"}:
        return "float"
    by_default = _kind(type(default))
    if not kinds:
        return by_default or "any"
    if len(kinds) == 1:
        return kinds.pop()
    return "sequence" if by_default == "sequence" else "any"


def wanted(members: Sequence[Any]) -> str:
    """What a parameter takes, in words, where its annotation has nothing that a spec can say.

    "parameters", "an optimizer", "a model", "a class", "a function", or a list of some of these; empty for an
    annotation that says nothing, that also has a member which a spec can say, or that takes parameters or an optimizer.
    """
    told = [_object(member) for member in members if member is not type(None)]
    if "parameters" in told:
        return "" if "an optimizer" in told else "parameters"
    return "" if not told or "" in told else " or ".join(dict.fromkeys(reversed(told)))


def _kind(member: Any) -> ValueType | None:
    origin = get_origin(member) or member
    return _KINDS.get(origin) if isinstance(origin, type) else None


_KINDS: Mapping[Any, ValueType] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    tuple: "sequence",
    list: "sequence",
    Sequence: "sequence",
}


def _object(member: Any) -> str:
    """What a member of an annotation is, if it is an object that YAML has no words for."""
    origin = get_origin(member) or member
    if origin is type:
        return "a class"
    if origin is Callable:
        return "a function"
    if not isinstance(origin, type):
        return ""
    if issubclass(origin, Iterable) and (inner := next(map(_object, get_args(member)), "")):
        return "parameters" if inner == "a tensor" else f"a list with {inner} each"
    # By name: this file is also imported where torch is not.
    bases = {f"{base.__module__}.{base.__qualname__}" for base in origin.__mro__}
    return next((words for name, words in _OBJECTS.items() if name in bases), "")


_OBJECTS = {
    "torch.optim.optimizer.Optimizer": "an optimizer",
    "torch.nn.modules.module.Module": "a model",
    "torch.Tensor": "a tensor",
    "torch._tensor.Tensor": "a tensor",
}
