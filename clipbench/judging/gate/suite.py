"""A suite: the gate's view of runs, and how it is gathered from records."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import ConfigDict, Field, with_config

from clipbench.errors import UndecidedError
from clipbench.judging.cells import Cell
from clipbench.judging.current import select
from clipbench.judging.gate.rules import VARYING
from clipbench.judging.remarks import remarks
from clipbench.judging.words import brief, count, listing, number
from clipbench.measurements import Measurement
from clipbench.quantities import EXACT, Along, Reading, quantity
from clipbench.questions import Question
from clipbench.records import EVAL_LOSS, Record, Run, Scalar, Status

BASELINE_FORMAT = 2  # of a baseline file
MEND = "restore the run's folder, or delete it and run the spec again"
_CLOSED = ConfigDict(ser_json_inf_nan="constants", extra="forbid", strict=True)

NonNegative = Annotated[int, Field(ge=0, le=2**63 - 1)]
Times = Annotated[int, Field(ge=1, le=2**63 - 1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fact = bool | int | Finite | str | None


@with_config(_CLOSED)
@dataclass(frozen=True)
class RunResult:
    """One run, as the gate sees it.

    - `readings`: by metric, of those in VARYING that the run has.
    - `exact`: by name, of quantities.EXACT likewise.
    - `fingerprints`: of the weights and batches that it began with; empty where it did not record them.
    - `first_loss`: NaN where there is none.
    - `started`: seconds since 1970, 0 where it was not recorded.
    """

    seed: NonNegative
    status: Status
    reason: str = ""
    first_loss: float = math.nan
    readings: Mapping[str, Reading] = field(default_factory=dict)
    exact: Mapping[str, NonNegative | str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    numerics_id: str = ""
    machine_id: str = ""
    device: str = ""  # cpu, cuda or mps, whichever of several
    side_by_side: NonNegative = 0
    started: Seconds = 0.0

    @property
    def final_loss(self) -> float:
        """NaN where it has not finished, or was not evaluated."""
        loss = self.readings.get("loss")
        return math.nan if loss is None else loss.value

    @property
    def sound(self) -> bool:
        """It finished, with a loss that is a number."""
        return self.status == "finished" and math.isfinite(self.final_loss)

    @property
    def weights(self) -> str:
        """The hash of its final weights; empty where there is none."""
        return str(self.exact.get("weights", ""))


@with_config(_CLOSED)
@dataclass(frozen=True)
class ArmResult:
    """All runs of one arm on one task.

    - `problem`: what must be the same on both sides for a loss to mean the same: the task with its options and
      its code, the data, the budget, when it was evaluated.
    - `described`: what the spec says of the arm. `code` identifies the optimizer's code, which may change.
    - `target`: reached where so many `consecutive` evaluations are at or below it; of a `quantity` that is no loss, at
      or above it with `at_least`.
    """

    spec: str
    task: str
    arm: str
    target: Finite | None
    problem: Mapping[str, Fact]
    described: Mapping[str, Fact]
    code: str
    seeds: tuple[RunResult, ...]
    consecutive: Times = 1
    quantity: str = ""
    at_least: bool = False

    @property
    def place(self) -> tuple[str, str, str]:
        """The spec, the task and the arm."""
        return self.spec, self.task, self.arm

    @property
    def goal(self) -> str:
        """The target as text."""
        if self.target is None:
            return "none"
        in_a_row = f" in {self.consecutive} evaluations in a row" if self.consecutive > 1 else ""
        sign = f"{self.quantity} {'≥' if self.at_least else '≤'} " if self.quantity else ""
        return f"{sign}{number(self.target, 6)}{in_a_row}"


@with_config(_CLOSED)
@dataclass(frozen=True)
class Unread:
    """A run that is there and cannot be read: `place` is where it lies, `reason` why."""

    place: tuple[str, str, str]
    reason: str


@with_config(_CLOSED)
@dataclass(frozen=True)
class Suite:
    """The arms of one or more specs, each with its seeds; `caveats` were found while they were gathered.

    Runs that are `unread` are in no arm. A suite that has any is not kept as a baseline.
    """

    arms: tuple[ArmResult, ...]
    caveats: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    format: int = BASELINE_FORMAT


def gathered(groups: Sequence[tuple[Question, Sequence[Record]]]) -> Suite:
    """The suite of some specs.

    Raises:
        UndecidedError: two different runs claim one place, or the runs of one arm differ in more than their seed.
    """
    arms: list[ArmResult] = []
    caveats: list[str] = []
    for question, records in groups:
        selected = select(records, question)
        caveats += [*selected.left_out, *remarks(selected.records)]
        arms += map(_arm, selected.cells)
    return Suite(tuple(arms), tuple(caveats))


def _arm(cell: Cell) -> ArmResult:
    first = cell.records[0].run
    problem, described, code = _problem(first), _described(first), _code(first)
    for record in cell.records[1:]:
        run = record.run
        if (_problem(run), _described(run), _code(run)) != (problem, described, code):
            raise UndecidedError(
                f"the runs of {first.arm.name} on {first.task.name} differ in more than their seed (seeds {first.seed} "
                f"and {run.seed})",
                remedy="run the spec again, so that all seeds are made alike",
            )
    return ArmResult(
        spec=first.spec,
        task=first.task.name,
        arm=first.arm.name,
        target=cell.target.bound if cell.target else None,
        problem=problem,
        described=described,
        code=code,
        seeds=tuple(_run(record, cell) for record in cell.records),
        consecutive=cell.target.consecutive if cell.target else 1,
        quantity=cell.target.quantity if cell.target else "",
        at_least=cell.target is not None and cell.target.at_least is not None,
    )


def _run(record: Record, cell: Cell) -> RunResult:
    ended, place = record.outcome, record.environment
    curve: Sequence[Measurement] = record.measurements.series("", EVAL_LOSS)
    samples = {each.metric: cell.sample(Along(quantity(each.quantity))) for each in VARYING}
    readings = {metric: sample[record.run.seed] for metric, sample in samples.items() if record.run.seed in sample}
    exact = {each.name: value for each in EXACT if ended and (value := each.read(ended)) is not None}
    return RunResult(
        seed=record.run.seed,
        status=record.status,
        reason=brief(ended.reason) if ended else "",
        first_loss=curve[0].value if curve else math.nan,
        readings=readings,
        exact=exact,
        fingerprints=dict(ended.fingerprints) if ended else {},
        numerics_id=place.numerics_id if place else "",
        machine_id=place.machine_id if place else "",
        device=place.device.partition(":")[0] if place else "",
        side_by_side=place.side_by_side if place else 0,
        started=ended.started if ended else 0.0,
    )


def _problem(run: Run) -> dict[str, Scalar]:
    options = {name: _scalar(value) for name, value in run.task.options.items()}
    rounded = run.measure.precision != "float32"  # it came later: a baseline that was saved before has none
    return {
        "task": run.task.target,
        **options,
        "the task's code": run.task.source,
        "data": run.data,
        "budget": f"{number(run.budget.amount, 12)} {run.budget.unit}",
        "evaluation": f"every {run.measure.evaluate_every} steps",
        **({"curvature": f"in {run.measure.precision}"} if rounded else {}),
    }


def _code(run: Run) -> str:
    """The sources of its optimizers and wrappers, and of a schedule of the user's own."""
    return " ".join(choice.source for choice in run.arm.code)


def _described(run: Run) -> dict[str, Scalar]:
    arm = run.arm
    options = {name: _scalar(value) for name, value in arm.options.items()}
    groups = {f"groups.{each.name}": f"{each.optimizer.target} for {each.matcher or 'the rest'}" for each in arm.groups}
    wrap = {f"wrap.{each.name}": each.target for each in arm.wrap}
    graph: dict[str, Scalar] = {"create_graph": True} if arm.create_graph else {}
    since = ("decay", "source", "groups")  # these came later: a baseline that was saved before has none of them
    of_clip = asdict(arm.clip).items() if arm.clip else ()
    clip = {f"clip.{name}": _scalar(value) for name, value in of_clip if value or name not in since}
    facts = ((name, value) for name, value in asdict(arm.schedule).items() if value or name not in since)
    schedule = {f"schedule.{name}": value for name, value in facts if name != "source"}
    return {"optimizer": arm.optimizer.target, **groups, **wrap, **graph, **options, **clip, **schedule}


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, bool | int | float | str | None) else json.dumps(value)


def differences(before: Mapping[str, Scalar], after: Mapping[str, Scalar]) -> str:
    """Which facts are not the same, in words: lr was 0.003 and is 0.004. Empty where all are."""
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    changes = [f"{name} was {_short(before.get(name))} and is {_short(after.get(name))}" for name in names]
    return listing(changes, limit=4)


def _short(value: Scalar) -> str:
    """A value, or the beginning of a hash; the whole of one tells a reader no more."""
    text = str(value) if value not in ("", None) else "nothing"
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def counted(suite: Suite) -> str:
    """3 arms, 15 runs."""
    return f"{count(len(suite.arms), 'arm')}, {count(sum(len(arm.seeds) for arm in suite.arms), 'run')}"
