"""Grids as they stand in results without tuning: arms named `sgd[lr=0.1]`, `sgd[lr=0.3]`, each point an arm."""

from collections.abc import Mapping, Sequence

from clipbench.budget import Unit
from clipbench.judging.audit.evidence import Effort, Evidence, grouped
from clipbench.judging.cells import Cell
from clipbench.judging.tuning.trials import edge, is_number
from clipbench.records import Arm, Run, Value


def grids(evidence: Evidence) -> tuple[Effort, ...]:
    """How many settings each arm of a spec with grids was given; none where no arm is a grid's point.

    Where the best value lies is known once the runs are made.
    """
    if not any(_is_point(run.arm) for run in evidence.runs):
        return ()
    ends = {(cell.task, cell.arm): _mean_loss(cell) for cell in evidence.cells}
    found = []
    for task, of_task in evidence.by_task.items():
        for name, group in grouped(of_task, lambda run: _family(run.arm)).items():
            losses = {arm: loss for (where, arm), loss in ends.items() if where == task and loss is not None}
            found.append(_effort(task, name, group, losses))
    return tuple(found)


def _effort(task: str, name: str, runs: Sequence[Run], losses: Mapping[str, float]) -> Effort:
    arms = {run.arm.name: run.arm for run in runs}
    settings = {arm: _settings(described) for arm, described in arms.items()}
    searched = [
        option
        for option in dict.fromkeys(option for values in settings.values() for option in values)
        if len({str(values.get(option)) for values in settings.values()}) > 1
    ]
    spent: dict[Unit, float] = {}
    for run in runs:
        spent[run.budget.unit] = spent.get(run.budget.unit, 0.0) + run.budget.amount
    ended = [arm for arm in arms if arm in losses]
    best = min(ended, key=lambda arm: losses[arm], default=None)
    return Effort(
        task=task,
        arm=name,
        trials=len(arms),
        seeds=tuple(sorted({run.seed for run in runs})),
        searched=tuple(searched),
        spent=spent,
        edges=() if best is None else tuple(option for option in searched if _at_edge(option, best, settings)),
        declared=False,
    )


def _at_edge(option: str, best: str, settings: Mapping[str, Mapping[str, Value]]) -> bool:
    """Whether the best value lies at the edge of those tried; among values that are no numbers there is none."""
    among = list(settings.values())
    if not all(is_number(values.get(option)) for values in among):
        return False
    return edge(option, at=settings[best], among=among) is not None


def _settings(arm: Arm) -> dict[str, Value]:
    return {**arm.optimizer.options, "clip": 0.0 if arm.clip is None else arm.clip.amount}


def _is_point(arm: Arm) -> bool:
    return "[" in arm.name and arm.name.endswith("]")


def _family(arm: Arm) -> str:
    """The name that the spec gave to the whole grid."""
    return arm.name.partition("[")[0] if _is_point(arm) else arm.name


def _mean_loss(cell: Cell) -> float | None:
    """The mean final loss; None where a seed is missing from it, so that a lucky survivor is not the best."""
    losses = [run.final_loss for run in cell.counted]
    return sum(losses) / len(losses) if losses and len(cell.finished) == len(cell.runs) else None
