"""Where modules stand, without loading them, and the text that identifies the code of a thing of the user's."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType

from clipbench.sources.code import file_sha256
from clipbench.sources.imports import closure, named
from clipbench.sources.owners import is_hashed, owner

# What clipbench itself needs is the same for all arms of a comparison, and a run's environment has the versions.
ENVIRONMENT = frozenset({"numpy", "psutil", "pydantic", "pyyaml", "rich", "scipy", "tabulate", "torch", "typer"})
_DIGITS = 16  # of a file's SHA-256, in hex


@dataclass(frozen=True)
class Code:
    """What a thing is made of: the files that count by their content, by module, and packages as "name==version".

    A file that is no module stands under its place.
    """

    files: Mapping[str, Path]
    packages: frozenset[str]


def code_of(modules: Iterable[str], loaded: Mapping[str, Path] = MappingProxyType({})) -> Code:
    """The code of some modules and of all that they name; of installed packages no more than the version.

    Args:
        modules: where to begin.
        loaded: files that are known to be loaded besides, as `Code` has them.

    Raises:
        OSError: a file cannot be read.
    """
    hashed = {name: path for name, path in loaded.items() if is_hashed(path)}
    files = closure([*modules, *hashed], lambda name: hashed.get(name) or _counted(name))
    beside = {name for module, path in files.items() for name in named(path, module)}
    packages = {owner(path).package for name in beside if (path := where(name))}
    return Code(files, frozenset(each for each in packages if each and not _is_environment(each)))


def search(folder: str) -> None:
    """Let Python find modules of the user's in the current folder first, then in `folder`, unless that is empty."""
    sys.path[:0] = [str(Path.cwd()), *([folder] if folder else [])]


def where(module: str) -> Path | None:
    """The file of a module: the one that was loaded, or the one that would be, found as Python finds it.

    None where there is no such module, or where it has no file.
    """
    if module in sys.modules:
        return file_of(sys.modules[module])
    package = module.rpartition(".")[0]
    folders = _folders(package) if package else None
    return None if package and folders is None else _found(module, folders)[0]


def file_of(module: object) -> Path | None:
    """The file that a loaded module came from."""
    # What stands in sys.modules may be anybody's object, and may do something where it is asked for an attribute.
    path = getattr(module, "__dict__", {}).get("__file__")
    return Path(path) if isinstance(path, str) else None


def source(code: Code, *, measures: str = "") -> str:
    """The identity of the code, as a run's description has it: packages, and files as "module:digest".

    It says nothing of where the files lie. `measures` is the module of a probe or a task, whose constant QUANTITIES
    does not count.

    Raises:
        OSError: a file cannot be read.
    """
    files = (f"{name}:{digest(path, measures=name == measures)}" for name, path in sorted(code.files.items()))
    return " ".join([*sorted(code.packages), *files])


def digest(path: Path, *, measures: bool) -> str:
    """What `source` says of a file."""
    return file_sha256(path, measures=measures)[:_DIGITS]


def digests(source: str) -> dict[str, str]:
    """The files that a source text names: the digest of each, by module."""
    return {name: digest for name, colon, digest in (each.rpartition(":") for each in source.split()) if colon}


def _counted(module: str) -> Path | None:
    path = where(module)
    return path if path is not None and is_hashed(path) else None


def _is_environment(package: str) -> bool:
    return package.partition("==")[0].lower() in ENVIRONMENT


def _folders(package: str) -> list[str] | None:
    """Where the modules of a package lie; None where it is none."""
    loaded = sys.modules.get(package)
    if isinstance(loaded, ModuleType):
        paths = vars(loaded).get("__path__")
        return None if paths is None else list(paths)
    above = package.rpartition(".")[0]
    folders = _folders(above) if above else None
    return None if above and folders is None else _found(package, folders)[1]


def _found(module: str, folders: list[str] | None) -> tuple[Path | None, list[str] | None]:
    """The file and the folders of a module that is not loaded, as the first of Python's finders tells them."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(module, folders)
        except Exception:  # a finder is anybody's code, and one that fails finds nothing
            continue
        if spec is not None:
            path = Path(spec.origin) if spec.has_location and spec.origin else None
            inside = spec.submodule_search_locations
            return path, None if inside is None else list(inside)
    # A package without `__init__` inside another that is not loaded is more than Python's finders can tell.
    beside = [Path(folder, module.rpartition(".")[2]) for folder in folders or ()]
    return None, [str(folder) for folder in beside if folder.is_dir()] or None
