"""How much each arm was tuned: from its trials or, without tuning, from grids among the arms."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from clipbench.budget import Unit
from clipbench.judging.cells import Cell, grouped
from clipbench.judging.checks.evidence import Effort
from clipbench.judging.tuning.trials import Edge, edge, edges, is_number
from clipbench.judging.words import number
from clipbench.quantities import final_loss
from clipbench.questions import Tuned, Tuning
from clipbench.records import Arm, Options, Run, Value


def recorded(tuning: Tuning, runs: Mapping[str, Run], *, crashed: Collection[str] = ()) -> tuple[Effort, ...]:
    """The effort of every arm that was tuned.

    `runs` are those of the trials, planned or made, by their keys, and `crashed` are the keys of those that failed; a
    trial without a run has cost nothing.
    """
    return tuple(_of_trials(tuned, tuning, runs, crashed) for tuned in tuning.arms)


def grids(runs: Iterable[Run], cells: Sequence[Cell]) -> tuple[Effort, ...]:
    """The effort of each arm where some are the points of a grid: `sgd[lr=0.1]`, `sgd[lr=0.3]`; else none.

    Where the best value lies is known from the cells, once the runs are made.
    """
    by_task = grouped(runs, lambda run: run.task.name)
    if not any(family(run.arm.name) != run.arm.name for of_task in by_task.values() for run in of_task):
        return ()
    losses = {(cell.task, cell.arm): _mean_loss(cell) for cell in cells}
    return tuple(
        _of_grid(task, name, group, losses)
        for task, of_task in by_task.items()
        for name, group in grouped(of_task, lambda run: family(run.arm.name)).items()
    )


def family(arm: str) -> str:
    """The name that the spec gave to the whole grid: `sgd` for `sgd[lr=0.1]`."""
    return arm.partition("[")[0] if arm.endswith("]") else arm


def _of_trials(tuned: Tuned, tuning: Tuning, runs: Mapping[str, Run], crashed: Collection[str]) -> Effort:
    keys = tuple(key for trial in tuned.trials for key in trial.keys)
    best = tuned.selected or {}
    return Effort(
        task=tuned.task,
        arm=tuned.arm,
        trials=len(tuned.trials),
        seeds=tuning.seeds,
        searched=tuple(space.setting for space in tuned.spaces),
        spent=_spent(runs[key] for key in keys if key in runs),
        edges=tuple(_at_edge(tuned.task, tuned.arm, option, best, where) for option, where in edges(tuned).items()),
        keys=keys,
        crashed=tuple(str(runs[key]) for key in keys if key in runs and key in crashed),
        absent=tuple(key for key in keys if key not in runs),
    )


def _of_grid(task: str, name: str, runs: Sequence[Run], losses: Mapping[tuple[str, str], float | None]) -> Effort:
    arms = {run.arm.name: _settings(run.arm) for run in runs}
    options = dict.fromkeys(option for settings in arms.values() for option in settings)
    searched = [option for option in options if len({str(settings.get(option)) for settings in arms.values()}) > 1]
    ended = {arm: loss for arm in arms if (loss := losses.get((task, arm))) is not None}
    best = arms[min(ended, key=ended.__getitem__)] if ended else {}
    ordered = [option for option in searched if all(is_number(settings.get(option)) for settings in arms.values())]
    at = {option: edge(option, at=best, among=arms.values()) for option in ordered if best}
    return Effort(
        task=task,
        arm=name,
        trials=len(arms),
        seeds=tuple(sorted({run.seed for run in runs})),
        searched=tuple(searched),
        spent=_spent(runs),
        edges=tuple(_at_edge(task, name, option, best, where) for option, where in at.items() if where),
        declared=False,
    )


def _at_edge(task: str, arm: str, option: str, best: Options, where: Edge) -> str:
    value = best[option]
    shown = number(value, 4) if is_number(value) else value
    return f"{option} of {arm} on {task} is {shown}, the {where} value tried"


def _spent(runs: Iterable[Run]) -> dict[Unit, float]:
    spent: dict[Unit, float] = {}
    for run in runs:
        spent[run.budget.unit] = spent.get(run.budget.unit, 0.0) + run.budget.amount
    return spent


def _settings(arm: Arm) -> dict[str, Value]:
    return {**arm.options, "clip": 0.0 if arm.clip is None else arm.clip.amount}


def _mean_loss(cell: Cell) -> float | None:
    """The mean final loss; None where a seed is missing from it, so that a lucky survivor is not the best."""
    losses = [final_loss(record) for record in cell.counted]
    return sum(losses) / len(losses) if losses and len(cell.finished) == len(cell.records) else None
