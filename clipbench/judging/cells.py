"""Records sorted into cells: a cell is an arm on a task, with a run for each seed."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TypeVar

from clipbench.errors import ClipbenchError, nearest
from clipbench.judging.copies import counted
from clipbench.judging.paired import Paired, Sample, paired
from clipbench.judging.words import number
from clipbench.quantities import Along, Reading, final_loss
from clipbench.questions import Question, Target
from clipbench.records import OWN, Arm, Record, Run

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
LABELS = ("spec", "task.name", "arm.name", "arm.optimizer.name", "arm.liveness")  # fields that decide no number


@dataclass(frozen=True)
class Cell:
    """The runs of an arm on a task, by seed, with the target they aim at."""

    task: str
    arm: str
    records: tuple[Record, ...]
    target: Target | None = None
    _samples: dict[str, Sample] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def described(self) -> Arm:
        """The arm as its first run describes it."""
        return self.records[0].run.arm

    @cached_property
    def by_seed(self) -> dict[int, Record]:
        """The runs by their seeds."""
        return {record.run.seed: record for record in self.records}

    @cached_property
    def finished(self) -> tuple[Record, ...]:
        """The runs that finished."""
        return tuple(record for record in self.records if record.status == "finished")

    @cached_property
    def ends(self) -> dict[int, str]:
        """By seed, the hash of the final weights; empty where a run left none."""
        return {record.run.seed: record.weights for record in self.records}

    @cached_property
    def all_differ(self) -> bool:
        """Whether no run is a copy of another run; pairs with the arm then have no copies either."""
        return len(set(self.ends.values())) == len(self.ends)

    @cached_property
    def own(self) -> tuple[Record, ...]:
        """All runs, of finished copies only the first."""
        finished = {record.run.seed for record in self.finished}
        copied = finished.difference(counted(finished, self.ends))
        return tuple(record for record in self.records if record.run.seed not in copied)

    @cached_property
    def counted(self) -> tuple[Record, ...]:
        """The finished runs, of copies only the first: means are over these runs."""
        return tuple(record for record in self.own if record.status == "finished")

    @property
    def broken(self) -> bool:
        """Whether a seed diverged or failed. Then the arm has no verdict: leaving the seed out would flatter it."""
        return any(record.status in ("diverged", "failed") for record in self.records)

    @property
    def learning_rate(self) -> float | None:
        """The arm's learning rate, where it has one."""
        return self.described.learning_rate

    @property
    def final_losses(self) -> dict[int, float]:
        """The final loss of each seed that finished."""
        return {record.run.seed: final_loss(record) for record in self.finished}

    def sample(self, along: Along) -> Sample:
        """The readings of a quantity by seed, of the runs that have it."""
        name = str(along)
        if name not in self._samples:
            readings = ((record.run.seed, along.read(record, self.target)) for record in self.records)
            self._samples[name] = {seed: reading for seed, reading in readings if reading is not None}
        return self._samples[name]

    def readings(self, along: Along) -> list[Reading]:
        """The readings of a quantity in the runs that means are over."""
        sample = self.sample(along)
        return [sample[record.run.seed] for record in self.counted if record.run.seed in sample]

    def values(self, along: Along) -> list[float]:
        """The values of these readings."""
        return [reading.value for reading in self.readings(along)]

    def against(self, cell: "Cell", along: Along) -> Paired:
        """What the arm differs by from another in a quantity, paired by seed.

        Runs that are copies of each other are one pair; but times are taken anew for each.
        """
        copies_count = along.quantity.noise == "machine" and not along.quantity.of_broken
        ends = None if copies_count or self.all_differ or cell.all_differ else (self.ends, cell.ends)
        return paired(self.sample(along), cell.sample(along), along.quantity.scale, ends=ends)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, tuple[T, ...]]:
    """The items by a key, in order of appearance."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return {key: tuple(group) for key, group in groups.items()}


def is_twin(clipped: Arm, candidate: Arm) -> bool:
    """Whether `candidate` is `clipped` without its clip: same optimizer, wrappers, options (lr aside) and schedule."""
    return (
        clipped.clip is not None
        and candidate.clip is None
        and _uses(clipped) == _uses(candidate)
        and _but_rate(clipped) == _but_rate(candidate)
        and clipped.schedule == candidate.schedule
    )


def _uses(arm: Arm) -> object:
    groups = [(group.name, group.optimizer.use, group.kind, group.names) for group in arm.groups]
    return arm.optimizer.use, groups, [wrapper.use for wrapper in arm.wrap], arm.create_graph


def _but_rate(arm: Arm) -> dict[str, object]:
    rates = arm.learning_rates
    return {name: value for name, value in arm.options.items() if name not in rates}


def rates_in_words(arm: Arm) -> str:
    """The learning rate of an arm, or of each of its groups: `0.1`; `hidden 0.02, rest 0.003`; empty without any."""
    if arm.learning_rate is not None:
        return number(arm.learning_rate, 6)
    return ", ".join(f"{name.split('.')[-2]} {number(rate, 6)}" for name, rate in arm.learning_rates.items())


def cells(records: Sequence[Record], question: Question) -> list[Cell]:
    """One cell per task and arm that has runs: tasks as they first appear, arms in the question's order."""
    groups = grouped(records, lambda record: (record.run.task.name, record.run.arm.name))
    tasks = dict.fromkeys(task for task, _ in groups)
    arms = dict.fromkeys([*question.arms, *(arm for _, arm in groups)])
    return [
        Cell(task, arm, tuple(sorted(groups[task, arm], key=lambda record: record.run.seed)), question.target_of(task))
        for task in tasks
        for arm in arms
        if (task, arm) in groups
    ]


def known_arm(name: str, question: Question, *, records: Sequence[Record]) -> str:
    """`name`, if it is an arm of the question or of a run.

    Raises:
        ClipbenchError: it is neither; the nearest names come first.
    """
    arms = list(dict.fromkeys([*question.arms, *(record.run.arm.name for record in records)]))
    if name in arms:
        return name
    raise _unknown("arm", name, arms, what="the baseline")


def known_direction(name: str, records: Sequence[Record]) -> str:
    """`name`, if it is an arm of a run or the name of one of its ghosts, or of a direction that was measured.

    Raises:
        ClipbenchError: it is neither; the nearest names come first.
    """
    runs = [record.run for record in records]
    arms = [run.arm.name for run in runs] + [ghost.name for run in runs for ghost in run.measure.ghosts]
    measured = [direction for record in records for direction, _ in record.measurements.places]
    names = [name for name in dict.fromkeys([*arms, *measured]) if name not in ("", OWN)]
    if name in names:
        return name
    raise _unknown("arm or ghost", name, names, what="the reference")


def _unknown(kind: str, name: str, known: Sequence[str], *, what: str) -> ClipbenchError:
    return ClipbenchError(
        f"no {kind} is called {name!r}, so it cannot be {what}",
        remedy=f"choose one of: {', '.join(nearest(name, known))}",
    )


def differing(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """The fields that are not the same in all runs, as dotted names, with their values in order of appearance."""
    if len(runs) < 2:
        return {}
    flat = [_flat(asdict(run)) for run in runs]
    names = dict.fromkeys(name for described in flat for name in described)
    values = {name: tuple(dict.fromkeys(described.get(name, "none") for described in flat)) for name in names}
    return {name: distinct for name, distinct in values.items() if len(distinct) > 1}


def _flat(value: object, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        nested = [_flat(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items()]
        return {key: inner for flat in nested for key, inner in flat.items()}
    if isinstance(value, tuple | list) and any(isinstance(inner, dict) for inner in value):
        return _flat(dict(enumerate(value)), name)
    return {name: str(value)}
