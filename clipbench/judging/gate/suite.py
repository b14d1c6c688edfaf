"""What the gate needs to know of a suite of runs, and no more: small enough to lie beside the code as one JSON file."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.cells import cells
from clipbench.judging.current import in_force
from clipbench.judging.metrics import Status, final_loss, losses, metrics
from clipbench.judging.words import brief, count, listing, number
from clipbench.questions import Question
from clipbench.records import Record, Run, Scalar

FORMAT = 1
MEND = "restore the run's folder, or delete it and run the spec again"
_CLOSED = ConfigDict(ser_json_inf_nan="constants", extra="forbid")


@with_config(_CLOSED)
@dataclass(frozen=True)
class SeedResult:
    """One run, as the gate sees it.

    `log_sharpness` is the mean of ln over the positive values of the run, NaN where there is none. `state_bytes`,
    `peak_bytes` and `step_flops` are None, `started` is 0 and `device` empty, for runs that did not record them.
    """

    seed: int
    status: Status
    reason: str
    first_loss: float
    final_loss: float
    steps: int
    steps_to_target: float | None
    log_sharpness: float
    weights: str
    step_seconds: float
    state_bytes: int | None
    peak_bytes: int | None
    numerics_id: str
    machine_id: str
    side_by_side: int
    started: float
    step_flops: int | None = None
    device: str = ""  # cpu, cuda or mps, whichever of several

    @property
    def sound(self) -> bool:
        """It finished, with a loss that is a number."""
        return self.status == "finished" and math.isfinite(self.final_loss)

    @property
    def hit(self) -> bool:
        """It reached its target."""
        return self.steps_to_target is not None and self.steps_to_target < math.inf


@with_config(_CLOSED)
@dataclass(frozen=True)
class ArmResult:
    """All runs of one arm on one task.

    - `problem`: what must be the same on both sides for a loss to mean the same: the task with its options and
      its code, the data, the budget, when it was evaluated.
    - `described`: what the spec says of the arm. `code` identifies the optimizer's code, which may change.
    """

    spec: str
    task: str
    arm: str
    target: float | None
    problem: Mapping[str, Scalar]
    described: Mapping[str, Scalar]
    code: str
    evaluate_every: int
    seeds: tuple[SeedResult, ...]

    @property
    def place(self) -> tuple[str, str, str]:
        return self.spec, self.task, self.arm


@with_config(_CLOSED)
@dataclass(frozen=True)
class Unread:
    """A run that is there and cannot be read: `place` is where it lies, `found` what was found there."""

    place: tuple[str, str, str]
    found: str


@with_config(_CLOSED)
@dataclass(frozen=True)
class Suite:
    """The arms of one or more specs, each with its seeds; `caveats` were found while they were gathered.

    Runs that are `unread` are in no arm. A suite that has any is not kept as a baseline.
    """

    arms: tuple[ArmResult, ...]
    caveats: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    format: int = FORMAT


_SUITE = TypeAdapter(Suite)


def gathered(groups: Sequence[tuple[Question, Sequence[Record]]]) -> Suite:
    """The suite that some records make up.

    Args:
        groups: for each spec what it asks, and its records.

    Raises:
        UndecidedError: two different runs claim one place, or the runs of one arm differ in more than their seed.
    """
    arms: list[ArmResult] = []
    caveats: list[str] = []
    for question, records in groups:
        kept, left_out = in_force(records, question)
        caveats += left_out
        arms += [_arm(cell.records, target=question.target) for cell in cells(kept, question, target=question.target)]
    return Suite(tuple(arms), tuple(caveats))


def dumped(suite: Suite) -> bytes:
    """A suite as the JSON of a baseline file.

    Raises:
        UndecidedError: it has runs that could not be read: what lacks their seeds would silently judge on fewer.
    """
    if suite.unread:
        broken = listing((run.found for run in suite.unread), limit=3)
        found = f"{count(len(suite.unread), 'run')} cannot be read, and no baseline is kept without them: {broken}"
        raise UndecidedError(found, remedy=MEND)
    return _SUITE.dump_json(suite, indent=1, exclude={"unread"})


def loaded(content: bytes, *, where: str) -> Suite:
    """A suite from the JSON of a baseline file.

    Raises:
        ClipbenchError: it is no such file, or one of another format.
    """
    anew = "write it anew: clipbench check RESULTS --save-baseline FILE"
    try:
        raw: Any = json.loads(content)
        if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
            found = f"this baseline has format {raw['format']!r}; this clipbench reads format {FORMAT}"
            raise ClipbenchError(found, where=where, remedy=anew)
        return _SUITE.validate_python(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise ClipbenchError(f"this is not a baseline file ({reason})", where=where, remedy=anew) from error
    except ValueError as error:
        raise ClipbenchError(f"this is not a baseline file ({error})", where=where, remedy=anew) from error


def _arm(records: Sequence[Record], *, target: float | None) -> ArmResult:
    first = records[0].run
    problem, described, code = _problem(first), _described(first), first.arm.optimizer.source
    for other in records[1:]:
        run = other.run
        if (_problem(run), _described(run), run.arm.optimizer.source) != (problem, described, code):
            raise UndecidedError(
                f"{first.arm.name} on {first.task.name} is not one arm in all its runs: seeds {first.seed} and "
                f"{run.seed} differ in more than their seed",
                remedy="run the spec again, and all of its seeds are made alike",
            )
    return ArmResult(
        spec=first.spec,
        task=first.task.name,
        arm=first.arm.name,
        target=target,
        problem=problem,
        described=described,
        code=code,
        evaluate_every=first.measure.evaluate_every,
        seeds=tuple(_seed(record, target) for record in records),
    )


def _seed(record: Record, target: float | None) -> SeedResult:
    found, ended, place = metrics(record, target=target), record.outcome, record.environment
    curve = losses(record)
    return SeedResult(
        seed=found.seed,
        status=found.status,
        reason=brief(ended.reason) if ended else "",
        first_loss=curve[0][1] if curve else math.nan,
        final_loss=final_loss(record),
        steps=ended.steps if ended else 0,
        steps_to_target=found.steps_to_target,
        log_sharpness=found.sharpness.mean_log,
        weights=ended.weights_sha256 if ended else "",
        step_seconds=ended.step_seconds if ended else 0.0,
        state_bytes=ended.state_bytes if ended else None,
        peak_bytes=ended.peak_bytes if ended else None,
        numerics_id=place.numerics_id if place else "",
        machine_id=place.machine_id if place else "",
        side_by_side=place.side_by_side if place else 0,
        started=ended.started if ended else 0.0,
        step_flops=ended.step_flops if ended else None,
        device=place.device.partition(":")[0] if place else "",
    )


def _problem(run: Run) -> dict[str, Scalar]:
    options = {name: _scalar(value) for name, value in run.task.options.items()}
    return {
        "task": run.task.target,
        **options,
        "the task's code": run.task.source,
        "data": run.data,
        "budget": f"{number(run.budget.amount, 12)} {run.budget.unit}",
        "evaluation": f"every {run.measure.evaluate_every} steps",
    }


def _described(run: Run) -> dict[str, Scalar]:
    arm = run.arm
    options = {name: _scalar(value) for name, value in arm.optimizer.options.items()}
    clip = {f"clip.{name}": value for name, value in asdict(arm.clip).items()} if arm.clip else {}
    schedule = {f"schedule.{name}": value for name, value in asdict(arm.schedule).items()}
    return {"optimizer": arm.optimizer.target, **options, **clip, **schedule}


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, bool | int | float | str | None) else json.dumps(value)


def differences(before: Mapping[str, Scalar], after: Mapping[str, Scalar]) -> str:
    """Which facts are not the same, in words: lr was 0.003 and is 0.004. Empty where all are."""
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    said = [f"{name} was {_short(before.get(name))} and is {_short(after.get(name))}" for name in names]
    return listing(said, limit=4)


def _short(value: Scalar) -> str:
    """A value, or the beginning of a hash; the whole of one tells a reader no more."""
    text = str(value) if value not in ("", None) else "nothing"
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def counted(suite: Suite) -> str:
    """3 arms, 15 runs."""
    return f"{count(len(suite.arms), 'arm')}, {count(sum(len(arm.seeds) for arm in suite.arms), 'run')}"
