"""The table of tuning: selected settings, numbers of trials, and what came of each learning rate."""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.judging.comparison import Comparison
from clipbench.judging.tuning.summary import LR, WITHIN, ArmTuning
from clipbench.judging.words import number
from clipbench.report.columns import arm_column, estimate_column, task_column
from clipbench.report.numbers import NONE, Parts, with_error
from clipbench.report.selection import PLAIN, settings_text
from clipbench.report.table import Column, Table, text_column

_LEGEND = (
    "Loss: the mean final loss on the tuning seeds; it is too optimistic, because the setting was selected by it. "
)
_RATES = (
    "Rate → {name}: the {best} of the trials at each learning rate; x: every trial at it has a run that diverged or "
    f"failed. Good rates: the range around the best rate with {{values}} within {WITHIN:.0%} of the {{best_one}}."
)
_OF_RATES: tuple[Column[ArmTuning], ...] = (
    Column(
        "rate_losses",
        "mean final loss of the best trial at each learning rate",
        lambda row: [each.loss.mean for each in row.rates],
    ),
    Column(
        "rate_values",
        "mean of what is selected by, of the best trial at each learning rate",
        lambda row: [each.value.mean for each in row.rates],
    ),
    Column("rate_settings", "the setting that each learning rate is of", lambda row: [at.setting for at in row.rates]),
)
_SPENT = " A failed trial ranks last, as a diverged trial does, and is not repeated once a setting is selected."


def table(comparison: Comparison) -> Table[ArmTuning]:
    """The trials of each arm and what was selected."""
    tunings = comparison.tunings
    name = next((tuning.selected_by for tuning in tunings if tuning.selected_by not in PLAIN), "")
    legend = f"Means on the tuning seeds: {name} is too optimistic, because the setting was selected by it. "
    legend = (legend if name else _LEGEND) + _rates_legend(name)
    return Table(
        name="tuning",
        title=f"Tuning: what was selected{f' by {name}' if name else ''}",
        note=(legend if name else _LEGEND)
        + _rates_legend(name)
        + (_SPENT if any(tuning.crashed for tuning in tunings) else ""),
        columns=(
            task_column(tuning.task for tuning in tunings),
            arm_column(),
            Column("trials", "number of trials", lambda row: row.trials, "trials", _trials),
            Column("ended", "number of trials whose runs have all ended", lambda row: row.ended),
            Column("broken", "number of trials with a run that diverged or failed", lambda row: row.broken),
            Column("crashed", "number of trials with a run that failed", lambda row: row.crashed),
            text_column(
                "settings",
                "the selected settings; empty if none are selected",
                _selected,
                "selected",
                lambda row: (_selected(row) or NONE,),
            ),
            replace(
                estimate_column(
                    "selection_value",
                    "mean of what is selected by, of the selected settings on the tuning seeds",
                    lambda row: row.value,
                    name,
                    _value,
                ),
                heading=name or None,
            ),
            estimate_column(
                "selection_loss",
                "mean final loss of the selected settings on the tuning seeds",
                lambda row: row.loss,
                "loss",
                _loss,
            ),
            Column(
                "not_bracketed",
                "settings whose selected value is the outermost value tried",
                lambda row: ";".join(row.edges),
                "at an edge",
                _edges,
                ("at an", "edge"),
            ),
            Column(
                "rates_tried",
                "the learning rates tried, in ascending order",
                lambda row: [each.rate for each in row.rates],
                f"rate → {name or 'loss'}",
                _rates,
                right=False,
                wraps=True,
                beside=_OF_RATES,
            ),
            Column(
                "good_low",
                "lowest learning rate around the best that is nearly as good",
                lambda row: row.good[0] if row.good else None,
                "good rates",
                _good_rates,
            ),
            Column(
                "good_high",
                "highest learning rate around the best that is nearly as good",
                lambda row: row.good[1] if row.good else None,
            ),
            Column(
                "expected",
                "expected best loss of 1, 2, 3 … of these trials, drawn at random; empty until all have ended",
                lambda row: row.expected,
            ),
        ),
        rows=tunings,
    )


def _rates_legend(name: str) -> str:
    if not name:
        return _RATES.format(name="loss", best="least loss", values="losses", best_one="least")
    return _RATES.format(name=name, best="best", values="values", best_one="best")


def _trials(tuning: ArmTuning) -> Parts:
    kinds = {
        "diverged": tuning.broken - tuning.crashed,
        "failed": tuning.crashed,
        f"without {tuning.selected_by}": tuning.valueless,
        "not ended": tuning.trials - tuning.ended,
    }
    return _listed([str(tuning.trials), *(f"{n} {kind}" for kind, n in kinds.items() if n)])


def _selected(tuning: ArmTuning) -> str:
    return "" if tuning.selected is None else settings_text(tuning.selected)


def _loss(tuning: ArmTuning) -> Parts:
    return (NONE,) if tuning.selected is None else with_error(tuning.loss.mean, tuning.loss.standard_error)


def _value(tuning: ArmTuning) -> Parts:
    return (NONE,) if tuning.selected is None else with_error(tuning.value.mean, tuning.value.standard_error)


def _edges(tuning: ArmTuning) -> Parts:
    if tuning.selected is None:
        return (NONE,)
    return tuple(f"{setting} ({at} tried)" for setting, at in tuning.edges.items()) or ("no",)


def _rates(tuning: ArmTuning) -> Parts:
    of_settings: dict[str, list[str]] = {}
    for each in tuning.rates:
        value = "x" if each.broken else number(each.value.mean, 4) if each.value.n else NONE
        of_settings.setdefault(each.setting, []).append(f"{number(each.rate, 4)} → {value}")
    named = [
        ("" if setting == LR else f"{setting.removeprefix('groups.')}: ") + ", ".join(values)
        for setting, values in of_settings.items()
    ]
    return ("; ".join(named) or NONE,)


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
