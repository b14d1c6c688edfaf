"""Which files a process loads code from: those of modules, and those that run without ever being a module."""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import CodeType
from urllib.parse import quote

from clipbench.sources.modules import file_of
from clipbench.sources.owners import owner


class Loaded:
    """The files of the code that is loaded from now on, by module, or by their place where they are none.

    Code that an installed package runs from a file without importing it is not among them: compilers write their own.
    """

    def __init__(self) -> None:
        self._left_out = set(sys.modules)
        self._run: dict[str, str] = {}  # the file of some code, and the file of the code that ran it
        _install()
        _listeners.append(self._run)

    def leave_out(self, names: Iterable[str]) -> None:
        self._left_out.update(names)

    def files(self) -> dict[str, Path]:
        generated = {file for file, by in self._run.items() if owner(Path(by)).kind == "package"}
        modules = {name: path for name, module in list(sys.modules.items()) if (path := file_of(module))}
        files = (file for file in self._run.keys() - set(map(str, modules.values())) if not file.startswith("<"))
        places = {place(path): path for path in map(Path, files)}
        return {
            name: path
            for name, path in {**places, **modules}.items()
            if name not in self._left_out and str(path) not in generated and path.is_file()
        }


def place(path: Path) -> str:
    """A file without what lies above the current folder, as one word."""
    full, here = path.absolute(), Path.cwd()
    return quote(full.relative_to(here).as_posix() if full.is_relative_to(here) else full.name)


_listeners: list[dict[str, str]] = []


@cache  # a hook cannot be taken away again, so a process has one
def _install() -> None:
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event == "exec" and _listeners and isinstance(arguments[0], CodeType):
        by = sys._getframe().f_back
        for run in _listeners:
            run.setdefault(arguments[0].co_filename, "" if by is None else by.f_code.co_filename)
