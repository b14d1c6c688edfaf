"""How the arms were tuned: what was selected out of how many trials, and the loss by learning rate."""

from collections.abc import Sequence

from clipbench.judging.comparison import Comparison
from clipbench.judging.tuning.summary import WITHIN, ArmTuning
from clipbench.judging.words import number
from clipbench.report.columns import arm_column, estimate_column, task_column
from clipbench.report.numbers import NONE, Parts, with_error
from clipbench.report.selection import settings_text
from clipbench.report.table import Column, Table, text_column

_LEGEND = (
    "The loss is that on the tuning seeds: the selected setting was picked for it, so it flatters. "
    "Rate → loss: the least loss of what was tried with each rate; x: every trial has a run that diverged or failed. "
    f"Good are the rates around the best whose loss is within {WITHIN:.0%} of the least."
)
_SPENT = (
    " A trial that failed is spent as one that diverged is: it ranks last, and is not made again under a selection."
)


def table(comparison: Comparison) -> Table[ArmTuning]:
    """The trials of each arm and what was selected."""
    tunings = comparison.tunings
    return Table(
        name="tuning",
        title="Tuning: what was selected",
        note=_LEGEND + (_SPENT if any(tuning.crashed for tuning in tunings) else ""),
        columns=(
            task_column(tuning.task for tuning in tunings),
            arm_column(),
            Column("trials", "how many settings were tried", lambda row: row.trials, "trials", _trials),
            Column("ended", "of how many all runs have ended", lambda row: row.ended),
            Column("broken", "how many have a run that diverged or failed", lambda row: row.broken),
            Column("crashed", "of these, how many have one that failed", lambda row: row.crashed),
            text_column(
                "settings",
                "the selected ones; empty where there are none",
                _selected,
                "selected",
                lambda row: (_selected(row) or NONE,),
            ),
            estimate_column(
                "selection_loss", "their mean final loss on the tuning seeds", lambda row: row.loss, "its loss", _loss
            ),
            Column(
                "not_bracketed",
                "the settings that are the outermost ones tried",
                lambda row: ";".join(row.edges),
                "at an edge",
                _edges,
                ("at an", "edge"),
            ),
            Column(
                "rates_tried",
                "the learning rates in ascending order",
                lambda row: [each.rate for each in row.rates],
                "rate → loss",
                _rates,
                right=False,
                wraps=True,
            ),
            Column(
                "rate_losses",
                "the least mean final loss of what was tried with each",
                lambda row: [each.loss.mean for each in row.rates],
            ),
            Column(
                "good_low",
                "the lowest rate around the best that is nearly as good",
                lambda row: row.good[0] if row.good else None,
                "good rates",
                _good_rates,
            ),
            Column("good_high", "the highest", lambda row: row.good[1] if row.good else None),
            Column(
                "expected",
                "the best loss to be expected of 1, 2, 3 … of these trials; empty until all have ended",
                lambda row: row.expected,
            ),
        ),
        rows=tunings,
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
    losses = [f"{number(each.rate, 4)} → {'x' if each.broken else number(each.loss.mean, 4)}" for each in tuning.rates]
    return (", ".join(losses) or NONE,)


def _listed(words: Sequence[str]) -> Parts:
    """With a comma behind each but the last, so that they may stand on one line or beneath each other."""
    return *(f"{word}," for word in words[:-1]), words[-1]


def _good_rates(tuning: ArmTuning) -> Parts:
    if tuning.good is None:
        return (NONE,)
    low, high = tuning.good
    if low == high:
        return (number(low, 4),)
    return f"{number(low, 4)} to {number(high, 4)}", f"({number(high / low, 2)}×)"
