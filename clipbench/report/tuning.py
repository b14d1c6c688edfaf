"""How the arms were tuned: what was selected, the loss by learning rate, and what more trials would bring."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from clipbench.judging.extending import EXTENSIONS
from clipbench.judging.trials import edges
from clipbench.judging.tuning import WITHIN, ArmTuning, RateTried
from clipbench.judging.words import count, number
from clipbench.questions import Question
from clipbench.records import Options
from clipbench.report.numbers import NONE, with_error

_SHOWN = 8  # numbers of trials that the last table shows at most


@dataclass(frozen=True)
class TuningTable:
    """A table as text, its title, and what must be known to read it."""

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables_of_tuning(tunings: Sequence[ArmTuning]) -> Iterator[TuningTable]:
    """The tables of how arms were tuned; none where nothing was."""
    if not tunings:
        return
    several = len({tuning.task for tuning in tunings}) > 1
    names = {id(tuning): f"{tuning.task}/{tuning.arm}" if several else tuning.arm for tuning in tunings}
    yield TuningTable(
        "Tuning: what was selected",
        "The loss is that on the tuning seeds: the selected setting was picked for it, so it flatters.",
        ("arm", "trials", "selected", "its loss", "at an edge"),
        tuple((names[id(each)], _trials(each), *_selected(each)) for each in tunings),
    )
    if any(tuning.rates for tuning in tunings):
        yield TuningTable(
            "Tuning: final loss by learning rate",
            f"The least loss of what was tried with each rate, on the tuning seeds. Good are the rates around the best "
            f"whose loss is within {WITHIN:.0%} of the least; x: every trial has a run that diverged or failed.",
            ("arm", "rate → loss", "good rates"),
            tuple((names[id(each)], _rates(each.rates), _good(each)) for each in tunings if each.rates),
        )
    longest = max(len(tuning.expected) for tuning in tunings)
    if longest > 1:
        sizes = _sizes(longest)
        yield TuningTable(
            "Tuning: expected best loss of k trials",
            "What the best of k of these trials, picked at random, would have been on average: exact, not sampled; "
            "∞ while all k may be trials without a loss.",
            ("arm", *map(str, sizes)),
            tuple((names[id(each)], *_expected(each, sizes)) for each in tunings if each.expected),
        )


def tuning_tables(tunings: Sequence[ArmTuning]) -> list[RenderableType]:
    """The same for the terminal."""
    parts: list[RenderableType] = []
    for section in tables_of_tuning(tunings):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
        for heading in section.headings:
            table.add_column(Text(heading), overflow="fold")
        for row in section.rows:
            table.add_row(*map(Text, row))
        parts += [Text(), Text(section.title, style="bold"), table, Text(section.note, style="dim")]
    return parts


def selection_line(tuning: ArmTuning) -> str:
    """`sgd on code_lm: lr=0.3 of 4 trials, loss 2.95; lr is the highest value tried: not bracketed`."""
    head = f"{tuning.arm} on {tuning.task}: "
    if tuning.selected is None:
        left = tuning.trials - tuning.ended
        why = f"{count(left, 'trial')} not ended" if left else f"none of {count(tuning.trials, 'trial')} finished"
        return f"{head}nothing selected ({why})"
    said = (
        f"{head}{settings_text(tuning.selected)} of {count(tuning.trials, 'trial')}, loss {number(tuning.loss.mean, 4)}"
    )
    beyond = [f"{setting} is the {at} value tried: not bracketed" for setting, at in tuning.edges.items()]
    return "; ".join([said, *beyond])


def beyond_the_edge(question: Question, *, extended: bool) -> str:
    """What can be done about values that are not bracketed; empty where all are.

    Args:
        question: what was tuned, and how.
        extended: the grids were to be extended, so that what is left could not be helped.
    """
    tuning = question.tuning
    if tuning is None or not any(edges(tuned) for tuned in tuning.arms):
        return ""
    if tuning.search != "grid":
        return "not bracketed: wider spaces in the spec would look beyond"
    if max(len(tuned.trials) - tuned.planned for tuned in tuning.arms) >= EXTENSIONS:
        return f"not bracketed after {EXTENSIONS} more trials an arm, the most --extend-grid makes: change the grids"
    if extended:
        return "not bracketed, and there is no further trial that every arm could be given: change the grids"
    return f"not bracketed: --extend-grid looks beyond, by up to {EXTENSIONS} more trials for every arm"


def _trials(tuning: ArmTuning) -> str:
    said = [str(tuning.trials)]
    if tuning.ended < tuning.trials:
        said.append(f"{tuning.trials - tuning.ended} not ended")
    if tuning.broken:
        said.append(f"{tuning.broken} diverged or failed")
    return ", ".join(said)


def _selected(tuning: ArmTuning) -> tuple[str, str, str]:
    if tuning.selected is None:
        return NONE, NONE, NONE
    edges = ", ".join(f"{setting} ({at} tried)" for setting, at in tuning.edges.items())
    return (
        settings_text(tuning.selected),
        " ".join(with_error(tuning.loss.mean, tuning.loss.standard_error)),
        edges or "no",
    )


def settings_text(options: Options) -> str:
    """`lr=0.3, clip.fraction=0.1`."""
    return ", ".join(
        f"{name}={number(value, 4) if isinstance(value, float) else value}" for name, value in options.items()
    )


def _rates(rates: Sequence[RateTried]) -> str:
    return ", ".join(f"{number(each.rate, 4)} → {'x' if each.broken else number(each.loss.mean, 4)}" for each in rates)


def _good(tuning: ArmTuning) -> str:
    if tuning.good is None:
        return NONE
    low, high = tuning.good
    return number(low, 4) if low == high else f"{number(low, 4)} to {number(high, 4)} ({number(high / low, 2)}×)"


def _expected(tuning: ArmTuning, sizes: Sequence[int]) -> tuple[str, ...]:
    known = len(tuning.expected)
    return tuple(number(tuning.expected[size - 1], 4) if size <= known else NONE for size in sizes)


def _sizes(longest: int) -> list[int]:
    """All numbers of trials, or powers of two and the last where they are many."""
    if longest <= _SHOWN:
        return list(range(1, longest + 1))
    powers = [2**power for power in range(longest.bit_length()) if 2**power < longest]
    return [*powers, longest]
