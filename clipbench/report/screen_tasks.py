"""The table of the first screen on several tasks: a line for each arm, with what it won and lost."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipbench.judging.comparison import Comparison
from clipbench.judging.paired import Paired
from clipbench.report.answers import metric_name, sides
from clipbench.report.columns import arm_column, ratio_cell
from clipbench.report.drawing import INNER, Axis, axis
from clipbench.report.numbers import NONE, Parts
from clipbench.report.screen_tables import GAP, SIZES, UNKNOWN, best_shown, telling, wide
from clipbench.report.table import Column, Table

_LEAST_LINE = 24


@dataclass(frozen=True)
class _OverTasks:
    """An arm over all tasks: its speed-up, how often it reached the target, and its verdicts by word."""

    arm: str
    speed: Paired | None
    reached: str
    verdicts: Counter[str]


def of_tasks(comparison: Comparison) -> Table[_OverTasks]:
    """A line for each arm: its speed-up, and on how many tasks it won, lost and is undecided."""
    better, base = comparison.metric.quantity.better, comparison.baseline
    won, lost = sides(comparison)

    def merit(row: _OverTasks) -> tuple[int, float]:
        speed = -row.speed.mean if row.speed and row.speed.n else math.inf
        return row.verdicts[lost] - row.verdicts[won], 0.0 if row.arm == base and comparison.race else speed

    rows = sorted(_arms_over_tasks(comparison), key=merit)
    shown = best_shown(rows, lambda row: 0 if row.arm == base else 1 if row.verdicts[won] + row.verdicts[lost] else 2)
    wanted: dict[str, tuple[str, ...]] = {
        (won if better == "neither" else "won"): (won,),
        (lost if better == "neither" else "lost"): (lost,),
        "undecided": ("undecided",),
        "equal": ("identical", "equivalent"),
        "broken": ("broken",),
    }
    columns: list[Column[_OverTasks]] = [
        arm_column(),
        Column("speed", shown=lambda row: ratio_cell(row.speed)[:1], heading="speed-up"),
        Column("reached", shown=lambda row: (row.reached,), heading="reached"),
        *(_tasks_with(heading, words) for heading, words in wanted.items()),
    ]
    columns = telling(columns, shown)
    hidden = [f"and {len(rows) - len(shown)} more"] if len(rows) > len(shown) else []
    meant = f"{next(iter(wanted))}: tasks on which the {metric_name(comparison)} is shown to be {won} than {base}'s"

    table = Table("screen", columns, shown, note=" · ".join([*hidden, meant]), ruled=False)

    def fitted(width: int) -> Table[_OverTasks]:
        room = min(width - wide(columns, shown) - GAP, SIZES[0][1])
        line = _speed_axis(shown, room) if room >= _LEAST_LINE else None
        if line is None:
            return table
        sign = f"speed-up: in steps to the target; {INNER} 95 % interval over tasks"
        return replace(table, columns=[*columns, _speeds(line)], note=f"{table.note} · {sign}")

    return replace(table, fitted=fitted)


def _arms_over_tasks(comparison: Comparison) -> list[_OverTasks]:
    raced = {row.arm: row for row in comparison.race}
    verdicts: dict[str, Counter[str]] = {}
    for row in comparison.rows:
        verdicts.setdefault(row.arm, Counter())[row.verdict] += 1
    return [
        _OverTasks(arm, race.steps.paired if race.steps else None, f"{race.reached}/{race.instances}", words)
        if (race := raced.get(arm))
        else _OverTasks(arm, None, NONE, words)
        for arm, words in verdicts.items()
    ]


def _tasks_with(heading: str, words: Sequence[str]) -> Column[_OverTasks]:
    def shown(row: _OverTasks) -> Parts:
        tasks = sum(row.verdicts[word] for word in words)
        return (NONE if row.verdicts["baseline"] else str(tasks),)

    return Column(heading, shown=shown, heading=heading)


def _speed_axis(rows: Sequence[_OverTasks], width: int) -> Axis | None:
    known = [row.speed.interval() for row in rows if row.speed and row.speed.n > 1]
    return axis(known, known, width, "log") if known else None


def _speeds(line: Axis) -> Column[_OverTasks]:
    def shown(row: _OverTasks) -> Parts:
        if row.speed is None:
            return (line.interval(math.nan, UNKNOWN, UNKNOWN),)
        return (line.interval(row.speed.mean, row.speed.interval(), UNKNOWN),)

    return Column("interval", shown=shown, heading=line.labels(), stacked=(line.labels(),), right=False)
