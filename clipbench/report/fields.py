"""What each column of the CSV, and each key of a JSON row, is called, means and holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipbench.judging.comparison import Row

Cell = str | int | float | None


@dataclass(frozen=True)
class Field:
    """A column of the CSV (and a key of a JSON row): its name, what it means, and its value."""

    name: str
    meaning: str
    value: Callable[[Any], Cell]


def _of(part: str, name: str) -> Callable[[Row], Cell]:
    """A number of a part that a row may lack."""

    def value(row: Row) -> Cell:
        found = getattr(row, part)
        return None if found is None else getattr(found, name)

    return value


def _end(part: str, side: int) -> Callable[[Row], Cell]:
    """An end of a 95 % interval."""

    def value(row: Row) -> Cell:
        found = getattr(row, part)
        return None if found is None else float(found.interval()[side])

    return value


FIELDS: tuple[Field, ...] = (
    Field("task", "the task's name", lambda row: row.task),
    Field("arm", "the arm's name", lambda row: row.arm),
    Field("learning_rate", "the arm's lr; empty where it has none", lambda row: row.learning_rate),
    Field("seeds_finished", "how many seeds finished", lambda row: len(row.seeds.finished)),
    Field("seeds_diverged", "how many diverged", lambda row: len(row.seeds.diverged)),
    Field("seeds_failed", "how many crashed", lambda row: len(row.seeds.failed)),
    Field("seeds_unfinished", "how many have not ended", lambda row: len(row.seeds.unfinished)),
    Field("verdict", "baseline, lower, higher, identical, equivalent, undecided or broken", lambda row: row.verdict),
    Field("rank_low", "the best place it may have among the arms", _of("ranks", "low")),
    Field("rank_high", "the worst place it may have", _of("ranks", "high")),
    Field("final_loss", "mean last evaluation loss of finished seeds", lambda row: row.final_loss.mean),
    Field("final_loss_se", "its standard error", lambda row: row.final_loss.standard_error),
    Field(
        "difference",
        "mean final loss minus the baseline's, paired by seed; empty for the baseline",
        _of("difference", "mean"),
    ),
    Field("difference_se", "its standard error", _of("difference", "error")),
    Field("difference_low", "lower end of its 95 % interval", _end("difference", 0)),
    Field("difference_high", "upper end of its 95 % interval", _end("difference", 1)),
    Field("difference_seeds", "how many seeds are paired", _of("difference", "n")),
    Field(
        "steps_to_target", "median over ended seeds, a miss being inf; empty without a target", _of("steps", "median")
    ),
    Field("target_hits", "how many seeds reached the target", _of("steps", "hits")),
    Field("target_seeds", "of how many ended seeds", _of("steps", "seeds")),
    Field("step_ms", "mean milliseconds a step", lambda row: row.step_milliseconds.mean),
    Field("step_ms_se", "its standard error", lambda row: row.step_milliseconds.standard_error),
    Field("sharpness", "geometric mean directional sharpness, own path", lambda row: row.sharpness.mean.mean),
    Field("sharpness_factor", "its multiplicative standard error", lambda row: row.sharpness.mean.factor),
    Field("sharpness_seeds", "how many seeds it is over", lambda row: row.sharpness.mean.n),
    Field("sharpness_positive", "how many values are positive", lambda row: row.sharpness.positive),
    Field("sharpness_non_positive", "how many are zero or negative", lambda row: row.sharpness.non_positive),
    Field("sharpness_undefined", "how many are NaN or infinite", lambda row: row.sharpness.undefined),
    Field("clipped_fraction", "mean fraction of coordinates clipped; empty without a clip", _of("clipped", "mean")),
    Field("clipped_fraction_se", "its standard error", _of("clipped", "standard_error")),
    Field(
        "rate_times_sharpness",
        "mean of learning rate × sharpness along own updates; empty where not measured",
        _of("rate_sharpness", "mean"),
    ),
    Field("rate_times_sharpness_se", "its standard error", _of("rate_sharpness", "standard_error")),
    Field(
        "seconds_to_target",
        "median over ended seeds of training seconds, a miss being inf; empty without a target",
        _of("seconds", "median"),
    ),
    Field(
        "contrast",
        "mean over pairs of arm minus baseline in the metric that decides; of natural logarithms where it is a ratio",
        _of("against", "mean"),
    ),
    Field("contrast_low", "lower end of its 95 % interval", _end("against", 0)),
    Field("contrast_high", "upper end of its 95 % interval", _end("against", 1)),
    Field("contrast_pairs", "how many pairs it is over", _of("against", "n")),
    Field("contrast_ahead", "pairs in which only this arm reached the target", _of("against", "ahead")),
    Field("contrast_behind", "pairs in which only the baseline did", _of("against", "behind")),
    Field("contrast_neither", "pairs in which neither did: in no mean", _of("against", "neither")),
    Field("p", "the p-value of the paired t test", _of("against", "p")),
    Field("p_corrected", "p after Holm's correction for the rows of the task", _of("judged", "p")),
    Field("level", "at which p was judged, and of the next interval", _of("judged", "level")),
    Field("judged_low", "lower end of the interval at that level", _of("judged", "low")),
    Field("judged_high", "upper end", _of("judged", "high")),
    Field("seeds_needed", "seeds that an undecided difference would need; else nan", _of("judged", "seeds_needed")),
)
