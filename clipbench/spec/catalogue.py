"""The open shelves, read as text: which tasks, optimizers, wrappers and probes there are, and the options they take.

The files import torch; this module does not, and does not import them.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from clipbench.questions import Manner
from clipbench.records import Value
from clipbench.sources.code import file_sha256
from clipbench.sources.imports import closure
from clipbench.sources.owners import HASHED
from clipbench.spec.annotations import evaluate, fit, spelled, takes_tuple

Kind = Literal["tasks", "optimizers", "wrappers", "probes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEASURING: tuple[Kind, ...] = ("tasks", "probes")  # their files may say how quantities are read

# clipbench's own package; another folder with the same shelves in it may stand in for it.
OWN = Path(__file__).parent.parent


@dataclass(frozen=True)
class Seam:
    """What a shelf's files must offer: a function, and the arguments that it gets beside its options.

    `keys` stand beside the options in a spec; an option with one of these names is set under the last, `options`.
    """

    function: str
    arguments: tuple[str, ...]
    word: str
    keys: tuple[str, ...] = ("use", "options")


SEAMS: Mapping[Kind, Seam] = {
    "tasks": Seam("build", ("seed", "device"), "task", ("use", "budget", "target", "evaluate", "options")),
    "optimizers": Seam(
        "build",
        ("named_parameters",),
        "optimizer",
        ("use", "groups", "wrap", "clip", "schedule", "create_graph", "liveness", "options"),
    ),
    "wrappers": Seam("build", ("optimizer", "named_parameters"), "wrapper"),
    "probes": Seam("measure", ("snapshot",), "probe"),
}


@dataclass(frozen=True)
class Option:
    """One option that a spec may set: `type` in words, `accepts` as it is enforced.

    `listed`: one value of it is a list, so that a grid of it is a list of lists. `wants`: what it takes, in words,
    where no spec can say that, such as "a class"; empty where one can. `unset`: of something from elsewhere, it is null
    where the spec is silent.
    """

    name: str
    type: str
    accepts: Any
    listed: bool = False
    required: bool = True
    default: Value = None
    doc: str = ""
    wants: str = ""
    unset: bool = False


@dataclass(frozen=True)
class Entry:
    """A task, optimizer, wrapper or probe that a spec may use.

    `target` is "module:attribute"; `data` names what a task reads from the user's disk, empty for nothing, and `files`
    the options by which a spec may name files for it to read, the first in place of `data`; `source`
    identifies its code, that of a shelf's file together with what it imports of the networks, the data and the shelves.
    `broken` says why it cannot be used; it is empty where it can.
    `quantities`: how those that a task or a probe from elsewhere records are read.
    `external`: it comes from another package; its defaults are its own and stay unsaid. `fingerprinted`: it may be
    asked what its data is. `open`: it takes **kwargs, so that any further option is passed on unchecked.
    `origin`: where it comes from, in words; empty for clipbench's own.
    """

    name: str
    summary: str
    target: str
    options: tuple[Option, ...] = ()
    data: str = ""
    files: tuple[str, ...] = ()
    source: str = ""
    broken: str = ""
    external: bool = False
    fingerprinted: bool = False
    open: bool = False
    origin: str = ""
    quantities: Mapping[str, Manner] = field(default_factory=dict)


def names(kind: Kind, root: Path = OWN) -> tuple[str, ...]:
    """The names on a shelf, in alphabetical order: its files, except those that begin with an underscore."""
    return tuple(sorted(path.stem for path in (root / kind).glob("*.py") if not path.stem.startswith("_")))


def shelf(kind: Kind, root: Path = OWN) -> tuple[Entry, ...]:
    """Every entry of a shelf, in alphabetical order; one whose file is faulty says so in `broken`."""
    return tuple(entry(kind, name, root=root) for name in names(kind, root))


def entry(kind: Kind, name: str, *, root: Path = OWN) -> Entry:
    """One entry of a shelf, read from its file."""
    path = root / kind / f"{name}.py"
    module = target(kind, name, root)
    try:
        tree = ast.parse(path.read_bytes())
        function = _function(tree, SEAMS[kind])
        assigned = _assigned(tree)
        options = _options(function, assigned)
        data = ast.literal_eval(assigned["DATA"]) if "DATA" in assigned else ""
        if not isinstance(data, str):
            raise ValueError("its DATA is not the name of a source: write it as text in quotes")
        return Entry(
            name=name,
            summary=_first_line(ast.get_docstring(tree)),
            target=module,
            options=options,
            data=data,
            files=_files(assigned, options),
            source=_source(kind, name, root),
        )
    except SyntaxError as error:
        return Entry(name, "", module, broken=f"{path}:{error.lineno or 0}: not valid Python: {error.msg}")
    except (ValueError, OSError) as error:
        return Entry(name, "", module, broken=f"{path}: {error}")


def _files(assigned: Mapping[str, ast.expr], options: tuple[Option, ...]) -> tuple[str, ...]:
    """The literal FILES of a task's file; ValueError where it is no tuple of names of options."""
    files = ast.literal_eval(assigned["FILES"]) if "FILES" in assigned else ()
    if not isinstance(files, tuple) or not {option.name for option in options}.issuperset(files):
        raise ValueError("its FILES are not a tuple of the names of options")
    return files


def target(kind: Kind, name: str, root: Path = OWN) -> str:
    """What Python imports for a file on a shelf, as "module:function"."""
    return f"{root.name}.{kind}.{name}:{SEAMS[kind].function}"


def _source(kind: Kind, name: str, root: Path) -> str:
    """SHA-256 over the code of a shelf's file and of all it imports, transitively, from the parts that are hashed.

    Raises:
        OSError: a file cannot be read.
    """
    own = f"{root.name}.{kind}.{name}"
    files = closure([own], partial(_part, roots={OWN.name: OWN, root.name: root}))
    digests = (
        f"{module}:{file_sha256(path, measures=kind in MEASURING and module == own)}" for module, path in files.items()
    )
    return sha256(" ".join(sorted(digests)).encode()).hexdigest()


def _part(module: str, roots: Mapping[str, Path]) -> Path | None:
    """The file of a module that belongs to a part of clipbench, or of what stands in for it, whose code is hashed."""
    package, _, inside = module.partition(".")
    if package not in roots or inside.partition(".")[0] not in HASHED:
        return None
    path = roots[package].joinpath(*inside.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _first_line(text: str | None) -> str:
    return text.strip().partition("\n")[0] if text else ""


def _function(tree: ast.Module, seam: Seam) -> ast.FunctionDef:
    shape = f"{seam.function}({', '.join(seam.arguments)}, *, options)"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == seam.function:
            break
    else:
        raise ValueError(f"it has no function {shape}")
    arguments = node.args
    if len(arguments.posonlyargs) + len(arguments.args) != len(seam.arguments) or arguments.vararg:
        raise ValueError(f"its function is not of the shape {shape}: options are keyword-only")
    if arguments.kwarg:
        raise ValueError(
            f"its function takes **{arguments.kwarg.arg}: each option must be named, so that a wrong one is seen"
        )
    return node


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """The module's own `NAME = expression`, for aliases of types and for constants used as defaults."""
    expressions: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            expressions[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            expressions[node.target.id] = node.value
    return expressions


def _options(function: ast.FunctionDef, assigned: Mapping[str, ast.expr]) -> tuple[Option, ...]:
    docs = _argument_docs(ast.get_docstring(function))
    options: list[Option] = []
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        try:
            option = _option(argument, default, assigned)
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"its option {argument.arg!r} cannot be read: {error}") from error
        options.append(replace(option, doc=docs.get(argument.arg, "")))
    return tuple(options)


def _option(argument: ast.arg, default: ast.expr | None, assigned: Mapping[str, ast.expr]) -> Option:
    if argument.annotation is None:
        raise ValueError("it has no type")
    accepts = evaluate(argument.annotation, assigned)
    option = Option(argument.arg, spelled(accepts), accepts, listed=takes_tuple(accepts))
    if default is None:
        return option
    literal = assigned.get(default.id, default) if isinstance(default, ast.Name) else default
    return replace(option, required=False, default=fit(accepts, ast.literal_eval(literal)))


def _argument_docs(docstring: str | None) -> dict[str, str]:
    """The first line that the `Args:` of a docstring has on each argument."""
    docs: dict[str, str] = {}
    inside = False
    for line in (docstring or "").splitlines():
        if line.strip() == "Args:":
            inside = True
        elif inside and line[:4].strip():
            break
        elif inside and line[4:5].strip() and ":" in line:
            name, _, text = line.strip().partition(":")
            docs[name] = text.strip()
    return docs
