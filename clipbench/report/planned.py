"""The runs of a plan: trials, reported runs, and how many of them exist."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clipbench.judging.words import count, listing, number
from clipbench.planning.staging import Stage
from clipbench.records import Record, Run
from clipbench.report import groups
from clipbench.report.selection import settings_text
from clipbench.report.table import Column, Document, Paragraph, Table, text_column

AS_WRITTEN, LATER = "as written", "selected after tuning"


@dataclass(frozen=True)
class PlannedArm:
    """The planned runs of an arm on a task, and how many of them exist.

    - `trials`: the number of settings tried; 0 for reported runs, whose settings `settings` names.
    - `spent`: the budget of all runs together.
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
    settings = {
        (search.task, search.arm): LATER if search.selected is None else settings_text(search.selected)
        for search in tuned
    }
    reported = _by_arm([*stage.runs, *stage.waiting])
    tasks, arms = list(dict.fromkeys(task for task, _ in reported)), stage.question.arms
    in_order = sorted(reported, key=lambda place: (tasks.index(place[0]), arms.index(place[1])))
    unmade = {*missing, *(run.key for run in stage.waiting)}
    return [
        *(_planned(group, missing, is_trial=True) for group in _by_arm(stage.trials).values()),
        *(_planned(reported[place], unmade, settings=settings.get(place, AS_WRITTEN)) for place in in_order),
    ]


def document(stage: Stage, *, missing: Collection[str], made: Sequence[Record] = ()) -> Document:
    """The runs of a spec, and how many of them exist.

    Args:
        stage: all runs of the plan.
        missing: the keys of those that are not yet made.
        made: runs of the spec, which show what the groups of an arm take.
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
            Table("plan", _COLUMNS, reported, title="Reported runs", order=(*names, *settings, *sizes)),
        ]
    total = f"{count(reused + to_make, 'run')}: {reused} reused, {to_make} to make"
    if of_groups := groups.planned_rows([*stage.trials, *stage.runs, *stage.waiting], made):
        return Document((*tables, groups.table(of_groups), Paragraph(total)), lines=Table("plan", _COLUMNS, arms))
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
    Column("trials", "number of settings tried; 0 for reported runs", lambda arm: arm.trials, "trials"),
    text_column("settings", "the settings of reported runs", lambda arm: arm.settings),
    text_column("budget", "budget of each run", lambda arm: arm.budget),
    Column(
        "seeds", "seeds of the runs", lambda arm: arm.seeds, "seeds", lambda arm: (listing(arm.seeds),), right=False
    ),
    Column("runs", "number of runs", shown=lambda arm: (str(arm.reused + arm.missing),), heading="runs"),
    Column("reused", "number of runs that exist", lambda arm: arm.reused, "reused"),
    Column("missing", "number of runs to make", lambda arm: arm.missing, "missing"),
    Column("spent", "budget of all runs together", lambda arm: arm.spent, "total"),
)
