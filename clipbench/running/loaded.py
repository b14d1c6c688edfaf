"""What a worker really loaded of the user's own code, held against what its run's key was made from."""

import os
from collections.abc import Iterator
from pathlib import Path

from clipbench.errors import ClipbenchError
from clipbench.records import Choice, Run
from clipbench.sources.loaded import Loaded
from clipbench.sources.modules import digest, digests
from clipbench.sources.owners import USER, owner


class LoadedCode:
    """The user's files that are loaded from now on, as far as the key of the run knows them.

    A run that uses nothing of the user's own has nothing to compare, and costs nothing.
    """

    def __init__(self, run: Run) -> None:
        self._things = [
            (thing, files, measures) for thing, measures in _things(run) if (files := digests(thing.source))
        ]
        self._loaded = Loaded() if self._things else None
        self._compared: set[str] = set()

    def refuse_changed(self) -> None:
        """Compare the files that building the run's parts has loaded with those that its key was made from.

        Raises:
            ClipbenchError: one of them was edited or removed after the run was planned.
        """
        if self._loaded is None:
            return
        loaded = self._loaded.named({name for _, files, _ in self._things for name in files})
        for thing, files, measures in self._things:
            for name in sorted(files.keys() & loaded):
                if not _is_as_planned(name, loaded[name], thing, files, measures=measures):
                    raise ClipbenchError(
                        f"the code of {thing.use!r} changed after the run was planned",
                        where=shown(loaded[name], self._loaded.here),
                        remedy="run the spec again",
                    )
                self._compared.add(name)

    def unknown(self) -> tuple[str, ...]:
        """A remark for each of the user's files that was loaded and is not in the key, or not as it was then."""
        if self._loaded is None:
            return ()
        unknown = {
            shown(path, self._loaded.here)
            for name, path in self._loaded.files().items()
            if owner(path) == USER and name not in self._compared and not self._is_in_the_key(name, path)
        }
        return tuple(f"code unknown: {file}" for file in sorted(unknown))

    def _is_in_the_key(self, name: str, path: Path) -> bool:
        return any(
            name in files and _is_as_planned(name, path, thing, files, measures=measures)
            for thing, files, measures in self._things
        )


def shown(path: Path, here: Path) -> str:
    """A file as a record says it: from the folder that the worker began in, where it lies there."""
    full = Path(os.path.normpath(here / path))
    return str(full.relative_to(here) if full.is_relative_to(here) else full)


def _things(run: Run) -> Iterator[tuple[Choice, bool]]:
    """All that the run uses, each with whether it records quantities."""
    yield run.task, True
    for arm in (run.arm, *run.measure.ghosts):
        yield from ((each, False) for each in arm.code)
    for probe in run.measure.probes:
        yield probe, True


def _is_as_planned(name: str, path: Path, thing: Choice, files: dict[str, str], *, measures: bool) -> bool:
    try:
        return digest(path, measures=measures and name == thing.target.partition(":")[0]) == files[name]
    except OSError:
        return False
