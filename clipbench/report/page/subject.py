"""What a page is about: a comparison, the runs behind it, and a colour, a shape and a dash for every arm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from clipbench.harmless import on_one_line
from clipbench.judging.cells import Cell
from clipbench.judging.claims.answers import Answer
from clipbench.judging.compare import NOTHING_ASKED, Asked, compare
from clipbench.judging.comparison import Comparison
from clipbench.judging.current import select
from clipbench.quantities import RESERVED, Quantity, known
from clipbench.questions import Question
from clipbench.records import OWN, Record

BASELINE_COLOUR = "#7a7a7a"
# Paul Tol's bright scheme: seven colours that can be told apart with any colour vision; the grey is the baseline's.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE", "#CCBB44")
SHAPES = ("square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 2), (12, 3), (2, 4))
_OF_JAVASCRIPT = {
    *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable"),
    *("toLocaleString", "toString", "valueOf"),
}
SHOWN_AT_FIRST = 10  # of more arms the best are shown, and a click shows the rest


@dataclass(frozen=True)
class Appearance:
    """How an arm looks in every picture; `name` is its own, `shown` what people read."""

    name: str
    shown: str
    colour: str
    shape: str
    dash: tuple[int, ...]
    is_baseline: bool = False


@dataclass(frozen=True)
class Subject:
    """A comparison with the runs in force that it was made from; `answers` are of claims about them."""

    comparison: Comparison
    question: Question
    records: tuple[Record, ...]
    cells: tuple[Cell, ...]
    answers: tuple[Answer, ...] = ()

    @cached_property
    def looks(self) -> dict[str, Appearance]:
        """The look of every arm and of every other direction that was measured, by name."""
        arms = dict.fromkeys([row.arm for row in self.comparison.rows] + [self.comparison.baseline])
        measured = [along for record in self.records for along in record.measurements.along if along not in ("", OWN)]
        return looks([*arms, *sorted(set(measured) - arms.keys())], self.comparison.baseline)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """All quantities of the runs, by name."""
        return known(self.records, self.question.quantities)

    def of_task(self, task: str) -> tuple[Cell, ...]:
        """The cells of a task."""
        return tuple(cell for cell in self.cells if cell.task == task)

    @cached_property
    def hidden_at_first(self) -> tuple[str, ...]:
        """Of more than SHOWN_AT_FIRST arms, the arms that are worst in the metric on the first task."""
        rows = [row for row in self.comparison.rows if row.task == self.comparison.tasks[0].name]
        sign = -1 if self.comparison.metric.quantity.better == "higher" else 1
        means = {row.arm: sign * row.against.mean for row in rows if row.against is not None}
        order = sorted(means, key=lambda arm: math.inf if math.isnan(means[arm]) else means[arm])
        worst = order[SHOWN_AT_FIRST - 1 :]
        return tuple(arm for arm in worst if arm != self.comparison.baseline)


def in_words(name: str) -> str:
    """The name of a quantity of clipbench without its underscores; one that a task or a probe chose stays as it is."""
    return name.replace("_", " ") if name.partition("@")[0] in RESERVED else name


def subject_of(records: Sequence[Record], question: Question, asked: Asked = NOTHING_ASKED) -> Subject:
    """The comparison of some records, as `compare` makes it, with its runs.

    Raises:
        UndecidedError: there are no runs, or two different runs for one task, arm and seed.
        ClipbenchError: what is asked makes no sense.
    """
    comparison = compare(records, question, asked)
    question = asked.read_by(question, records)
    selected = select(records, question)
    return Subject(comparison, question, selected.records, selected.cells)


def looks(names: Sequence[str], baseline: str) -> dict[str, Appearance]:
    """A look for each name: grey for the baseline, else by place; colours repeat only with another dash and shape.

    What is shown is printable, and no two arms are shown alike.
    """
    by_name: dict[str, Appearance] = {}
    shown: set[str] = set()
    place = 0
    for name in names:
        label = on_one_line(name) or "(no name)"
        if label in _OF_JAVASCRIPT or label.startswith("__"):
            label = f" {label}"  # Vega keeps groups in plain objects, whose own properties have these names
        while label in shown:
            label += "′"
        shown.add(label)
        if name == baseline:
            by_name[name] = Appearance(name, label, BASELINE_COLOUR, "circle", DASHES[0], is_baseline=True)
            continue
        turn = place // len(COLOURS)
        by_name[name] = Appearance(
            name,
            label,
            COLOURS[place % len(COLOURS)],
            SHAPES[(place + turn) % len(SHAPES)],
            DASHES[(place + 1) % len(DASHES)],
        )
        place += 1
    return by_name
