"""Which files code of the user's opens, where no fingerprint says what is in them."""

import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from clipbench.networks.cache import cache_folder
from clipbench.records import Choice, Run
from clipbench.running.loaded import shown
from clipbench.sources.modules import file_of

MOST_NAMED = 5

_SYSTEM = ("/proc", "/sys", "/dev", "/etc")
_COMPILED = (".pyc", ".so")
_METADATA = {".dist-info", ".egg-info"}  # of packages, wherever they lie


class OpenedFiles:
    """The files that code of the user's opens for reading while it is watched, if no fingerprint covers it.

    A task that has a fingerprint is trusted to name all that it reads, and nothing is watched then. Only what Python
    itself opens is seen: a library that opens files in C, or in processes of its own, is not.
    """

    def __init__(self, run: Run, *, folder: Path) -> None:
        of_arms = (each for arm in (run.arm, *run.measure.ghosts) for each in arm.code)
        used = (run.task, *of_arms, *run.measure.probes)
        self._watches = any(map(_is_users, used)) and not (_is_users(run.task) and run.data)
        self._here, self._folder = Path.cwd(), folder.absolute()  # now: a task may go elsewhere
        self._read: dict[str, None] = {}
        self._written: set[str] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A stretch in which the user's code is at work."""
        if not self._watches:
            yield
            return
        _install()
        _listeners.append(self)
        try:
            yield
        finally:
            _listeners.remove(self)

    def opened(self, path: str, flags: int) -> None:
        """Note that the user's code opened this file, to read or to write."""
        full = os.path.normpath(Path(path).absolute())
        if flags & os.O_ACCMODE == os.O_WRONLY or flags & (os.O_TRUNC | os.O_APPEND):
            self._written.add(full)
        else:
            self._read[full] = None

    def unknown(self) -> tuple[str, ...]:
        """A remark for each file, MOST_NAMED at most, and one for how many more there are."""
        if not self._read:
            return ()
        code = {str(path) for module in list(sys.modules.values()) if (path := file_of(module)) is not None}
        apart = tuple(f"{Path(folder).absolute()}/" for folder in (str(self._folder), *_no_data()))
        data = [
            f"data unknown: {shown(Path(path), self._here)}"
            for path in self._read.keys() - self._written - code
            if not path.endswith(_COMPILED)
            and not path.startswith(apart)
            and Path(path).is_file()
            and not _METADATA & set(Path(path).parent.suffixes)
        ]
        named, more = sorted(data)[:MOST_NAMED], len(data) - MOST_NAMED
        return (*named, *([f"data unknown: {more} more"] if more > 0 else []))


def _is_users(thing: Choice) -> bool:
    """Whether a thing comes from outside clipbench."""
    return ":" in thing.use or not thing.target.startswith("clipbench.")


_listeners: list[OpenedFiles] = []


@cache  # a hook cannot be taken away again, so a process has one
def _install() -> None:
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _listeners:
        path, _, flags = arguments
        if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int):  # an int is open already
            _listeners[-1].opened(os.fsdecode(path), flags)


def _no_data() -> Iterator[str]:
    """The folders of the system, of Python and its packages, and of what clipbench can make again."""
    yield from _SYSTEM
    yield from (f"{tempfile.gettempdir()}/torchinductor_", str(Path("~/.triton").expanduser()))  # compilers' own
    yield from (folder for name, folder in sysconfig.get_paths().items() if name != "data")
    yield from (f"{prefix}/lib" for prefix in (sys.prefix, sys.base_prefix))
    yield from (*site.getsitepackages(), site.getusersitepackages())
    yield from (path for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))
    try:
        yield str(cache_folder())
    except RuntimeError:  # no home folder, hence no cache
        return
