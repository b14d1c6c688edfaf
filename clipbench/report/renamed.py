"""Runs that are there under other names, in words: whose they were, and what became of them."""

from collections import Counter
from collections.abc import Iterable

from clipbench.judging.words import count
from clipbench.store import Renamed, place_of


def renamed_lines(put_in_place: Iterable[Renamed]) -> list[str]:
    """A line for each arm or spec: `3 runs of arm 'adam' are those of 'adamw' now (same description): moved`."""
    kinds = Counter(filter(None, map(_kind, put_in_place)))
    return [_line(runs, *kind) for kind, runs in kinds.items()]


def _kind(one: Renamed) -> tuple[str, str, bool] | None:
    """The earlier names and those of today, of arms or of specs; none where the file alone had other names."""
    spec, task, arm = place_of(one.folder)
    run = one.run
    if (spec, task, arm) == (run.spec, run.task.name, run.arm.name):
        return None
    if spec != run.spec:
        return spec, "", one.is_moved
    before, after = arm.partition("[")[0], run.arm.name.partition("[")[0]  # of a grid or a search, all arms at once
    if task != run.task.name:
        return f"{task}/{before}", f"{run.task.name}/{after}", one.is_moved
    return (before, after, one.is_moved) if before != after else (arm, run.arm.name, one.is_moved)


def _line(runs: int, before: str, after: str, is_moved: bool) -> str:
    if not after:
        return f"{count(runs, 'run')} copied from spec {before!r} (same description)"
    are = "is that" if runs == 1 else "are those"
    end = "now (same description): moved" if is_moved else "too (same description): copied"
    return f"{count(runs, 'run')} of arm {before!r} {are} of {after!r} {end}"
