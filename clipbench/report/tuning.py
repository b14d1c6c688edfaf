"""How the arms were tuned: what was selected, the loss by learning rate, and what more trials would bring."""

from collections.abc import Callable, Sequence

from clipbench.judging.comparison import Comparison
from clipbench.judging.tuning.summary import WITHIN, ArmTuning, RateTried
from clipbench.judging.words import number
from clipbench.report.columns import Column
from clipbench.report.fields import Cell, Field
from clipbench.report.numbers import NONE, Parts, with_error
from clipbench.report.section import Section, arm_column, task_column
from clipbench.report.selection import settings_text

_SPENT = (
    " A trial that failed is spent as one that diverged is: it ranks last, and is not made again under a selection."
)
_SHOWN = 8  # numbers of trials that the last table shows at most

_OfRate = tuple[ArmTuning, RateTried]


def selected(comparison: Comparison) -> Section:
    """What was selected for each arm, out of how many trials."""
    tunings = comparison.tunings
    return Section(
        name="tuning",
        title="Tuning: what was selected",
        legend=(
            "The loss is that on the tuning seeds: the selected setting was picked for it, so it flatters."
            + (_SPENT if any(tuning.crashed for tuning in tunings) else "")
        ),
        columns=(
            *_names(tunings),
            Column("trials", ("trials",), _trials),
            Column("selected", ("selected",), lambda row: (_selected(row) or NONE,), right=False),
            Column("its loss", ("its", "loss"), _loss),
            Column("at an edge", ("at an", "edge"), _edges),
        ),
        fields=(
            *_of_arm(lambda row: row),
            Field("trials", "how many settings were tried", lambda row: row.trials),
            Field("ended", "of how many all runs have ended", lambda row: row.ended),
            Field("broken", "how many have a run that diverged or failed", lambda row: row.broken),
            Field("crashed", "of these, how many have one that failed", lambda row: row.crashed),
            Field("settings", "the selected ones; empty where there are none", _selected),
            Field("selection_loss", "their mean final loss on the tuning seeds", lambda row: row.loss.mean),
            Field("selection_loss_se", "its standard error", lambda row: row.loss.standard_error),
            Field("not_bracketed", "the settings that are the outermost ones tried", lambda row: ";".join(row.edges)),
            Field("good_low", "the lowest rate around the best that is nearly as good", lambda row: _good(row)[0]),
            Field("good_high", "the highest", lambda row: _good(row)[1]),
        ),
        rows=tunings,
    )


def sensitivity(comparison: Comparison) -> Section:
    """The final loss by learning rate."""
    rows = tuple(tuning for tuning in comparison.tunings if tuning.rates)
    return Section(
        name="sensitivity",
        title="Tuning: final loss by learning rate",
        legend=(
            "The least loss of what was tried with each rate, on the tuning seeds. Good are the rates around the best "
            f"whose loss is within {WITHIN:.0%} of the least; x: every trial has a run that diverged or failed."
        ),
        columns=(
            *_names(rows),
            Column("rate → loss", ("rate → loss",), _rates),
            Column("good rates", ("good", "rates"), _good_rates),
        ),
        fields=(
            *_of_arm(lambda line: line[0]),
            Field("rate", "the learning rate", lambda line: line[1].rate),
            Field("rate_loss", "least mean final loss of what was tried with it", lambda line: line[1].loss.mean),
            Field("rate_loss_se", "its standard error", lambda line: line[1].loss.standard_error),
            Field("tuning_seeds", "how many seeds it is over", lambda line: line[1].loss.n),
            Field("good", "whether it is nearly as good as the best", _is_good),
        ),
        rows=rows,
        lines=tuple((tuning, rate) for tuning in rows for rate in tuning.rates),
    )


def expected(comparison: Comparison) -> Section:
    """The best loss to be expected of a number of trials."""
    rows = tuple(tuning for tuning in comparison.tunings if len(tuning.expected) > 1)
    return Section(
        name="expected",
        title="Tuning: expected best loss of k trials",
        legend=(
            "What the best of k of these trials, picked at random, would have been on average: exact, not sampled; "
            "∞ while all k may be trials without a loss."
        ),
        columns=(*_names(rows), *map(_of_size, _sizes(max((len(row.expected) for row in rows), default=0)))),
        fields=(
            *_of_arm(lambda line: line[0]),
            Field("trials", "the best of how many", lambda line: line[1]),
            Field("expected_loss", "its loss on average", lambda line: line[0].expected[line[1] - 1]),
        ),
        rows=rows,
        lines=tuple((tuning, size) for tuning in rows for size in range(1, len(tuning.expected) + 1)),
    )


def _names(tunings: Sequence[ArmTuning]) -> tuple[Column, ...]:
    return *task_column(tuning.task for tuning in tunings), arm_column()


def _of_arm(tuning: Callable[..., ArmTuning]) -> tuple[Field, Field]:
    return (
        Field("task", "the task's name", lambda line: tuning(line).task),
        Field("arm", "the arm's name", lambda line: tuning(line).arm),
    )


def _trials(tuning: ArmTuning) -> Parts:
    kinds = {
        "diverged": tuning.broken - tuning.crashed,
        "failed": tuning.crashed,
        "not ended": tuning.trials - tuning.ended,
    }
    return _listed([str(tuning.trials), *(f"{n} {kind}" for kind, n in kinds.items() if n)])


def _selected(tuning: ArmTuning) -> str:
    return "" if tuning.selected is None else settings_text(tuning.selected)


def _loss(tuning: ArmTuning) -> Parts:
    return (NONE,) if tuning.selected is None else with_error(tuning.loss.mean, tuning.loss.standard_error)


def _edges(tuning: ArmTuning) -> Parts:
    if tuning.selected is None:
        return (NONE,)
    return tuple(f"{setting} ({at} tried)" for setting, at in tuning.edges.items()) or ("no",)


def _rates(tuning: ArmTuning) -> Parts:
    return _listed(
        [f"{number(each.rate, 4)} → {'x' if each.broken else number(each.loss.mean, 4)}" for each in tuning.rates]
    )


def _listed(words: Sequence[str]) -> Parts:
    """With a comma behind each but the last, so that they may stand on one line or beneath each other."""
    return *(f"{word}," for word in words[:-1]), words[-1]


def _good(tuning: ArmTuning) -> tuple[float | None, float | None]:
    return tuning.good or (None, None)


def _is_good(line: _OfRate) -> Cell:
    tuning, tried = line
    return tuning.good is not None and tuning.good[0] <= tried.rate <= tuning.good[1]


def _good_rates(tuning: ArmTuning) -> Parts:
    if tuning.good is None:
        return (NONE,)
    low, high = tuning.good
    if low == high:
        return (number(low, 4),)
    return f"{number(low, 4)} to {number(high, 4)}", f"({number(high / low, 2)}×)"


def _of_size(size: int) -> Column:
    def cell(tuning: ArmTuning) -> Parts:
        return (number(tuning.expected[size - 1], 4) if size <= len(tuning.expected) else NONE,)

    return Column(str(size), (str(size),), cell)


def _sizes(longest: int) -> list[int]:
    """All numbers of trials, or powers of two and the last where they are many."""
    if longest <= _SHOWN:
        return list(range(1, longest + 1))
    powers = [2**power for power in range(longest.bit_length()) if 2**power < longest]
    return [*powers, longest]
