"""The same arms in several folders (versions or machines): each folder is compared with the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from clipbench.judging.cells import LABELS, Cell, cells, differing
from clipbench.judging.compare import Asked, margin, mean_of
from clipbench.judging.current import in_force
from clipbench.judging.families import Test, Verdict, judge
from clipbench.judging.paired import Paired
from clipbench.judging.statistics import Estimate, GeometricEstimate
from clipbench.judging.words import count
from clipbench.quantities import Along
from clipbench.questions import Question
from clipbench.records import Record, Run

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
    """Whether folders share an arm with a seed: then they are versions, and not parts of a whole."""
    places = [{(run.spec, run.task.name, run.arm.name, run.seed) for run in map(_run, each)} for each in folders]
    return any(first & second for first, second in combinations(places, 2))


def _run(record: Record) -> Run:
    return record.run


def versions(folders: Sequence[Folder], asked: Asked) -> Versions:
    """Each folder's arms against those of the first; verdicts are corrected for all rows of a folder and a task.

    Raises:
        UndecidedError: two different runs of one folder claim the same task, arm and seed.
    """
    first, *others = folders
    notes: list[str] = []
    before = _cells(first, asked, notes)
    rows: list[VersionRow] = []
    for folder in others:
        after = _cells(folder, asked, notes)
        for task in dict.fromkeys(task for task, _ in before):
            both = [place for place in before if place in after and place[0] == task]
            against = {place: after[place].against(before[place], asked.metric) for place in both}
            verdicts = judge(
                [Test(against[place], margin=margin(after[place], before[place], asked)) for place in both]
            )
            rows += [
                _row(before[place], after[place], folder.label, against[place], judged, asked.metric)
                for place, judged in zip(both, verdicts, strict=True)
            ]
        notes += _alone(before, after, folder.label, first.label)
    return Versions(
        first.question.spec,
        first.question.text,
        tuple(folder.label for folder in folders),
        asked.metric,
        tuple(rows),
        tuple(dict.fromkeys(notes)),
    )


def _cells(folder: Folder, asked: Asked, notes: list[str]) -> dict[TaskArm, Cell]:
    kept, left_out = in_force(folder.records, folder.question)
    notes += [f"{folder.label}: {sentence}" for sentence in left_out]
    selected = cells(kept, asked.read_by(folder.question))
    for cell in selected:
        if lost := [run.seed for run in cell.runs if run.status != "finished"]:
            of_arm = f"{len(lost)} of {count(len(cell.runs), 'run')} of {cell.arm} on {cell.task}"
            notes.append(f"{folder.label}: {of_arm} did not finish.")
    return {(cell.task, cell.arm): cell for cell in selected}


def _row(before: Cell, after: Cell, label: str, against: Paired, judged: Verdict, metric: Along) -> VersionRow:
    finished = {run.seed for run in before.finished} & {run.seed for run in after.finished}
    changed = differing([before.records[0].run, after.records[0].run])
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
        changed=tuple(name for name in changed if name not in (*LABELS, "seed")),
    )


def _alone(before: Mapping[TaskArm, Cell], after: Mapping[TaskArm, Cell], label: str, first: str) -> list[str]:
    """Sentences about arms that only one of two folders has."""
    return [
        f"{arm} on {task} is only in {where}."
        for where, ours, theirs in ((first, before, after), (label, after, before))
        for task, arm in ours
        if (task, arm) not in theirs
    ]
