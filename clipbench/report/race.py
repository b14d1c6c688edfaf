"""The race to the target: speed-ups over tasks, and a performance profile."""

import math
from collections.abc import Callable

from clipbench.judging.comparison import Comparison
from clipbench.judging.paired import Paired
from clipbench.judging.race import RACE_FACTORS, RaceRow, SpeedUp
from clipbench.judging.words import number
from clipbench.quantities import SECONDS_TO_TARGET
from clipbench.report.columns import Column
from clipbench.report.fields import Field
from clipbench.report.numbers import NONE, Parts
from clipbench.report.section import Section, arm_column, ratio_cell, ratio_fields


def section(comparison: Comparison) -> Section:
    target = NONE if comparison.target is None else number(comparison.target, 6)
    cost = "seconds" if comparison.metric.quantity.name == SECONDS_TO_TARGET else "steps"
    several = len(comparison.tasks) > 1
    base = comparison.baseline
    return Section(
        name="race",
        title=f"The race to the loss {target}, over all tasks and seeds",
        legend=(
            f"Speed-up: {base}'s cost over the arm's, a geometric mean over {'tasks' if several else 'seeds'} with its "
            "95 % interval. A miss counts as the end of its run plus one evaluation, so that ≥ and ≤ say at least "
            "and at most; pairs in which both missed are in no mean, and are counted beside it. "
            f"Within k×: share of the tasks and seeds in which the arm was there within k times the {cost} of the "
            "first (a performance profile); a miss is ∞ times."
        ),
        columns=(
            arm_column(),
            Column("speed-up in steps", ("speed-up", "in steps"), lambda row: _speed_up(row.steps)),
            Column("in seconds", ("in", "seconds"), lambda row: _speed_up(row.seconds)),
            Column("both", ("both",), lambda row: (str(row.both),)),
            Column("only it", ("only", "it"), lambda row: (str(row.only_arm),)),
            Column(f"only {base}", ("only", "baseline"), lambda row: (str(row.only_baseline),)),
            Column("neither", ("nei-", "ther"), lambda row: (str(row.neither),)),
            *(_within(place) for place in range(len(RACE_FACTORS))),
            Column("reached", ("reached",), lambda row: (f"{row.reached}/{row.instances}",)),
        ),
        fields=(
            Field("arm", "the arm's name", lambda row: row.arm),
            *_speed_fields("steps", lambda row: row.steps),
            *_speed_fields("seconds", lambda row: row.seconds),
            Field("both", "pairs with the baseline in which both reached it", lambda row: row.both),
            Field("only_arm", "pairs in which only this arm did", lambda row: row.only_arm),
            Field("only_baseline", "pairs in which only the baseline did", lambda row: row.only_baseline),
            Field("neither", "pairs in which neither did", lambda row: row.neither),
            Field("instances", "tasks and seeds it ended", lambda row: row.instances),
            Field("reached", "of which it reached the target", lambda row: row.reached),
            *(_within_field(place) for place in range(len(RACE_FACTORS))),
        ),
        rows=comparison.race,
    )


def _within(place: int) -> Column:
    heading = f"within {number(RACE_FACTORS[place])}×"
    return Column(heading, tuple(heading.split()), lambda row: (_percent(row.within[place]),))


def _within_field(place: int) -> Field:
    factor = number(RACE_FACTORS[place])
    meaning = f"share of instances within {factor} times the first arm's cost"
    return Field(f"within_{factor}", meaning, lambda row: row.within[place])


def _speed_up(of: SpeedUp | None) -> Parts:
    return ("baseline",) if of is None else ratio_cell(of.paired)


def _speed_fields(name: str, of: Callable[[RaceRow], SpeedUp | None]) -> tuple[Field, ...]:
    def factor(row: RaceRow) -> Paired | None:
        found = of(row)
        return found.paired if found else None

    def over(row: RaceRow) -> str | None:
        found = of(row)
        return found.over if found else None

    meaning = f"the baseline's {name} over the arm's"
    return (
        *ratio_fields(f"speed_up_{name}", meaning, factor, over="tasks, or seeds of one task,"),
        Field(f"speed_up_{name}_over", "tasks or seeds", over),
    )


def _percent(share: float) -> str:
    return NONE if math.isnan(share) else f"{100 * share:.0f} %"
