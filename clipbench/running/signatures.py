"""The signatures of things outside clipbench, found by importing them in processes of their own.

`python -m clipbench.running.signatures torch.optim:Muon …` prints one JSON object: for each argument its parameters and
the code it is made of, or what went wrong. `… --fingerprints '[["mine:task", {"path": "x.csv"}], …]'` prints a list:
for each task with its options what its module's `fingerprint` says of its data. `--folder=FOLDER` is searched for
modules after the current folder. The process that reads specs stays without torch.

Each module is imported in a process that is forked for it, so that what importing it loads is known whatever else is
imported, and a module that ends Python takes nothing with it.
"""

import inspect
import json
import os
import signal
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from clipbench.running.parameters import described
from clipbench.sources.calls import names
from clipbench.sources.imports import named
from clipbench.sources.loaded import Loaded
from clipbench.sources.modules import Code, code_of, file_of, search
from clipbench.sources.owners import owner


def describe(use: str, loaded: Loaded | None = None) -> dict[str, Any]:
    """Import what `use` ("module:attribute") names and describe its call.

    Returns {"parameters", "class", "fingerprint", "files": {module: path}, "packages": ["name==version"]}, or
    {"fault": sentence}. `files` are those that count by their content: of the user's or of clipbench's shelves, loaded
    by the import or named by an import statement.

    Args:
        use: what to describe.
        loaded: what was loaded since before the first import of this module. What only this thing loads is left out of
            it from then on, as it does not belong to the next thing of the module.
    """
    loaded = Loaded() if loaded is None else loaded
    module_name, _, attribute = use.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        return {"fault": f"importing {module_name!r} failed: {error}"}
    except (Exception, SystemExit) as error:  # whatever a user's module does when it is imported
        return {"fault": f"importing {module_name!r} failed: {type(error).__name__}: {error}"}
    imported = loaded.files()
    try:
        thing = attrgetter(attribute)(module)
    except AttributeError:
        public = [name for name in dir(module) if not name.startswith("_") and callable(getattr(module, name, None))]
        return {"fault": f"{module_name!r} has no {attribute!r}", "names": public}
    except (Exception, SystemExit) as error:  # a package may import what it is asked for
        return {"fault": f"{attribute!r} of {module_name!r} failed to load: {type(error).__name__}: {error}"}
    files = loaded.files()
    loaded.leave_out(files.keys() - imported)
    return (
        _of_thing(module, thing, files)
        if callable(thing)
        else {"fault": f"{attribute!r} in {module_name!r} is of type {type(thing).__name__}, not a class or a function"}
    )


def _of_thing(module: types.ModuleType, thing: Any, loaded: Mapping[str, Path]) -> dict[str, Any]:
    try:
        signature = _signature(thing)
    except (ValueError, TypeError):
        return {
            "fault": f"{getattr(thing, '__qualname__', thing)!r} in {module.__name__!r} does not tell its parameters"
        }
    try:
        code = _code(module, thing, loaded)
    except OSError as error:
        return {"fault": f"its code cannot be read: {error}"}
    return {
        "parameters": [described(parameter) for parameter in signature.parameters.values()],
        "class": isinstance(thing, type),
        "fingerprint": _fingerprint(module, thing) is not None or names(thing, "clipbench", "problem"),
        "files": {name: str(path.absolute()) for name, path in code.files.items()},
        "packages": sorted(code.packages),
    }


def _signature(thing: Any) -> inspect.Signature:
    try:
        return inspect.signature(thing, eval_str=True)
    except Exception:  # an annotation written as text may name anything; the parameters are there without it
        return inspect.signature(thing)


def _code(module: types.ModuleType, thing: Any, loaded: Mapping[str, Path]) -> Code:
    """What a thing is made of: all that its import loaded, the modules of its base classes, and what these name.

    Raises:
        OSError: a file cannot be read.
    """
    bases = thing.__mro__ if isinstance(thing, type) else (thing, *type(thing).__mro__)
    defining = [name for each in bases if isinstance(name := getattr(each, "__module__", None), str)]
    code = code_of([module.__name__, *defining], loaded)
    # A thing of a package is that package's, be it one that clipbench needs as well.
    packages = {_package(name) for name in (module.__name__, *defining[:1])}
    return Code(code.files, code.packages | (packages - {""}))


def _package(module: str) -> str:
    """The installed package that a module belongs to, "name==version"; "python" for Python's own; else empty."""
    path = file_of(sys.modules.get(module))
    whose = None if path is None else owner(path)
    return "python" if whose is None or whose.kind == "python" else whose.package


def _fingerprint(module: types.ModuleType, thing: Any) -> Callable[..., object] | None:
    """The function beside a task that says what its data is."""
    defining = sys.modules.get(getattr(thing, "__module__", None) or "")
    # A package that loads what it is asked for, or fails, is not asked.
    beside = (vars(each).get("fingerprint") for each in (module, defining) if isinstance(each, types.ModuleType))
    return next((each for each in beside if callable(each)), None)


def fingerprint(use: str, options: Mapping[str, Any]) -> dict[str, str]:
    """What a task says of its data, by the function beside it or to `clipbench.problem`.

    Returns {"data": text} or {"fault": sentence}; {} where it says nothing to `clipbench.problem`.
    """
    module_name, _, attribute = use.partition(":")
    module = import_module(module_name)
    thing = attrgetter(attribute)(module)
    beside = _fingerprint(module, thing)
    function = beside or partial(import_module("clipbench.problems").data_of, thing)
    # A list of a spec is a tuple for whoever is called with it, here as in the run.
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    try:
        answer = function(**given)
    except (Exception, SystemExit) as error:  # whatever a user's function does
        traceback.print_exc()
        return {"fault": f"its fingerprint failed: {type(error).__name__}: {error}"}
    if answer is None and beside is None:
        return {}
    if not isinstance(answer, str):
        return {"fault": f"its fingerprint is of type {type(answer).__name__}, not a text"}
    return {"data": answer}


def _apart(work: Callable[[], Any], *, name: str, seconds: float = 0.0) -> Any:
    """What `work` returns in a process that is forked for it; {"fault": sentence} where that process ends otherwise.

    What the process prints goes to the error stream. `name` is how the sentence calls the work.
    """
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            _answer(work, answer.fileno(), printed.fileno(), seconds)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        printed.seek(0)
        output = printed.read().decode(errors="replace")
        sys.stderr.write(output)
        answer.seek(0)
        if answered := answer.read():
            return json.loads(answered)
    if status == -signal.SIGALRM:
        return {"fault": f"{name} took longer than {seconds:g} s"}
    last = (output.strip().splitlines() or ["it said nothing"])[-1]
    return {"fault": f"{name} ended Python with exit status {status}: {last}"}


def _answer(work: Callable[[], Any], answer: int, printed: int, seconds: float) -> None:
    """Work in the forked process, and end it: nothing of what the parent has left to do is done here."""
    status = 1
    try:
        for stream in (1, 2):
            os.dup2(printed, stream)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        reply = json.dumps(work()).encode()
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(answer, reply)
        status = 0
    except BaseException:  # even SystemExit: it would go on as the parent
        traceback.print_exc()
    with suppress(Exception):  # a module may have put anything in their place
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _share_torch(uses: Iterable[str]) -> None:
    """Import torch before anything is forked, where one of the things needs it: that takes seconds."""
    try:
        files = code_of(use.partition(":")[0] for use in uses).files
        needed = {"torch"} & {each.partition(".")[0] for name, path in files.items() for each in named(path, name)}
    except OSError:  # the process that imports the file says so
        return
    if needed or not all(use.partition(":")[0] in files for use in uses):  # packages are not looked into
        with suppress(ImportError):
            import_module("torch")


def main(arguments: Sequence[str]) -> None:
    """Print one line of JSON, whatever the imported modules print themselves."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    folders = [each.removeprefix("--folder=") for each in arguments if each.startswith("--folder=")]
    words = [each for each in arguments if not each.startswith("--folder=")]
    search("".join(folders))
    answer = _fingerprints(json.loads(words[1])) if words[0] == "--fingerprints" else _descriptions(words)
    with os.fdopen(stdout, "w") as stream:
        json.dump(answer, stream)


def _descriptions(arguments: Sequence[str]) -> dict[str, Any]:
    seconds = [float(each.partition("=")[2]) for each in arguments if each.startswith("--seconds=")]
    uses = [each for each in arguments if not each.startswith("--")]
    _share_torch(uses)
    answer: dict[str, Any] = {}
    for module in dict.fromkeys(use.partition(":")[0] for use in uses):
        of_module = [use for use in uses if use.partition(":")[0] == module]
        descriptions = _apart(partial(_described, of_module), name="importing it", seconds=sum(seconds))
        answer |= dict.fromkeys(of_module, descriptions) if "fault" in descriptions else descriptions
    return answer


def _described(uses: Sequence[str]) -> dict[str, Any]:
    loaded = Loaded()
    return {use: describe(use, loaded) for use in uses}


def _fingerprints(asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, str]]:
    _share_torch([use for use, _ in asked])
    return [_apart(partial(fingerprint, use, options), name="its fingerprint") for use, options in asked]


if __name__ == "__main__":
    main(sys.argv[1:])
