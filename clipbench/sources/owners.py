"""Whose a file is: Python's, clipbench's, a package's from an index, or the user's own."""

import json
import os
import sysconfig
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Literal

CLIPBENCH = os.path.realpath(Path(__file__).parent.parent)

# The parts of clipbench whose code is in the keys of the runs that use it; the rest stands under METHOD.
HASHED = ("tasks", "optimizers", "wrappers", "probes", "networks", "corpora", "momentum", "factored", "data")

# Where pip and Linux distributions install packages.
_SITES = ("/site-packages", "/dist-packages")


@dataclass(frozen=True)
class Owner:
    """Whose a file is; `package` is "name==version" where an installed package is known by that."""

    kind: Literal["python", "clipbench", "package", "user"]
    package: str = ""


USER = Owner("user")


@cache
def owner(path: Path) -> Owner:
    """Whose the file is.

    What was installed from a folder, editable or not, is the user's wherever it lies, and so is what no package lists.
    """
    file = _resolved(path)
    if _below(file, CLIPBENCH):
        return Owner("clipbench")
    by_file, by_folder = _installed()
    installed = by_file.get(file) or next((by_folder[each] for each in by_folder if _below(file, each)), None)
    if installed is not None:
        return _known_as(installed)
    pythons = any(_below(file, folder) for folder in _libraries()) and not any(site in file for site in _SITES)
    return Owner("python") if pythons else USER


def is_hashed(path: Path) -> bool:
    """Whether the code of the file is in the keys of the runs that load it: the user's and clipbench's HASHED parts."""
    whose = owner(path)
    if whose.kind == "clipbench":
        return Path(_resolved(path)).relative_to(CLIPBENCH).parts[0].removesuffix(".py") in HASHED
    return whose == USER


def _resolved(path: Path) -> str:
    """The file with its folder's links resolved, but not its own: installers may link a file to their cache."""
    return f"{os.path.realpath(path.parent)}/{path.name}"


def _below(file: str, folder: str) -> bool:
    return file == folder or file.startswith(f"{folder}/")


@cache
def _libraries() -> tuple[str, ...]:
    return tuple(os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


@cache
def _installed() -> tuple[dict[str, metadata.Distribution], dict[str, metadata.Distribution]]:
    """Which package lists a file, and which has a file or folder, of the packages without a list."""
    by_file: dict[str, metadata.Distribution] = {}
    by_folder: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        root = os.path.realpath(str(distribution.locate_file("")))
        if record := distribution.read_text("RECORD"):
            names = (line.partition(",")[0] for line in record.splitlines())
            by_file |= {f"{root}/{name}": distribution for name in names if name.endswith((".py", ".so"))}
        elif root.endswith(_SITES):  # as Linux distributions install; beside sources it proves nothing
            for name in (distribution.read_text("top_level.txt") or "").split():
                by_folder |= {f"{root}/{name}": distribution, f"{root}/{name}.py": distribution}
    return by_file, by_folder


@cache
def _known_as(distribution: metadata.Distribution) -> Owner:
    """How an installed package is known: see PEP 610 for direct_url.json, which tells where it came from.

    A package from an archive or a repository can have many contents under one version, so its list of files is hashed.
    """
    name = f"{distribution.metadata['Name']}=={distribution.version}"
    origin = _origin(distribution)
    # Conda builds all its packages from folders.
    if not origin or (distribution.read_text("INSTALLER") or "").strip() == "conda":
        return Owner("package", name)
    if "dir_info" in origin:
        return USER
    listed = (line for line in (distribution.read_text("RECORD") or "").splitlines() if "sha256=" in line)
    content = "\n".join(sorted(line for line in listed if ".dist-info/" not in line))
    return Owner("package", f"{name}@{sha256(content.encode()).hexdigest()[:12]}")


def _origin(distribution: metadata.Distribution) -> dict[str, object]:
    """Where a package came from, if not from an index."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return origin if isinstance(origin, dict) else {}
