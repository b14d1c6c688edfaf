"""What a spec uses from outside clipbench, "package:Class": its options and its code's identity, imported elsewhere."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clipbench.quantities import manners
from clipbench.questions import Manner
from clipbench.records import Options, Scalar
from clipbench.remedies import FACTORY, around
from clipbench.sources.modules import Code
from clipbench.sources.modules import source as source_text
from clipbench.spec.catalogue import MEASURING, SEAMS, Entry, Kind, Option
from clipbench.spec.offers import Offer
from clipbench.spec.wording import nearest

_USE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_IMPORT_SECONDS = 300.0  # a cold import of a large package from a network disk

_NUMBER = int | float
_ACCEPTS: Mapping[str, Any] = {
    "bool": bool,
    "int": _NUMBER,  # signatures say 0 where they mean any number
    "float": float,
    "str": str,
    "sequence": tuple[Scalar, ...],
    "any": Scalar | tuple[Scalar, ...],
}
_TYPES = {"int": "number", "float": "number", "sequence": "list", "any": "bool, number, str, null or a list of them"}

# What is accepted for an option that **kwargs swallows.
UNKNOWN = Option("", _TYPES["any"], _ACCEPTS["any"])
RATE = Option("lr", _TYPES["float"], _ACCEPTS["float"])

Described = Mapping[str, Any]


def describe(uses: Iterable[str], folder: Path | None = None) -> dict[str, Described]:
    """What the signatures process says of each of `uses`; {"fault": sentence} for those that cannot be had.

    The current folder is searched first, as by `python -m`, and then `folder`, which is that of the spec.
    """
    described: dict[str, Described] = {}
    wanted: list[str] = []
    for use in dict.fromkeys(uses):
        package = use.partition(":")[0].partition(".")[0]
        if not _USE.fullmatch(use):
            described[use] = {"fault": f"{use!r} is not of the form package:Class"}
        elif not _is_here(package, folder):
            remedy = "install it, put it beside the spec, or start clipbench in the folder that has it"
            described[use] = {"fault": f"there is no package {package!r} on this machine; {remedy}"}
        else:
            wanted.append(use)
    return described | _asked(wanted, folder)


def external_entry(kind: Kind, use: str, described: Described) -> Entry:
    """The entry of something from outside: the options that its parameters leave open after what clipbench passes.

    A parameter list that ends in **kwargs accepts any option. Its defaults are its own business: only options
    that a spec gives are passed, and kept in the run's description.
    """
    seam = SEAMS[kind]
    module = use.partition(":")[0]
    entry = Entry(short_name(kind, use), "", use, external=True, origin=use)
    if fault := _fault(use, described):
        return replace(entry, broken=fault)
    parameters = described["parameters"]
    by_place = [
        parameter for parameter in parameters if parameter["kind"] in {"POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD"}
    ]
    # A class goes around an optimizer as they are written everywhere: it is handed the optimizer alone.
    arguments = seam.arguments[:1] if kind == "wrappers" and described["class"] else seam.arguments
    handed = by_place[: len(arguments)]
    if len(handed) < len(arguments) and not any(parameter["kind"] == "VAR_POSITIONAL" for parameter in parameters):
        return replace(entry, broken=f"it is not called with {', '.join(arguments)} and options")
    if misplaced := _misplaced(kind, use, handed[0]["wants"] if handed else ""):
        return replace(entry, broken=misplaced)
    try:
        source = source_text(_code(described), measures=module if kind in MEASURING else "")
    except OSError as error:
        return replace(entry, broken=f"its code cannot be read: {error}")
    try:
        readings = _quantities(module, described) if kind in MEASURING else {}
    except ValueError as error:
        return replace(entry, broken=str(error))
    by_name = [parameter for parameter in parameters if parameter["kind"] in {"POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"}]
    return replace(
        entry,
        options=tuple(_option(parameter) for parameter in by_name if parameter not in handed),
        source=source,
        fingerprinted=described["fingerprint"],
        open=any(parameter["kind"] == "VAR_KEYWORD" for parameter in parameters),
        quantities=readings,
    )


def _misplaced(kind: Kind, use: str, wants: str) -> str:
    """Why something cannot stand where it is named, by what its first argument is; empty where it can."""
    if kind == "optimizers" and wants.startswith("an optimizer"):
        return f"it goes around an optimizer: {around(use)}"
    if kind == "optimizers" and wants == "a model":
        return f"it takes a model, and clipbench hands over parameters: {FACTORY}"
    if kind == "wrappers" and wants == "parameters":
        return "it takes parameters and not an optimizer: it is the `use` of an arm"
    return ""


def short_name(kind: Kind, use: str) -> str:
    """How tables call a thing: by its class or, of `package.x:build`, by x, as on a shelf."""
    module, _, attribute = use.partition(":")
    return (module if attribute in ("", SEAMS[kind].function) else attribute).rpartition(".")[2]


def function_source(use: str, described: Described, *, arguments: int) -> str:
    """What identifies the code of a function that is called with so many arguments.

    Raises:
        ValueError: it cannot be had, or takes others.
    """
    if fault := _fault(use, described):
        raise ValueError(fault)
    parameters = described["parameters"]
    by_place = [one for one in parameters if one["kind"] in {"POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD"}]
    needed = [one for one in parameters if one["required"] and not one["kind"].startswith("VAR_")]
    if len(by_place) < arguments or any(one not in by_place[:arguments] for one in needed):
        raise ValueError(f"it is not called with {arguments} argument{'s' if arguments > 1 else ''}")
    try:
        return source_text(_code(described))
    except OSError as error:
        raise ValueError(f"its code cannot be read: {error}") from error


def shelved_entry(offer: Offer, described: Described) -> Entry:
    """The entry of a file on the shelf beside a spec: its options as its text has them, its code as it is imported."""
    entry = offer.entry()
    if entry.broken:
        return entry
    known = external_entry(offer.kind, offer.target, described)
    imported = described.get("files", {}).get(offer.target.partition(":")[0])
    if imported and offer.file and not offer.file.samefile(imported):
        hidden = f"Python imports {imported} in place of {offer.file}; rename one, or start in the folder of the spec"
        return replace(entry, broken=hidden)
    return replace(
        entry,
        broken=known.broken,
        source=known.source,
        fingerprinted=known.fingerprinted,
        quantities=known.quantities,
    )


def _quantities(module: str, described: Described) -> Mapping[str, Manner]:
    """How the file of a task or a probe says that its quantities are read; ValueError where the form is wrong."""
    path = described["files"].get(module)
    try:
        return manners(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, UnicodeDecodeError):
        return {}


def _code(described: Described) -> Code:
    files = {name: Path(path) for name, path in described["files"].items()}
    return Code(files, frozenset(described["packages"]))


def _is_here(package: str, folder: Path | None) -> bool:
    folders = [str(Path.cwd()), *([] if folder is None else [str(folder)])]
    try:
        return PathFinder.find_spec(package, folders) is not None or find_spec(package) is not None
    except ValueError:  # a module that was started as a script has no spec of its own
        return True


def _fault(use: str, described: Described) -> str:
    fault: str = described.get("fault", "")
    return f"{fault}; {nearest(use.partition(':')[2], described['names'])}" if "names" in described else fault


def fingerprints(asked: Sequence[tuple[str, Options]], folder: Path | None) -> list[Described]:
    """What each task says of its data under its options: {"data": text}, {"fault": sentence}, or {} for nothing."""
    if not asked:
        return []
    answers, fault = _signatures(folder, "--fingerprints", json.dumps([(use, dict(options)) for use, options in asked]))
    return [{"fault": fault}] * len(asked) if fault else answers


def _asked(uses: Sequence[str], folder: Path | None) -> dict[str, Described]:
    if not uses:
        return {}
    answers, fault = _signatures(folder, f"--seconds={_IMPORT_SECONDS}", *uses)
    return {use: {"fault": fault} for use in uses} if fault else answers


def _signatures(folder: Path | None, *words: str) -> tuple[Any, str]:
    """What the signatures process answers, or why it did not."""
    if not hasattr(os, "fork"):
        return None, "code from outside clipbench is looked into on Linux and macOS alone"
    command = [sys.executable, "-m", "clipbench.running.signatures", f"--folder={folder or ''}", *words]
    # Whatever the imported modules print goes to the user only where the process itself fails.
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode == 0:
        return json.loads(child.stdout), ""
    last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return None, f"importing it ended Python with exit status {child.returncode}: {last}"


def _option(parameter: Mapping[str, Any]) -> Option:
    # A rate without a type or a default is a number all the same.
    type_name = "float" if parameter["name"] == "lr" and parameter["type"] == "any" else parameter["type"]
    optional: bool = parameter["optional"]
    return Option(
        name=parameter["name"],
        type=_TYPES.get(type_name, type_name) + (" | None" if optional and type_name != "any" else ""),
        accepts=_ACCEPTS[type_name] | None if optional else _ACCEPTS[type_name],
        listed=type_name == "sequence",
        required=parameter["required"],
        wants=parameter["wants"],
        unset=parameter["unset"],
    )
