"""Messages about runs that exist under earlier names and were moved or copied."""

from collections import Counter
from collections.abc import Iterable

from clipbench.judging.words import count
from clipbench.store import Renamed, place_of


def renamed_lines(put_in_place: Iterable[Renamed]) -> list[str]:
    """A line for each arm or spec: `3 runs of arm 'adam' moved to 'adamw' (same description)`."""
    kinds = Counter(filter(None, map(_kind, put_in_place)))
    return [_line(runs, *kind) for kind, runs in kinds.items()]


def _kind(renamed: Renamed) -> tuple[str, str, bool] | None:
    """The earlier and the present name of an arm or spec, and whether its run was moved; None if no name changed."""
    spec, task, arm = place_of(renamed.folder)
    run = renamed.run
    if (spec, task, arm) == (run.spec, run.task.name, run.arm.name):
        return None
    if spec != run.spec:
        return spec, "", renamed.is_moved
    before, after = arm.partition("[")[0], run.arm.name.partition("[")[0]  # of a grid or a search, all arms at once
    if task != run.task.name:
        return f"{task}/{before}", f"{run.task.name}/{after}", renamed.is_moved
    return (before, after, renamed.is_moved) if before != after else (arm, run.arm.name, renamed.is_moved)


def _line(runs: int, before: str, after: str, is_moved: bool) -> str:
    if not after:
        return f"{count(runs, 'run')} copied from spec {before!r} (same description)"
    verb = "moved" if is_moved else "copied"
    return f"{count(runs, 'run')} of arm {before!r} {verb} to {after!r} (same description)"
