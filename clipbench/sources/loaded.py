"""Which files a process loads code from: those of modules, and those that run without ever being a module."""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from urllib.parse import quote

from clipbench.sources.modules import file_of
from clipbench.sources.owners import owner


class Loaded:
    """The files of the code that is loaded from now on, by module, or by their place where they are none.

    A file that an installed package runs without importing it, or a compiled one that it imports from elsewhere, is not
    among them: compilers write their own.
    """

    def __init__(self) -> None:
        self.here = Path.cwd()  # now: code may go elsewhere
        self._left_out = set(sys.modules)
        self._run: dict[str, str] = {}  # the file of some code, and the file of the code that ran it
        _install()
        _listeners.append(self._run)

    def leave_out(self, names: Iterable[str]) -> None:
        """Leave these modules out of what is looked at."""
        self._left_out.update(names)

    def named(self, names: set[str]) -> dict[str, Path]:
        """The files that stand under these names, of those that are loaded, be it from before."""
        modules = {name: path for name in names if (path := file_of(sys.modules.get(name)))}
        return modules if len(modules) == len(names) else {**self._places(), **modules}

    def files(self) -> dict[str, Path]:
        """The file of each module that was loaded since, and of code that was run, by its name."""
        modules = {
            name: path
            for name, module in list(sys.modules.items())
            if name not in self._left_out and (path := file_of(module))
        }
        known = {str(file_of(module)) for module in list(sys.modules.values())}
        places = {name: path for name, path in self._places().items() if str(path) not in known}
        generated = {file for file, by in list(self._run.items()) if owner(Path(by)).kind == "package"}
        return {
            name: path
            for name, path in {**places, **modules}.items()
            if name not in self._left_out and str(path) not in generated and path.is_file()
        }

    def _places(self) -> dict[str, Path]:
        """The files that code was run from, each by its path from here, or by its name where it lies elsewhere."""
        files = (self.here / file for file in list(self._run) if not file.startswith("<"))
        return {
            quote(str(path.relative_to(self.here)) if path.is_relative_to(self.here) else path.name): path
            for path in files
        }


_listeners: list[dict[str, str]] = []


@cache  # a hook cannot be taken away again, so a process has one
def _install() -> None:
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if not _listeners or event not in ("exec", "import"):
        return
    by = sys._getframe().f_back
    if event == "exec":
        file = getattr(arguments[0], "co_filename", None)
    else:  # of a compiled module: the file it lies in
        file = arguments[1]
        while by is not None and by.f_code.co_filename.startswith("<frozen importlib"):
            by = by.f_back
    if isinstance(file, str):
        for run in _listeners:
            run.setdefault(file, "" if by is None else by.f_code.co_filename)
