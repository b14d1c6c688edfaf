"""The table of the first screen on one task: a line for each arm, with drawings as far as there is room."""

import math
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from rich.cells import cell_len

from clipbench.harmless import on_one_line, shortened
from clipbench.judging.comparison import Comparison, Row
from clipbench.judging.words import count, goal, number
from clipbench.quantities import STEPS_TO_TARGET
from clipbench.records import DIRECTIONAL_SHARPNESS
from clipbench.report import arms
from clipbench.report.answers import corrected, metric_name
from clipbench.report.drawing import INNER, MISSED, OUTER, Axis, Interval, axis, bar
from clipbench.report.numbers import NONE, Parts
from clipbench.report.table import Column, RowT, Table

MOST_ARMS = 8  # lines of arms on a screen
SIZES = (  # the widths of a bar and of an interval, the first that fits; 0 for none
    *zip(range(20, 11, -1), range(40, 23, -2), strict=True),
    *((8, 24), (0, 40), (0, 32), (0, 24), (20, 0), (12, 0), (8, 0), (0, 0)),
)
_NAME = 12  # a longer name of the baseline is not in a heading
_SHORT = 24  # to so many characters the names of arms are shortened that leave no room for drawings
GAP = 2  # blanks between columns
UNKNOWN = (math.nan, math.nan)


def of_arms(comparison: Comparison, rows: Sequence[Row]) -> Table[Row]:
    """A line for each arm; of many arms, the decided ones and the best undecided ones."""
    ranks = {"baseline": 0, "undecided": 2, "broken": 3}
    shown = best_shown(rows, lambda row: ranks.get(row.verdict, 1))
    hidden = Counter(row.verdict for row in rows if row not in shown)
    more = [f"and {hidden.total()} more: {', '.join(f'{n} {word}' for word, n in hidden.items())}"] if hidden else []
    asked = {"verdict", "arm", *map(arms.name_of, (*comparison.others, *comparison.goals))}
    columns = telling(_columns(comparison), shown, asked)
    [head] = comparison.tasks
    target = goal(head.target) if head.target else ""
    told = comparison.others or {"steps", "reached"} & {column.name for column in columns}
    raced = "" if told else _alike(rows, target)
    note, better = list(filter(None, [*more, _marks(comparison, shown), raced])), comparison.metric.quantity.better
    table = Table(
        name="screen",
        columns=columns,
        rows=shown,
        note=" · ".join(note),
        style=lambda row: arms.mark(row.verdict, better)[1],
        ruled=False,
    )

    def fitted(width: int) -> Table[Row]:
        drawn, signs = _with_drawings(comparison, columns, shown, width)
        return replace(table, columns=drawn, note=" · ".join([*note, *signs]))

    return replace(table, fitted=fitted)


def _alike(rows: Sequence[Row], target: str) -> str:
    """How all arms raced to the target, where no column tells it."""
    races = [row.steps for row in rows if row.steps and row.steps.seeds]
    hits, seeds = sum(race.hits for race in races), sum(race.seeds for race in races)
    if not races:
        return ""
    if not hits:
        return f"no run reached {target}"
    medians, steps = {race.median for race in races}, {each for race in races for each in race.by_seed.values()}
    if hits == seeds and len(medians) == 1:
        where = "at step" if len(steps) == 1 else "at a median step of"
        return f"all reach {target} {where} {number(medians.pop(), 6)}"
    return f"{hits} of {count(seeds, 'run')} reached {target}"


def best_shown(rows: Sequence[RowT], rank: Callable[[RowT], int]) -> list[RowT]:
    """At most MOST_ARMS rows in their order: those of the least rank, and of these the first."""
    kept = sorted(range(len(rows)), key=lambda at: rank(rows[at]))[:MOST_ARMS]
    return [rows[at] for at in sorted(kept)]


def _columns(comparison: Comparison) -> list[Column[Row]]:
    """The columns that are not drawn."""
    known = {column.name: column for column in arms.columns(comparison)}
    metric, base = str(comparison.metric), comparison.baseline
    whose = (base, f"{base}'s") if len(base) <= _NAME else ("baseline", "baseline's")
    heading = f"over {whose[1]}" if comparison.metric.quantity.scale == "log" else f"minus {whose[0]}"

    def mean(row: Row) -> Parts:
        cell = arms.mean_cell(row.others[metric])
        return cell if metric in map(str, comparison.others) else cell[:1]

    def difference(row: Row) -> Parts:
        return arms.contrast_cell(row)[:1]

    def steps(row: Row) -> Parts:
        return (number(row.steps.median, 6) if row.steps and math.isfinite(row.steps.median) else NONE,)

    def reached(row: Row) -> Parts:
        return (f"{row.steps.hits}/{row.steps.seeds}" if row.steps else NONE,)

    to_target = [
        replace(known["steps_to_target"], name="steps", value=None, shown=steps, beside=()),
        Column("reached", shown=reached, heading="reached"),
    ]
    others = [known[arms.name_of(along)] for along in comparison.others if str(along) != metric]
    there = {metric, *map(str, comparison.others)}
    goals = [known[arms.name_of(goal)] for goal in comparison.goals if str(goal) not in there]
    return [
        known["verdict"],
        known["arm"],
        known["seeds_finished"],
        *(others if comparison.others else to_target),
        *(replace(goal, shown=_first_part(goal)) for goal in goals),
        *([] if metric == STEPS_TO_TARGET else [Column(metric, shown=mean, heading=metric_name(comparison))]),
        replace(known["contrast"], heading=heading, stacked=(), shown=difference),
    ]


def telling(
    columns: Sequence[Column[RowT]], rows: Sequence[RowT], asked: Container[str] = ("arm",)
) -> list[Column[RowT]]:
    """The columns that are asked for, or are neither empty nor the same in all of several rows."""
    cells = {column.name: {column.cell(row) for row in rows} for column in columns}
    dull = {name for name, texts in cells.items() if texts <= {(NONE,), ("0",)} or (len(texts) == 1 < len(rows))}
    return [column for column in columns if column.name in asked or column.name not in dull]


def wide(columns: Sequence[Column[RowT]], rows: Sequence[RowT]) -> int:
    """How wide a table of these columns is."""
    cells = [[column.heading or "", *(" ".join(column.cell(row)) for row in rows)] for column in columns]
    return sum(max(cell_len(on_one_line(cell)) for cell in of_column) + GAP for of_column in cells) - GAP


def _with_drawings(
    comparison: Comparison, columns: Sequence[Column[Row]], rows: Sequence[Row], width: int
) -> tuple[list[Column[Row]], list[str]]:
    """The columns, with bars, intervals and more numbers as far as there is room; and what the drawn signs mean."""
    line = _axis(rows, comparison)
    size = _size(columns, rows, line, width)
    if not size[1]:
        short = [_with_short_names(column, rows) if column.name == "arm" else column for column in columns]
        if (smaller := _size(short, rows, line, width)) != size:
            columns, size = short, smaller
    drawn = _drawn(columns, rows, line, size)
    extras = [] if comparison.others else telling(_extras(comparison), rows)
    for column in extras:
        means_alone = replace(column, shown=_first_part(column))
        if wide([*drawn, column], rows) <= width:
            drawn.append(column)
        elif column.name == "sharpness":
            narrower = _size([*columns, means_alone], rows, line, width)
            if list(map(bool, narrower)) == list(map(bool, size)):  # with the same drawings, if smaller
                size = narrower
                drawn = [*_drawn(columns, rows, line, size), means_alone]
    for_bar, for_line = size
    signs = []
    if line and for_line:
        tests = corrected(comparison.rows)
        wider = f", {OUTER} the verdict's (Holm, {tests} differences)" if tests > 1 else ""
        signs.append(f"{INNER} 95 %{wider}")
    has_steps = any(column.name == "steps" for column in columns)
    if has_steps and for_bar and any(row.steps and math.isinf(row.steps.median) for row in rows):
        signs.append(f"{MISSED} missed on most seeds")
    return drawn, signs


def _with_short_names(column: Column[Row], rows: Sequence[Row]) -> Column[Row]:
    """The column of arms with the middle of long names left out, where the names then still differ."""
    short = {row.arm: shortened(row.arm, _SHORT) for row in rows}
    if len(set(short.values())) < len(short):
        return column
    return replace(column, shown=lambda row: (short[row.arm],))


def _size(columns: Sequence[Column[Row]], rows: Sequence[Row], line: Axis | None, width: int) -> tuple[int, int]:
    """The widths of a bar and of an interval with which a table of these columns fits; 0 for none."""
    fits = (size for size in SIZES if wide(_drawn(columns, rows, line, size), rows) <= width)
    return next(fits, SIZES[-1])


def _drawn(
    columns: Sequence[Column[Row]], rows: Sequence[Row], line: Axis | None, size: tuple[int, int]
) -> list[Column[Row]]:
    """The columns, with bars and intervals of this size."""
    for_bar, for_line = size
    drawn = [_barred(column, rows, for_bar) if for_bar and column.name == "steps" else column for column in columns]
    return [*drawn, *([_intervals(replace(line, width=for_line))] if line and for_line else [])]


def _extras(comparison: Comparison) -> list[Column[Row]]:
    """The columns that stand behind the others where there is room: sharpness, if it is not there, and time."""
    known = {column.name: column for column in arms.columns(comparison)}
    sharpness = [] if comparison.metric.quantity.name == DIRECTIONAL_SHARPNESS else [known["sharpness"]]
    return [*(replace(column, heading="sharpness") for column in sharpness), known["step_ms"]]


def _first_part(column: Column[Row]) -> Callable[[Row], Parts]:
    return lambda row: column.cell(row)[:1]


def _axis(rows: Sequence[Row], comparison: Comparison) -> Axis | None:
    """For the intervals of all rows; None where no row has one."""
    known = [pair for row in rows if not math.isnan((pair := _both_intervals(row))[0][0])]
    if not known:
        return None
    inner, outer = zip(*known, strict=True)
    return axis(inner, outer, 0, comparison.metric.quantity.scale)


def _both_intervals(row: Row) -> tuple[Interval, Interval]:
    """The 95 % interval and the verdict's; of identical arms a point, though their rounding has a width."""
    if row.against is None or row.judged is None:
        return UNKNOWN, UNKNOWN
    if row.against.identical:
        return (0.0, 0.0), (0.0, 0.0)
    return row.against.interval(), (row.judged.low, row.judged.high)


def _intervals(line: Axis) -> Column[Row]:
    def shown(row: Row) -> Parts:
        inner, outer = _both_intervals(row)
        mean = row.against.mean if row.against and row.judged else math.nan
        return (line.interval(mean, inner, outer),)

    return Column("interval", shown=shown, heading=line.labels(), stacked=(line.labels(),), right=False)


def _barred(steps: Column[Row], rows: Sequence[Row], width: int) -> Column[Row]:
    """The steps to the target, each with its bar."""
    room = max(len(steps.cell(row)[0]) for row in rows)
    lengths = {row.arm: row.steps.median if row.steps else math.nan for row in rows}
    longest = max(filter(math.isfinite, lengths.values()), default=0.0)

    def shown(row: Row) -> Parts:
        return (f"{steps.cell(row)[0]:>{room}} {bar(lengths[row.arm], longest, width)}",)

    return replace(steps, shown=shown, right=False)


def _marks(comparison: Comparison, rows: Sequence[Row]) -> str:
    """What the marks of these rows mean."""
    better, words = comparison.metric.quantity.better, {"broken": "a seed diverged or failed"}
    seen = dict.fromkeys(row.verdict for row in rows if row.verdict != "baseline")
    return "  ".join(f"{arms.mark(word, better)[0]} {words.get(word, word)}" for word in seen)
