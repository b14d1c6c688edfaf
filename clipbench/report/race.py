"""The race to the target: speed-ups over tasks, and a performance profile."""

import math
from collections.abc import Callable
from dataclasses import replace

from clipbench.judging.comparison import Comparison
from clipbench.judging.paired import Paired
from clipbench.judging.race import RACE_FACTORS, RaceRow, SpeedUp
from clipbench.judging.words import count, goal, named_goal, number
from clipbench.quantities import SECONDS_TO_TARGET
from clipbench.report.columns import arm_column, if_any, of_pairs, ratio_cell, ratio_column
from clipbench.report.numbers import NONE, Parts
from clipbench.report.table import Column, Table


def table(comparison: Comparison) -> Table[RaceRow]:
    """How much faster or slower than the baseline each arm reaches the target."""
    targets = [head.target for head in comparison.tasks if head.target]
    goals = {goal(target) if target.quantity else f"the {named_goal(target)}" for target in targets}
    target = goals.pop() if len(goals) == 1 else "each task's target"
    cost = "seconds" if comparison.metric.quantity.name == SECONDS_TO_TARGET else "steps"
    several = len(comparison.tasks) > 1
    base = comparison.baseline
    within = tuple(_within(place) for place in range(len(RACE_FACTORS)))
    return Table(
        name="race",
        title=f"The race to {target}, over all tasks and seeds",
        note=(
            f"Speed-up: {base}'s cost over the arm's; geometric mean over {'tasks' if several else 'seeds'} with 95 % "
            f"confidence interval; (n) {'tasks' if several else 'seeds'}. A miss counts as the end of its run plus one "
            "evaluation: ≥ means at least, ≤ at most. Pairs in which both missed are counted under 'neither', not in "
            f"the mean. Within k×: the share of seeds and tasks on which the arm needs at most k times the "
            f"{cost} of the fastest arm (a performance profile); a miss is never within."
        ),
        columns=(
            arm_column(),
            _speed_up("steps", lambda row: row.steps, "speed-up in steps", ("speed-up", "in steps")),
            _speed_up("seconds", lambda row: row.seconds, "in seconds"),
            Column(
                "both",
                "pairs in which the arm and the baseline reached the target",
                lambda row: row.both,
                "both",
                spare=True,
            ),
            Column(
                "only_arm",
                "pairs in which only this arm reached the target",
                lambda row: row.only_arm,
                "only arm",
                spare=True,
            ),
            _pairs(
                "only_baseline",
                "only the baseline reached",
                lambda row: row.only_baseline,
                f"only {base}",
                ("only", "baseline"),
            ),
            _pairs("neither", "both missed", lambda row: row.neither, stacked=("nei-", "ther")),
            Column("instances", "number of instances (a seed on a task) that ended", lambda row: row.instances),
            Column(
                "reached",
                "number of instances that reached the target",
                lambda row: row.reached,
                "reached",
                lambda row: (f"{row.reached}/{row.instances}",),
            ),
            *within,
        ),
        order=(
            *("arm", "speed_up_steps", "speed_up_seconds", "both", "only_arm", "only_baseline", "neither"),
            *(column.name for column in within),
            "reached",
        ),
        rows=comparison.race,
    )


def _speed_up(
    name: str, speed_up: Callable[[RaceRow], SpeedUp | None], heading: str, stacked: Parts = ()
) -> Column[RaceRow]:
    def factor(row: RaceRow) -> Paired | None:
        measured = speed_up(row)
        return None if measured is None else measured.paired

    def shown(row: RaceRow) -> Parts:
        ratio = factor(row)
        if ratio is None or not ratio.n:
            return ratio_cell(ratio)
        *parts, _ = ratio_cell(ratio)
        measured = speed_up(row)
        if measured and measured.over == "tasks":
            return *parts, f"({count(ratio.n, 'task')})"
        return *parts, of_pairs(ratio.turned())  # the arm's count first, as in the main table

    meaning, over = f"the baseline's {name} over the arm's", "tasks in the mean, or of seeds if there is a single task"
    ratio = ratio_column(f"speed_up_{name}", meaning, factor, heading, shown, stacked=stacked, over=over)
    pairs = Column(
        f"speed_up_{name}_over",
        "whether the mean is over tasks or seeds",
        if_any(speed_up, lambda measured: measured.over),
    )
    return replace(ratio, beside=(*ratio.beside, pairs))


def _pairs(
    name: str, which: str, pairs: Callable[[RaceRow], int], heading: str = "", stacked: Parts = ()
) -> Column[RaceRow]:
    return Column(name, f"pairs in which {which} the target", pairs, heading or name, stacked=stacked, spare=True)


def _within(place: int) -> Column[RaceRow]:
    factor = number(RACE_FACTORS[place])
    return Column(
        f"within_{factor}",
        f"share of instances within {factor} times the fastest arm's cost",
        lambda row: row.within[place],
        f"within {factor}×",
        lambda row: (_percent(row.within[place]),),
    )


def _percent(share: float) -> str:
    return NONE if math.isnan(share) else f"{100 * share:.0f} %"
