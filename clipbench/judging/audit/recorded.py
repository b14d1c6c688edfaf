"""What the trials of a spec with tuning cost each arm, from the question and the runs of the trials."""

from collections.abc import Collection, Mapping

from clipbench.budget import Unit
from clipbench.judging.audit.evidence import Effort
from clipbench.judging.tuning.trials import edges
from clipbench.questions import Tuned, Tuning
from clipbench.records import Run


def recorded(tuning: Tuning, runs: Mapping[str, Run], *, crashed: Collection[str] = ()) -> tuple[Effort, ...]:
    """How the settings of every arm that was tuned were chosen.

    Args:
        tuning: what the question says of it.
        runs: those of the trials, planned or made, by their keys; a trial without a run has cost nothing.
        crashed: the keys of those that failed.
    """
    return tuple(_effort(tuned, tuning, runs, crashed) for tuned in tuning.arms)


def _effort(tuned: Tuned, tuning: Tuning, runs: Mapping[str, Run], crashed: Collection[str]) -> Effort:
    keys = tuple(key for trial in tuned.trials for key in trial.keys)
    spent: dict[Unit, float] = {}
    for run in (runs[key] for key in keys if key in runs):
        spent[run.budget.unit] = spent.get(run.budget.unit, 0.0) + run.budget.amount
    return Effort(
        task=tuned.task,
        arm=tuned.arm,
        trials=len(tuned.trials),
        seeds=tuning.seeds,
        searched=tuple(space.setting for space in tuned.spaces),
        spent=spent,
        edges=tuple(edges(tuned)),
        keys=keys,
        crashed=tuple(str(runs[key]) for key in keys if key in runs and key in crashed),
        absent=tuple(key for key in keys if key not in runs),
    )
