"""From records to a suite: what the gate needs to know of each run, and the runs of an arm in one place."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from clipbench.errors import UndecidedError
from clipbench.judging.cells import Cell, cells
from clipbench.judging.current import in_force
from clipbench.judging.gate.suite import ArmResult, SeedResult, Suite
from clipbench.judging.metrics import RunMetrics
from clipbench.judging.remarks import remarks
from clipbench.judging.words import brief, number
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
        seeds=tuple(map(_seed, cell.records, cell.runs)),
        consecutive=question.consecutive,
    )


def _seed(record: Record, found: RunMetrics) -> SeedResult:
    ended, place = record.outcome, record.environment
    return SeedResult(
        seed=found.seed,
        status=found.status,
        reason=brief(ended.reason) if ended else "",
        first_loss=found.curve[0].value if found.curve else math.nan,
        final_loss=found.final_loss,
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
