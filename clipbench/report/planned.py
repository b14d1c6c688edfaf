"""The runs of a plan: what is tried, what is reported, how much of it is already made. As a table and as JSON."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType

from clipbench.judging.words import count, listing, number
from clipbench.planning.staging import Stage
from clipbench.records import Run
from clipbench.report.listing import ListFormat, add_row, list_table
from clipbench.report.raw import to_json
from clipbench.report.selection import settings_text
from clipbench.report.text import text_of

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


def plan(stage: Stage, *, missing: Collection[str], fmt: ListFormat = "table") -> RenderableType:
    """What a spec asks for, and how much of it is already made.

    Args:
        stage: all runs of the plan.
        missing: the keys of those that are not yet made.
        fmt: a table for the terminal, or JSON text.
    """
    arms = planned_arms(stage, missing=missing)
    if fmt == "json":
        return to_json([vars(arm) for arm in arms])
    parts: list[RenderableType] = []
    if stage.question.tuning is not None:
        tried = list_table(
            ["task", "arm", "budget", "seeds"], numbers=["trials", "in all", "runs", "reused", "missing"]
        )
        for arm in arms:
            if arm.trials:
                row = arm.task, arm.arm, arm.budget, listing(arm.seeds), str(arm.trials), arm.spent
                add_row(tried, *row, *_sizes(arm))
        parts += [text_of("Trials", style="bold"), tried, text_of(), text_of("Runs that are reported", style="bold")]
    words = ["task", "arm", *(["settings"] if parts else []), "budget", "seeds"]
    table = list_table(words, numbers=["runs", "reused", "missing"])
    for arm in arms:
        if not arm.trials:
            shown = (arm.settings,) if parts else ()
            add_row(table, arm.task, arm.arm, *shown, arm.budget, listing(arm.seeds), *_sizes(arm))
    reused, to_make = sum(arm.reused for arm in arms), sum(arm.missing for arm in arms)
    total = f"{count(reused + to_make, 'run')}: {reused} reused, {to_make} to make"
    return Group(*parts, table, text_of(total))


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


def _sizes(arm: PlannedArm) -> tuple[str, str, str]:
    return str(arm.reused + arm.missing), str(arm.reused), str(arm.missing)
