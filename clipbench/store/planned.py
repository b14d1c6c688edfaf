"""What lies where a plan has a run, held against the plan: only that run, and whole, is reused or goes on.

Results are data from a stranger: a folder may have the right name and hold another run, or a damaged one. It is set
aside by another name then, never deleted, and the run is made anew.
"""

import os
import stat
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from clipbench.errors import StoreError
from clipbench.records import FORMAT, Arm, Choice, Run
from clipbench.store import opening
from clipbench.store.atomic import ELSEWHERE, make_folder, replace_content
from clipbench.store.runs import (
    CHECKPOINT,
    HEARTBEAT,
    JOB,
    LOG,
    MEASUREMENTS,
    RUN,
    RunFile,
    described_by,
    digest_of,
    parsed,
    recorded_in,
)

_FILES = (RUN, MEASUREMENTS, CHECKPOINT, HEARTBEAT, LOG, JOB)


@dataclass(frozen=True)
class There:
    """What lies in a planned run's folder: the run as its file has it, or why it is set aside; neither if nothing."""

    file: RunFile | None = None
    strange: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it is the planned run's result."""
        return self.file is not None and self.file.is_done


_done: dict[
    str, tuple[Run, tuple[object, ...], There]
] = {}  # by folder: the run, its files as they were, and the answer


def there(run: Run, folder: Path) -> There:
    """What lies in a planned run's folder.

    A command asks this several times of each run. Of one that is done the answer is kept for as long as its files are
    the same: over 10,000 runs that are all done `clipbench run` takes 5 s of the processor, and 13 otherwise.
    """
    state = _state(folder)
    known = _done.get(str(folder))
    if known is not None and known[1] == state and known[0] == run:
        return known[2]
    answer = _there(run, folder)
    if answer.is_done:
        _done[str(folder)] = run, state, answer
    return answer


def _state(folder: Path) -> tuple[object, ...]:
    """What changes where a file of a run is written, though its time is put back; no content is read."""
    try:
        files = [os.lstat(f"{folder}/{name}") for name in (RUN, MEASUREMENTS)]
        return os.lstat(folder).st_ino, *((file.st_ino, file.st_ctime_ns, file.st_size) for file in files)
    except OSError:
        return ()


def _there(run: Run, folder: Path) -> There:
    if not os.path.lexists(folder):
        return There()
    if not stat.S_ISDIR(folder.lstat().st_mode):
        return There(strange="is no folder")
    if not os.path.lexists(folder / RUN):
        files = [name for name in _FILES if os.path.lexists(folder / name)]
        return There(strange=f"has a {files[0]} and does not say of which run" if files else "")
    try:
        return _held_against(run, described_by(folder), folder)
    except StoreError as error:
        return There(strange=f"cannot be read ({error.message})")


def _held_against(run: Run, described: bytes, folder: Path) -> There:
    """A run's folder whose file can be read; StoreError where it cannot after all."""
    file = parsed(described, str(folder / RUN))
    if file.format != FORMAT:
        return There(strange=f"has a run of format {file.format}")
    if file.key != run.key or not is_same(file.run, run):
        return There(strange="has another run than the planned one")
    if file.is_done:
        is_whole = file.digest == digest_of(described, recorded_in(folder))
        return There(file) if is_whole else There(strange="has a run whose digest is not that of its content")
    for name in _FILES:  # which are written as it goes on
        if odd := opening.oddity(folder / name):
            return There(strange=f"has a {name} that is of no use ({odd})")
    return There(file)


def has_failed(run: Run, folder: Path) -> bool:
    """Whether a planned run was made, and crashed."""
    file = there(run, folder).file
    return file is not None and file.outcome is not None and file.outcome.status == "failed"


def set_aside(run: Run, folder: Path) -> str:
    """Give another name to what lies in a run's folder and is not that run, and say so; empty where nothing does.

    Raises:
        StoreError: it cannot be renamed, or the folder of the run's arm, task or spec is a link.
    """
    for above in reversed(folder.parents[:3]):
        opening.refuse_a_link(above)
    strange = there(run, folder).strange
    if not strange:
        return ""
    aside = next(name for number in count(1) if not os.path.lexists(name := _aside(folder, number)))
    try:
        folder.rename(aside)
    except OSError as error:
        message = f"this {strange}, and cannot be set aside ({error.strerror})"
        raise StoreError(message, where=str(folder), remedy=ELSEWHERE) from error
    return f"set aside: {folder} {strange}; it is now called {aside.name}"


def describe(run: Run, folder: Path) -> None:
    """Write what is to be run, as it is planned: an interrupted run goes on from its checkpoint, by its plan's word.

    What lies there and is not that run is set aside.

    Raises:
        StoreError: the folder cannot be written, or is reached by a link.
    """
    set_aside(run, folder)
    make_folder(folder)
    file = there(run, folder).file
    if file is None or file.outcome is not None:
        for stale in (MEASUREMENTS, CHECKPOINT, HEARTBEAT, LOG, JOB):
            (folder / stale).unlink(missing_ok=True)
    if file is None or file != RunFile(FORMAT, run.key, run):
        replace_content(folder / RUN, RunFile(FORMAT, run.key, run).dumped())


def _aside(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.set-aside-{number}")


def is_same(run: Run, planned: Run) -> bool:
    """Whether two descriptions are of one run, but for what decides no number: names, labels, which of equal GPUs."""
    return run == planned or _nameless(run) == _nameless(planned)


def _nameless(run: Run) -> Run:
    measure = replace(
        run.measure,
        probes=tuple(map(_nameless_choice, run.measure.probes)),
        ghosts=tuple(replace(_nameless_arm(ghost), name=ghost.name) for ghost in run.measure.ghosts),  # a direction
    )
    task, arm, device = _nameless_choice(run.task), _nameless_arm(run.arm), run.device.partition(":")[0]
    return replace(run, spec="", task=task, arm=arm, measure=measure, device=device, trial_of="")


def _nameless_arm(arm: Arm) -> Arm:
    groups = tuple(replace(group, optimizer=_nameless_choice(group.optimizer)) for group in arm.groups)
    wrap = tuple(map(_nameless_choice, arm.wrap))
    return replace(arm, name="", optimizer=_nameless_choice(arm.optimizer), liveness="off", groups=groups, wrap=wrap)


def _nameless_choice(choice: Choice) -> Choice:
    return replace(choice, name="")
