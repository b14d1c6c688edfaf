"""From records to a suite: what the gate needs to know of each run, and the runs of an arm in one place."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from clipbench.errors import UndecidedError
from clipbench.judging.cells import Cell, cells
from clipbench.judging.current import in_force
from clipbench.judging.gate.suite import ArmResult, SeedResult, Suite
from clipbench.judging.metrics import losses, status
from clipbench.judging.race import to_target
from clipbench.judging.remarks import remarks
from clipbench.judging.words import brief, number
from clipbench.quantities import SHARPNESS, STEPS, final_loss
from clipbench.questions import Question
from clipbench.records import Record, Run, Scalar


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
        caveats += [*left_out, *remarks(kept)]
        found = cells(kept, question, target=question.target, consecutive=question.consecutive)
        arms += [_arm(cell, question) for cell in found]
    return Suite(tuple(arms), tuple(caveats))


def _arm(cell: Cell, question: Question) -> ArmResult:
    first = cell.records[0].run
    problem, described, code = _problem(first), _described(first), first.arm.optimizer.source
    for other in cell.records[1:]:
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
        target=question.target,
        problem=problem,
        described=described,
        code=code,
        evaluate_every=first.measure.evaluate_every,
        seeds=tuple(_seed(record, cell) for record in cell.records),
        consecutive=question.consecutive,
    )


def _seed(record: Record, cell: Cell) -> SeedResult:
    ended, place, seed = record.outcome, record.environment, record.run.seed
    curve = losses(record)
    sharpness = cell.sample(SHARPNESS).get(seed)
    return SeedResult(
        seed=seed,
        status=status(record),
        reason=brief(ended.reason) if ended else "",
        first_loss=curve[0][1] if curve else math.nan,
        final_loss=final_loss(record),
        steps=ended.steps if ended else 0,
        steps_to_target=None if cell.goal.loss is None else to_target(cell, STEPS).get(seed),
        log_sharpness=sharpness.on("log") if sharpness else math.nan,
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
