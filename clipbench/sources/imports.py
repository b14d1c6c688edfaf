"""Which modules a file's import statements name, wherever in the file they stand, and what follows from them."""

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_IMPORTS_BY_NAME = ("import_module", "__import__")

# Where the code of a module stands, None for a module that has no file or is nobody's concern.
Locate = Callable[[str], Path | None]


def closure(modules: Iterable[str], locate: Locate) -> dict[str, Path]:
    """The files of some modules and of all that their import statements name, transitively, by module.

    A package's `__init__` is loaded before what is in it, so it belongs to each of its modules.

    Raises:
        OSError: a file cannot be read.
    """
    files: dict[str, Path] = {}
    seen: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        left += _packages(name)
        path = locate(name)
        if path is not None:
            files[name] = path
            left += named(path, name)
    return files


def named(path: Path, module: str) -> list[str]:
    """The modules that a file names; what is imported from a package may be one of its modules, so it is among them.

    Raises:
        OSError: the file cannot be read.
    """
    if path.suffix != ".py":
        return []
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # known by its bytes, as file_sha256 has it
        return []
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    return list(dict.fromkeys(name for node in ast.walk(tree) for name in _of(node, package)))


def _of(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if base := _absolute("." * node.level + (node.module or ""), package):
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
    elif isinstance(node, ast.Call) and _called(node.func) in _IMPORTS_BY_NAME:
        given = [*node.args, *(each.value for each in node.keywords if each.arg == "name")]
        literal = getattr(given[0], "value", None) if given else None
        if isinstance(literal, str) and (name := _absolute(literal, package)):
            yield name


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _absolute(name: str, package: str) -> str:
    """The module that a name with leading dots means in a package; empty where it leads out of it."""
    module = name.lstrip(".")
    ups = len(name) - len(module) - 1
    if ups < 0:
        return module
    above = package.split(".")[: len(package.split(".")) - ups] if package else []
    return ".".join([*above, module] if module else above) if above else ""


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
