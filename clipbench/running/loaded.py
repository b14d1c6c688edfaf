"""What a worker really loaded, held against what its run's key was made from: code of the user's own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from clipbench.errors import ClipbenchError
from clipbench.records import Choice, Run
from clipbench.sources.modules import digest, digests, file_of
from clipbench.sources.owners import USER, owner


class LoadedCode:
    """The user's files that are loaded from now on, as far as the key of the run knows them.

    A run that uses nothing of the user's own has nothing to compare, and costs nothing.
    """

    def __init__(self, run: Run) -> None:
        self._things = [(thing, files, probe) for thing, probe in _things(run) if (files := digests(thing.source))]
        self._before = set(sys.modules) if self._things else set()
        self._compared: set[str] = set()

    def refuse_changed(self) -> None:
        """Compare the files that building the run's parts has loaded with those that its key was made from.

        Raises:
            ClipbenchError: one of them was edited or removed after the run was planned.
        """
        for thing, files, probe in self._things:
            for name in files.keys() & sys.modules.keys():
                if not _is_as_planned(name, thing, files, probe=probe):
                    raise ClipbenchError(
                        f"the code of {thing.use!r} changed after the run was planned",
                        where=shown(file_of(sys.modules[name]) or Path(name)),
                        remedy="run the spec again",
                    )
                self._compared.add(name)

    def unknown(self) -> tuple[str, ...]:
        """A remark for each of the user's files that was loaded and is not in the key, or not as it was then."""
        if not self._things:
            return ()
        loaded = ((name, file_of(sys.modules.get(name))) for name in sorted(sys.modules.keys() - self._before))
        return tuple(
            dict.fromkeys(
                f"code unknown: {shown(path)}"
                for name, path in loaded
                if path is not None and _is_the_users(name, path) and not self._is_known(name)
            )
        )

    def _is_known(self, name: str) -> bool:
        return name in self._compared or any(
            name in files and _is_as_planned(name, thing, files, probe=probe) for thing, files, probe in self._things
        )


def _is_the_users(name: str, path: Path) -> bool:
    """Whether the user wrote the file of a module: not where a package generated it, as torch's compiler does."""
    if owner(path) != USER:
        return False
    package = file_of(sys.modules.get(name.partition(".")[0]))
    return package is None or owner(package) == USER or path.is_relative_to(package.parent)


def shown(path: Path) -> str:
    """A file as a record says it: from the current folder where it lies there."""
    full, here = Path(os.path.normpath(path.absolute())), Path.cwd()
    return str(full.relative_to(here) if full.is_relative_to(here) else full)


def _things(run: Run) -> Iterator[tuple[Choice, bool]]:
    """All that the run uses, each with whether it is a probe."""
    yield run.task, False
    for arm in (run.arm, *run.measure.ghosts):
        yield arm.optimizer, False
    for probe in run.measure.probes:
        yield probe, True


def _is_as_planned(name: str, thing: Choice, files: dict[str, str], *, probe: bool) -> bool:
    path = file_of(sys.modules[name])
    try:
        own = probe and name == thing.target.partition(":")[0]
        return path is not None and digest(path, probe=own) == files[name]
    except OSError:
        return False
