"""The tables of the first screen: a line for each arm on one task, or over several tasks."""

import math
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from clipbench.harmless import on_one_line
from clipbench.judging.comparison import Comparison, Row
from clipbench.judging.paired import Paired
from clipbench.judging.words import number
from clipbench.quantities import STEPS_TO_TARGET
from clipbench.report import arms
from clipbench.report.answers import corrected, metric_name
from clipbench.report.columns import arm_column, ratio_cell
from clipbench.report.drawing import INNER, MISSED, OUTER, Axis, axis, bar
from clipbench.report.numbers import NONE, Parts
from clipbench.report.table import Column, RowT, Table

MOST_ARMS = 8  # lines of arms on a screen
_SIZES = (  # the widths of a bar and of an interval, the first that fits; 0 for none
    *zip(range(20, 11, -1), range(40, 23, -2), strict=True),
    *((8, 24), (0, 40), (0, 32), (0, 24), (20, 0), (12, 0), (8, 0), (0, 0)),
)
_LEAST_LINE = 24
_NAME = 12  # a longer name of the baseline is not in a heading
_GAP = 2  # blanks between columns
_UNKNOWN = (math.nan, math.nan)


def of_arms(comparison: Comparison, rows: Sequence[Row]) -> Table[Row]:
    """A line for each arm; of many arms, the decided ones and the best undecided ones."""
    ranks = {"baseline": 0, "undecided": 2, "broken": 3}
    shown = _shown(rows, lambda row: ranks.get(row.verdict, 1))
    hidden = Counter(row.verdict for row in rows if row not in shown)
    more = [f"and {hidden.total()} more: {', '.join(f'{n} {word}' for word, n in hidden.items())}"] if hidden else []
    asked = {"verdict", "arm", *map(arms.name_of, comparison.others)}
    columns = _telling(_columns(comparison), shown, asked)
    note, better = [*more, _marks(comparison, shown)], comparison.metric.quantity.better
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


def _shown(rows: Sequence[RowT], rank: Callable[[RowT], int]) -> list[RowT]:
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
        return arms.mean_cell(row.others[metric])[:1]

    def difference(row: Row) -> Parts:
        return arms.contrast_cell(row)[:1]

    def steps(row: Row) -> Parts:
        return (number(row.steps.median, 6) if row.steps and math.isfinite(row.steps.median) else NONE,)

    def reached(row: Row) -> Parts:
        return (f"{row.steps.hits}/{row.steps.seeds}" if row.steps else NONE,)

    to_target = [
        Column("steps", shown=steps, heading=known["steps_to_target"].heading),
        Column("reached", shown=reached, heading="reached"),
    ]
    return [
        known["verdict"],
        known["arm"],
        known["seeds_finished"],
        *([known[arms.name_of(along)] for along in comparison.others] or to_target),
        *([] if metric == STEPS_TO_TARGET else [Column(metric, shown=mean, heading=metric_name(comparison))]),
        replace(known["contrast"], heading=heading, stacked=(), shown=difference),
    ]


def _telling(
    columns: Sequence[Column[RowT]], rows: Sequence[RowT], asked: Container[str] = ("arm",)
) -> list[Column[RowT]]:
    """The columns that are asked for, or are neither empty nor the same in all of several rows."""
    cells = {column.name: {column.cell(row) for row in rows} for column in columns}
    dull = {name for name, texts in cells.items() if texts <= {(NONE,), ("0",)} or (len(texts) == 1 < len(rows))}
    return [column for column in columns if column.name in asked or column.name not in dull]


def _wide(columns: Sequence[Column[RowT]], rows: Sequence[RowT]) -> int:
    """How wide a table of these columns is."""
    cells = [[column.heading or "", *(" ".join(column.cell(row)) for row in rows)] for column in columns]
    return sum(max(cell_len(on_one_line(cell)) for cell in of_column) + _GAP for of_column in cells) - _GAP


def _with_drawings(
    comparison: Comparison, columns: Sequence[Column[Row]], rows: Sequence[Row], width: int
) -> tuple[list[Column[Row]], list[str]]:
    """The columns, with bars, intervals and more numbers as far as there is room; and what the drawn signs mean."""
    line, has_steps = _axis(rows, comparison), any(column.name == "steps" for column in columns)
    for for_bar, for_line in _SIZES:
        drawn = [_barred(column, rows, for_bar) if for_bar and column.name == "steps" else column for column in columns]
        drawn += [_intervals(replace(line, width=for_line))] if line and for_line else []
        if _wide(drawn, rows) <= width:
            break
    signs = []
    if line and for_line:
        tests = corrected(comparison.rows)
        wider = f", {OUTER} the verdict's (Holm, {tests} differences)" if tests > 1 else ""
        signs.append(f"{INNER} 95 %{wider}")
    if has_steps and for_bar and any(row.steps and math.isinf(row.steps.median) for row in rows):
        signs.append(f"{MISSED} missed on most seeds")
    known = {column.name: column for column in arms.columns(comparison)}
    extras = [replace(known["sharpness"], heading="sharpness"), known["step_ms"]]
    for column in [] if comparison.others else _telling(extras, rows):
        if _wide([*drawn, column], rows) <= width:
            drawn.append(column)
    return drawn, signs


def _axis(rows: Sequence[Row], comparison: Comparison) -> Axis | None:
    """For the intervals of all rows; None where no row has one."""
    judged = [(row.against.interval(), (row.judged.low, row.judged.high)) for row in rows if row.against and row.judged]
    known = [pair for pair in judged if not math.isnan(pair[0][0])]
    if not known:
        return None
    inner, outer = zip(*known, strict=True)
    return axis(inner, outer, 0, comparison.metric.quantity.scale)


def _intervals(line: Axis) -> Column[Row]:
    def shown(row: Row) -> Parts:
        if row.against is None or row.judged is None:
            return (line.interval(math.nan, _UNKNOWN, _UNKNOWN),)
        return (line.interval(row.against.mean, row.against.interval(), (row.judged.low, row.judged.high)),)

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
    won, lost = ("higher", "lower") if better == "higher" else ("lower", "higher")

    def merit(row: _OverTasks) -> tuple[float, int]:
        speed = -row.speed.mean if row.speed and row.speed.n else math.inf
        return 0.0 if row.arm == base and comparison.race else speed, row.verdicts[lost] - row.verdicts[won]

    rows = sorted(_arms_over_tasks(comparison), key=merit)
    shown = _shown(rows, lambda row: 0 if row.arm == base else 1 if row.verdicts[won] + row.verdicts[lost] else 2)
    wanted: dict[str, tuple[str, ...]] = {
        "won": (won,),
        "lost": (lost,),
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
    columns = _telling(columns, shown)
    hidden = [f"and {len(rows) - len(shown)} more"] if len(rows) > len(shown) else []
    meant = f"won: tasks on which the {metric_name(comparison)} is shown to be {won} than {base}'s"

    table = Table("screen", columns, shown, note=" · ".join([*hidden, meant]), ruled=False)

    def fitted(width: int) -> Table[_OverTasks]:
        room = min(width - _wide(columns, shown) - _GAP, _SIZES[0][1])
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
            return (line.interval(math.nan, _UNKNOWN, _UNKNOWN),)
        return (line.interval(row.speed.mean, row.speed.interval(), _UNKNOWN),)

    return Column("interval", shown=shown, heading=line.labels(), stacked=(line.labels(),), right=False)
