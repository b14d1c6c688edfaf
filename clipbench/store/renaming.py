"""Runs that are there already under other names, found by their keys and put where a plan has them.

The names of specs, tasks and arms decide no number: a run whose arm was renamed need not be made again. Results are
data from a stranger, so a folder's name is a hint and no more. A run is taken where its files are whole and describe
the planned run but for names; anything else is left alone, as are links.

A run is moved by one rename, after which run.json gets its new names; it is copied with run.json last. So it is whole
and in one place whenever the process is killed, and doing it again puts right what was cut short.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from clipbench.errors import StoreError
from clipbench.records import FORMAT, Run
from clipbench.store.atomic import make_folder, replace_content, replacing, sync_folder
from clipbench.store.opening import content
from clipbench.store.planned import is_same, set_aside
from clipbench.store.planned import there as lying_there
from clipbench.store.results import folder_of, folder_of_spec, place_of
from clipbench.store.runs import LOG, MEASUREMENTS, RUN, RunFile, described_by, digest_of, parsed, read, relabelled


@dataclass(frozen=True)
class Renamed:
    """A planned run that is there under other names in `folder`, from where it is moved, or else copied.

    Where `folder` is the planned one, its file has the names of an earlier plan.
    """

    run: Run
    folder: Path
    is_moved: bool


def renamed(runs: Iterable[Run], results: Path, *, arms: Collection[tuple[str, str]]) -> list[Renamed]:
    """Those of a plan's runs that are done, but not where the plan has them or not by its names. Nothing is changed.

    A run of the same spec whose arm the plan no longer has is moved; a trial of such an arm that crashed as well, for
    a second try would be one more than other arms had.

    Args:
        runs: as planned.
        results: the folder of all specs.
        arms: the names of all tasks and arms that the plan has runs of, whichever of them are asked for now.
    """
    wanted: dict[str, list[tuple[Run, RunFile | None]]] = {}
    matches = []
    for run in runs:
        folder = folder_of(run, results)
        there = lying_there(run, folder).file
        if there is None or not there.is_done:
            wanted.setdefault(folder.name, []).append((run, there))
        elif there.run != replace(run, device=there.run.device) and _content(folder, run, crashed_too=False):
            matches.append(Renamed(run, folder, is_moved=True))
    folders = _folders_called(wanted, results) if wanted else {}
    for name, same in wanted.items():
        matches += _of_one_key(same, folders.get(name, []), results, arms)
    return matches


def put_in_place(entry: Renamed, results: Path, *, tell: Callable[[str], None] = lambda _: None) -> bool:
    """Move or copy a run to where the plan has it, under the plan's names; whether that went well.

    What lies there and is not that run is set aside, and `tell` gets a line of it. Where it did not go well, because
    the folder has changed since or cannot be written, the run is still to be made.
    """
    is_trial = bool(entry.run.trial_of)
    files = _content(entry.folder, entry.run, crashed_too=entry.is_moved and is_trial)
    folder = folder_of(entry.run, results)
    if files is None:
        return False
    described, recorded = files
    try:
        if entry.folder != folder:
            # Without a run.json, what lies there is of a copy that was cut short.
            if os.path.lexists(folder / RUN) and (line := set_aside(entry.run, folder)):
                tell(line)
            if folder.exists():  # the same run, not ended, or crashed
                shutil.rmtree(folder)
            _move(entry.folder, folder) if entry.is_moved else _copy(entry.folder, folder, recorded)
        replace_content(folder / RUN, relabelled(described, entry.run))
    except (OSError, StoreError, RecursionError):  # the last where folders are nested deeper than Python removes
        return False
    return True


def _move(source: Path, folder: Path) -> None:
    make_folder(folder.parent)
    source.rename(folder)
    sync_folder(folder.parent)
    for emptied in (source.parent, source.parents[1]):
        with suppress(OSError):  # an arm or a task that has other runs
            emptied.rmdir()


def _copy(source: Path, folder: Path, recorded: bytes) -> None:
    """All but run.json, without which it is no run yet."""
    make_folder(folder)
    with replacing(folder / MEASUREMENTS) as draft:
        draft.write_bytes(recorded)
    with suppress(OSError):  # most runs have no log
        (folder / LOG).write_bytes(content(source / LOG))


def _of_one_key(
    same: Iterable[tuple[Run, RunFile | None]], folders: list[Path], results: Path, arms: Collection[tuple[str, str]]
) -> Iterator[Renamed]:
    """Where to take runs of one key from, each with what its file in its planned folder says."""
    moved_to: Path | None = None
    for run, there in same:
        best = _best(run, there, folders, results, arms)
        if moved_to and not (best and best.is_moved):
            best = Renamed(run, moved_to, is_moved=False)
        if best and best.is_moved:
            folders.remove(best.folder)
            moved_to = folder_of(run, results)
        if best:
            yield best


def _best(
    run: Run, there: RunFile | None, folders: Iterable[Path], results: Path, arms: Collection[tuple[str, str]]
) -> Renamed | None:
    """Where to take a run from: an arm that the plan no longer has, else its own spec, else another."""
    choices = []
    for folder in folders:
        _, task, arm = place_of(folder)
        is_own = folder.parents[2] == folder_of_spec(run.spec, results)
        is_moved = is_own and (task, arm) not in arms
        crashed_too = is_moved and bool(run.trial_of) and (there is None or there.outcome is None)
        if _content(folder, run, crashed_too=crashed_too) is not None:
            choices.append((not is_moved, not is_own, Renamed(run, folder, is_moved)))
    return min(choices, key=lambda choice: choice[:2])[2] if choices else None


def _content(folder: Path, run: Run, *, crashed_too: bool) -> tuple[bytes, bytes] | None:
    """The files of the ended run in a folder, where it is the planned one but for names; None where it is not."""
    try:
        described, recorded = described_by(folder), content(folder / MEASUREMENTS)
        there = parsed(described, str(folder / RUN))
        is_whole = there.digest == digest_of(described, recorded)
        read(folder)
    except (OSError, ValueError, StoreError):
        return None
    has_ended = there.is_done or (crashed_too and there.format == FORMAT and there.outcome is not None)
    is_planned = there.key == there.run.key == run.key and is_same(there.run, run)
    return (described, recorded) if has_ended and is_planned and is_whole else None


def _folders_called(names: Collection[str], results: Path) -> dict[str, list[Path]]:
    """The folders of runs by these names, in the order of their paths; none is looked into."""
    folders: dict[str, list[Path]] = {}
    for spec in _folders_in(results):
        for task in _folders_in(spec):
            for arm in _folders_in(task):
                for folder in _folders_in(arm, names):
                    folders.setdefault(folder.name, []).append(folder)
    return folders


def _folders_in(folder: Path, names: Collection[str] | None = None) -> list[Path]:
    """The folders in one, of these names alone; no links, and none where it cannot be looked into."""
    with suppress(OSError), os.scandir(folder) as entries:
        there = [entry for entry in entries if names is None or entry.name in names]
        return [folder / entry.name for entry in sorted(there, key=_name) if entry.is_dir(follow_symlinks=False)]
    return []


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
