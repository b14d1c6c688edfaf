"""`clipbench init`: a starter spec and task, and a CI workflow that runs the spec and checks the results."""

import re
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console
from clipbench.cli import completing, starter
from clipbench.errors import ClipbenchError
from clipbench.harmless import shortened
from clipbench.report.raw import to_json
from clipbench.spec import json_schema
from clipbench.spec.catalogue import Kind
from clipbench.spec.offers import offers
from clipbench.spec.wording import meant
from clipbench.store.atomic import replacing

SPEC_NAME, WORKFLOW_NAME = "benchmark.yaml", ".github/workflows/benchmark.yml"
TASK_NAME, TASK_MODULE = "my_task.py", "my_task"

_USE = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?", re.ASCII)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder to write to: the root of a repository.")
    ] = Path(),
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE:CLASS",
            help="Your optimizer, to be compared in the spec.",
            autocompletion=completing.optimizers,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Your task, in place of clipbench's own.", autocompletion=completing.tasks
        ),
    ] = None,
) -> None:
    """Write a starter spec, a task, and a CI workflow.

    The workflow runs the spec and checks its results against a baseline. Existing files are kept.
    """
    _require_use("--optimizer", optimizer, "optimizers", folder)
    _require_use("--task", task, "tasks", folder)
    files = {
        SPEC_NAME: starter.spec(optimizer, task),
        TASK_NAME: starter.TASK,
        WORKFLOW_NAME: starter.WORKFLOW,
        ".gitignore": starter.GITIGNORE,
        starter.SCHEMA_NAME: f"{to_json(json_schema(folder=folder.absolute()))}\n",
    }
    if task is not None and task.partition(":")[0] != TASK_MODULE:
        del files[TASK_NAME]
    for name, text in files.items():
        _write(folder / name, text)
    console.say(f"next: {console.command('run', folder / SPEC_NAME)}")


def _require_use(option: str, use: str | None, kind: Kind, folder: Path) -> None:
    """Refuse what no spec in the folder can use; whether a module has the name, its `validate` says."""
    if use is None:
        return
    if not _USE.fullmatch(use):
        raise typer.BadParameter(f"{option}: {shortened(use, 60)!r} is neither a name nor of the form module:name")
    known = offers(kind, folder=folder)
    if ":" not in use and use not in known:
        near = meant(use, known) or f"write your own as module:name; clipbench has {', '.join(known)}"
        raise typer.BadParameter(f"{option}: there is no {kind.removesuffix('s')} {shortened(use, 60)!r}; {near}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            console.say(f"{path} exists already, and is kept")
            return
        with replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(error, path) from error
    console.put(str(path))


def _unwritable(error: OSError, path: Path) -> ClipbenchError:
    """Why a file cannot be written: a folder has its name, a file stands in its path, or the system refuses."""
    above = next(each for each in (path, *path.parents) if each.exists())
    if above == path:
        message, remedy = "this is a folder, but a file of this name is needed", "rename it"
    elif not above.is_dir():
        message, remedy = "this is a file, but a folder is needed here", "rename it"
    else:
        message, remedy = f"cannot write {path.relative_to(above)} here ({error.strerror})", "make it writable"
    return ClipbenchError(message, where=str(above), remedy=f"{remedy}, or name another folder: clipbench init DIR")
