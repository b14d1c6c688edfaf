"""The same arms in several folders (versions or machines): each folder is compared with the first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from clipbench.errors import UndecidedError
from clipbench.judging.cells import LABELS, Cell, differing, grouped
from clipbench.judging.compare import Asked, check, margin, mean_of
from clipbench.judging.current import select
from clipbench.judging.families import Test, Verdict, judge
from clipbench.judging.paired import Paired
from clipbench.judging.statistics import Estimate, GeometricEstimate
from clipbench.judging.words import count, goal, listing, seeds_named
from clipbench.quantities import Along
from clipbench.questions import Question
from clipbench.records import Record

TaskArm = tuple[str, str]  # a task and an arm


@dataclass(frozen=True)
class Folder:
    """The runs of one spec in a folder, under the name that the user gave it."""

    label: str
    question: Question
    records: Sequence[Record]


@dataclass(frozen=True)
class VersionRow:
    """An arm on a task in a folder, against the same arm in the first folder.

    - `before`, `after`: means over finished seeds; `against`: their difference, paired by seed.
    - `same_weights`: how many of the `pairs` (seeds that finished on both sides) end with the same weights.
    - `changed`: the fields of the runs' descriptions that differ.
    """

    task: str
    arm: str
    label: str
    before: Estimate | GeometricEstimate
    after: Estimate | GeometricEstimate
    against: Paired
    judged: Verdict
    same_weights: int
    pairs: int
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Versions:
    """A comparison of folders: rows by task, arm and folder; all are compared with the first label."""

    spec: str
    question: str
    labels: tuple[str, ...]
    metric: Along
    rows: tuple[VersionRow, ...]
    notes: tuple[str, ...] = ()


def overlap(folders: Sequence[Sequence[Record]]) -> bool:
    """Whether folders are versions and not parts of one whole: two share more than half of the smaller one's runs.

    Two runs are the same here where their spec, task, arm and seed are called the same.
    """
    runs = [[record.run for record in records] for records in folders]
    names = [{(run.spec, run.task.name, run.arm.name, run.seed) for run in of_one} for of_one in runs]
    return any(2 * len(first & second) > min(len(first), len(second)) for first, second in combinations(names, 2))


def versions(folders: Sequence[Folder], asked: Asked) -> Versions:
    """Each folder's arms against those of the first; verdicts are corrected for all rows of a folder and a task.

    Raises:
        UndecidedError: two different runs of one folder claim the same task, arm and seed; or steps to targets are
            asked for, and the targets are not the same.
        ClipbenchError: a number makes no sense, or there is no such moment in a run.
    """
    first, *others = folders
    check(asked.read_by(first.question, first.records), asked)
    notes: list[str] = []
    before = _cells(first, asked, notes)
    rows: list[VersionRow] = []
    for folder in others:
        after = _cells(folder, asked, notes)
        both = [place for place in before if place in after]
        _same_targets([(before[place], after[place]) for place in both], asked.metric, folder.label)
        for of_task in grouped(both, lambda place: place[0]).values():
            against = {place: after[place].against(before[place], asked.metric) for place in of_task}
            margins = [margin(after[place], before[place], asked) for place in of_task]
            tests = [Test(against[place], margin=limit) for place, limit in zip(of_task, margins, strict=True)]
            rows += [
                _row(before[place], after[place], folder.label, against[place], judged, asked.metric)
                for place, judged in zip(of_task, judge(tests), strict=True)
            ]
        notes += _alone(before, after, folder.label, first.label)
        notes += [note for place in both for note in _unlike(before[place], after[place], folder.label)]
    return Versions(
        first.question.spec,
        first.question.text,
        tuple(folder.label for folder in folders),
        asked.metric,
        tuple(rows),
        tuple(dict.fromkeys(notes)),
    )


def _cells(folder: Folder, asked: Asked, notes: list[str]) -> dict[TaskArm, Cell]:
    selected = select(folder.records, asked.read_by(folder.question, folder.records), asked.at)
    notes += [f"{folder.label}: {sentence}" for sentence in selected.left_out]
    for cell in selected.cells:
        ends = [record.status for record in cell.records]
        lost = [f"{ends.count(status)} {status}" for status in ("diverged", "failed", "unfinished") if status in ends]
        if lost:
            notes.append(f"{folder.label}: of {cell.arm} on {cell.task} {listing(lost)} of {count(len(ends), 'run')}.")
    return {(cell.task, cell.arm): cell for cell in selected.cells}


def _same_targets(pairs: Sequence[tuple[Cell, Cell]], metric: Along, label: str) -> None:
    if not metric.quantity.of_broken:
        return
    for before, after in pairs:
        if before.target != after.target:
            goals = [goal(each.target) if each.target else None for each in (before, after)]
            reason = f"the target on {after.task} is {goals[0]}, and {goals[1]} in {label}"
            raise UndecidedError(f"{reason}: {metric} cannot be compared", remedy="give --target LOSS for both")


def _unlike(before: Cell, after: Cell, label: str) -> Iterator[str]:
    """What bars a comparison of losses, and which seeds are in no pair."""
    ours, theirs = after.records[0].run, before.records[0].run
    problem = {
        "data": (theirs.data, ours.data),
        "task": (theirs.task.options, ours.task.options),
        "task's code": (theirs.task.source, ours.task.source),
        "budget": (theirs.budget, ours.budget),
    }
    unlike = [name for name, (old, new) in problem.items() if old != new]
    if unlike:
        what = f"{listing(unlike)} of {after.task} {'is' if len(unlike) == 1 else 'are'} not the same"
        yield f"The {what} in {label}: losses are not comparable."
    seeds = set(before.ends), set(after.ends)
    if alone := sorted(seeds[0] ^ seeds[1]):
        yield f"{after.arm} on {after.task}: {seeds_named(alone)} on one side alone, and in no pair ({label})."


def _row(before: Cell, after: Cell, label: str, against: Paired, judged: Verdict, metric: Along) -> VersionRow:
    finished = before.final_losses.keys() & after.final_losses.keys()
    changed = differing([before.records[0].run, after.records[0].run])
    others = [name for name in changed if name not in (*LABELS, "seed")]
    return VersionRow(
        task=after.task,
        arm=after.arm,
        label=label,
        before=mean_of(before, metric),
        after=mean_of(after, metric),
        against=against,
        judged=judged,
        same_weights=sum(before.ends[seed] == after.ends[seed] != "" for seed in finished),
        pairs=len(finished),
        changed=tuple(sorted(others, key=lambda name: name.startswith("measure."))),  # what is solved comes first
    )


def _alone(before: Mapping[TaskArm, Cell], after: Mapping[TaskArm, Cell], label: str, first: str) -> list[str]:
    """Sentences about arms that only one of two folders has."""
    return [
        f"{arm} on {task} is only in {where}."
        for where, ours, theirs in ((first, before, after), (label, after, before))
        for task, arm in ours
        if (task, arm) not in theirs
    ]
