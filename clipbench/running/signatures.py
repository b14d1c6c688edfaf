"""The signatures of things outside clipbench, found by importing them in a process of their own.

`python -m clipbench.running.signatures torch.optim:Muon …` prints one JSON object: for each argument its
parameters and the files its code stands in, or what went wrong. The process that reads specs stays without torch.
"""

import inspect
import json
import os
import site
import sys
import sysconfig
import types
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

# What a spec can say, as the types of a signature: "any" is any scalar, "sequence" a list of scalars.
ValueType = Literal["bool", "int", "float", "str", "sequence", "any"]


def describe(use: str) -> dict[str, Any]:
    """Import what `use` ("module:attribute") names and describe its call.

    Returns {"parameters": [{name, kind, required, type, optional}], "files": [{path, distribution}]}, or
    {"fault": sentence}. `distribution` is "name==version" of an installed package, empty for a user's own file.
    """
    module_name, _, attribute = use.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        return {"fault": f"importing {module_name!r} failed: {error}"}
    except (Exception, SystemExit) as error:  # whatever a user's module does when it is imported
        return {"fault": f"importing {module_name!r} failed: {type(error).__name__}: {error}"}
    try:
        thing = attrgetter(attribute)(module)
    except AttributeError:
        public = [name for name in dir(module) if not name.startswith("_") and callable(getattr(module, name, None))]
        return {"fault": f"{module_name!r} has no {attribute!r}", "names": public}
    if not callable(thing):
        return {
            "fault": f"{attribute!r} in {module_name!r} is of type {type(thing).__name__}, not a class or a function"
        }
    try:
        signature = _signature(thing)
    except (ValueError, TypeError):
        return {"fault": f"{attribute!r} in {module_name!r} does not tell its parameters"}
    return {
        "parameters": [_parameter(parameter) for parameter in signature.parameters.values()],
        "files": _files(module, thing),
        "closure": _needs_closure(thing),
    }


def _needs_closure(thing: Any) -> bool:
    """Whether it has a `step` that cannot be called without a closure, as torch.optim.LBFGS has."""
    step = getattr(thing, "step", None)
    if not isinstance(thing, type) or not callable(step):
        return False
    closure = _signature(step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _signature(thing: Any) -> inspect.Signature:
    try:
        return inspect.signature(thing, eval_str=True)
    except Exception:  # an annotation written as text may name anything; the parameters are there without it
        return inspect.signature(thing)


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
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


def _files(module: types.ModuleType, thing: Any) -> list[dict[str, str]]:
    """Where the code stands: the module that a spec names, and the one that defines the thing, if another."""
    defining = sys.modules.get(getattr(thing, "__module__", None) or "", module)
    found: list[dict[str, str]] = []
    for name, file in dict.fromkeys((one.__name__, getattr(one, "__file__", None)) for one in (module, defining)):
        described = {"path": file or "", "distribution": _distribution(name.partition(".")[0], file)}
        if described not in found:
            found.append(described)
    return found


def _distribution(package: str, file: str | None) -> str:
    """ "name==version" of the installed package that a file belongs to; empty for a file of the user's own."""
    python = f"python=={sys.version_info.major}.{sys.version_info.minor}"
    if file is None:
        return python
    path = Path(file).resolve()
    installed = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")]
    if any(path.is_relative_to(Path(folder).resolve()) for folder in installed):
        names = metadata.packages_distributions().get(package, [])
        return "+".join(sorted({f"{name}=={metadata.version(name)}" for name in names}))
    return python if path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve()) else ""


def main(uses: Sequence[str]) -> None:
    """Describe each of `uses` and print one line of JSON, whatever the imported modules print themselves."""
    answer = os.dup(1)
    os.dup2(2, 1)
    described = {use: describe(use) for use in uses}
    with os.fdopen(answer, "w") as stream:
        json.dump(described, stream)


if __name__ == "__main__":
    main(sys.argv[1:])
