"""The runs of a plan: what is tried, what is reported, how much of it is already made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clipbench.judging.words import count, listing, number
from clipbench.planning.staging import Stage
from clipbench.records import Run
from clipbench.report.selection import settings_text
from clipbench.report.table import Column, Document, Paragraph, Table, text_column

AS_WRITTEN, LATER = "as written", "selected after tuning"


@dataclass(frozen=True)
class PlannedArm:
    """The runs of one arm on one task: how many there are, and how many of them are already made.

    `trials` is how many of its settings are tried; 0 where it is reported, and then `settings` says which.
    `spent` is the budget of all its runs together.
    """

    task: str
    arm: str
    trials: int
    settings: str
    budget: str
    seeds: tuple[int, ...]
    reused: int
    missing: int
    spent: str


def planned_arms(stage: Stage, *, missing: Collection[str]) -> list[PlannedArm]:
    """The runs of a plan by task and arm, in the plan's order: first the trials, then what is reported.

    Args:
        stage: all runs of the plan.
        missing: the keys of those that are not yet made.
    """
    tuned = stage.question.tuning.arms if stage.question.tuning else ()
    settings = {(one.task, one.arm): LATER if one.selected is None else settings_text(one.selected) for one in tuned}
    reported = _by_arm([*stage.runs, *stage.waiting])
    tasks, arms = list(dict.fromkeys(task for task, _ in reported)), stage.question.arms
    in_order = sorted(reported, key=lambda place: (tasks.index(place[0]), arms.index(place[1])))
    unmade = {*missing, *(run.key for run in stage.waiting)}
    return [
        *(_planned(group, missing, is_trial=True) for group in _by_arm(stage.trials).values()),
        *(_planned(reported[place], unmade, settings=settings.get(place, AS_WRITTEN)) for place in in_order),
    ]


def document(stage: Stage, *, missing: Collection[str]) -> Document:
    """What a spec asks for, and how much of it is already made.

    Args:
        stage: all runs of the plan.
        missing: the keys of those that are not yet made.
    """
    arms = planned_arms(stage, missing=missing)
    reported, tried = [arm for arm in arms if not arm.trials], [arm for arm in arms if arm.trials]
    reused, to_make = sum(arm.reused for arm in arms), sum(arm.missing for arm in arms)
    names, sizes = ("task", "arm"), ("runs", "reused", "missing")
    if stage.question.tuning is None:
        tables = [Table("plan", _COLUMNS, reported, order=(*names, "budget", "seeds", *sizes))]
    else:
        trials, settings = ("budget", "seeds", "trials", "spent"), ("settings", "budget", "seeds")
        tables = [
            Table("trials", _COLUMNS, tried, title="Trials", order=(*names, *trials, *sizes)),
            Table("plan", _COLUMNS, reported, title="Runs that are reported", order=(*names, *settings, *sizes)),
        ]
    total = f"{count(reused + to_make, 'run')}: {reused} reused, {to_make} to make"
    return Document((*tables, Paragraph(total)), lines=Table("plan", _COLUMNS, arms))


def _by_arm(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.task.name, run.trial_of or run.arm.name), []).append(run)
    return groups


def _planned(
    runs: Sequence[Run], missing: Collection[str], *, is_trial: bool = False, settings: str = ""
) -> PlannedArm:
    unmade = sum(run.key in missing for run in runs)
    first = runs[0]
    return PlannedArm(
        task=first.task.name,
        arm=first.trial_of or first.arm.name,
        trials=len({run.arm.name for run in runs}) if is_trial else 0,
        settings=settings,
        budget=str(first.budget),
        seeds=tuple(dict.fromkeys(run.seed for run in runs)),
        reused=len(runs) - unmade,
        missing=unmade,
        spent=f"{number(first.budget.amount * len(runs), 6)} {first.budget.unit}",
    )


_COLUMNS: tuple[Column[PlannedArm], ...] = (
    text_column("task", "the task's name", lambda arm: arm.task),
    text_column("arm", "the arm's name", lambda arm: arm.arm),
    Column("trials", "how many settings are tried; 0 where it is reported", lambda arm: arm.trials, "trials"),
    text_column("settings", "where those come from that are reported", lambda arm: arm.settings),
    text_column("budget", "of each run", lambda arm: arm.budget),
    Column("seeds", "their seeds", lambda arm: arm.seeds, "seeds", lambda arm: (listing(arm.seeds),), right=False),
    Column("runs", "how many there are", shown=lambda arm: (str(arm.reused + arm.missing),), heading="runs"),
    Column("reused", "how many are there already", lambda arm: arm.reused, "reused"),
    Column("missing", "how many are to be made", lambda arm: arm.missing, "missing"),
    Column("spent", "the budget of all its runs together", lambda arm: arm.spent, "in all"),
)
