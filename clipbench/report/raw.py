"""The comparison for programs: CSV and JSON, with every digit."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from clipbench.judging.comparison import Comparison, Row, Twin
from clipbench.judging.words import listing

Cell = str | int | float | None


@dataclass(frozen=True)
class Field:
    """A column of the CSV (and a key of a JSON row): its name, what it means, and its value."""

    name: str
    meaning: str
    value: Callable[[Row], Cell]


FIELDS: tuple[Field, ...] = (
    Field("task", "the task's name", lambda row: row.task),
    Field("arm", "the arm's name", lambda row: row.arm),
    Field("learning_rate", "the arm's lr; empty where it has none", lambda row: row.learning_rate),
    Field("seeds_finished", "how many seeds finished", lambda row: len(row.seeds.finished)),
    Field("seeds_diverged", "how many diverged", lambda row: len(row.seeds.diverged)),
    Field("seeds_failed", "how many crashed", lambda row: len(row.seeds.failed)),
    Field("seeds_unfinished", "how many have not ended", lambda row: len(row.seeds.unfinished)),
    Field("verdict", "baseline, better, worse, equal, undecided or broken", lambda row: row.verdict),
    Field("final_loss", "mean last evaluation loss of finished seeds", lambda row: row.final_loss.mean),
    Field("final_loss_se", "its standard error", lambda row: row.final_loss.standard_error),
    Field(
        "difference",
        "mean final loss minus the baseline's, paired by seed; empty for the baseline",
        lambda row: row.difference.mean if row.difference else None,
    ),
    Field(
        "difference_se",
        "its standard error",
        lambda row: row.difference.standard_error if row.difference else None,
    ),
    Field(
        "difference_low",
        "lower end of its 95 % interval",
        lambda row: row.difference.low if row.difference else None,
    ),
    Field(
        "difference_high",
        "upper end of its 95 % interval",
        lambda row: row.difference.high if row.difference else None,
    ),
    Field("difference_seeds", "how many seeds are paired", lambda row: row.difference.n if row.difference else None),
    Field(
        "steps_to_target",
        "median over ended seeds, a miss being inf; empty without a target",
        lambda row: row.steps.median if row.steps else None,
    ),
    Field("target_hits", "how many seeds reached the target", lambda row: row.steps.hits if row.steps else None),
    Field("target_seeds", "of how many ended seeds", lambda row: row.steps.seeds if row.steps else None),
    Field("step_ms", "mean milliseconds a step", lambda row: row.step_milliseconds.mean),
    Field("step_ms_se", "its standard error", lambda row: row.step_milliseconds.standard_error),
    Field("sharpness", "geometric mean directional sharpness, own path", lambda row: row.sharpness.mean.mean),
    Field("sharpness_factor", "its multiplicative standard error", lambda row: row.sharpness.mean.factor),
    Field("sharpness_seeds", "how many seeds it is over", lambda row: row.sharpness.mean.n),
    Field("sharpness_positive", "how many values are positive", lambda row: row.sharpness.positive),
    Field("sharpness_non_positive", "how many are zero or negative", lambda row: row.sharpness.non_positive),
    Field("sharpness_undefined", "how many are NaN or infinite", lambda row: row.sharpness.undefined),
    Field(
        "clipped_fraction",
        "mean fraction of coordinates clipped; empty without a clip",
        lambda row: row.clipped.mean if row.clipped else None,
    ),
    Field(
        "clipped_fraction_se",
        "its standard error",
        lambda row: row.clipped.standard_error if row.clipped else None,
    ),
)


def flat(row: Row) -> dict[str, Cell]:
    """A row as name → value."""
    return {field.name: field.value(row) for field in FIELDS}


def as_csv(comparison: Comparison) -> str:
    """One line per task and arm under the names in `FIELDS`; infinity is `inf`, an undefined number `nan`."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [field.name for field in FIELDS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat(row) for row in comparison.rows)
    return stream.getvalue()


def as_json(comparison: Comparison) -> str:
    """The whole comparison; rows hold the same names as the CSV.

    JSON has no NaN and no infinity: an undefined number is null, infinity the text "inf", minus infinity "-inf".
    """
    return to_json(
        {
            "spec": comparison.spec,
            "question": comparison.question,
            "baseline": comparison.baseline,
            "target": comparison.target,
            "tasks": [
                {
                    "name": head.name,
                    "budget": listing(head.budgets),
                    "devices": head.devices,
                    "threads": head.threads,
                }
                for head in comparison.tasks
            ],
            "rows": [flat(row) | {"seeds": vars(row.seeds)} for row in comparison.rows],
            "twins": [_twin(twin) for twin in comparison.twins],
            "caveats": comparison.caveats,
            "tuning": [asdict(tuning) for tuning in comparison.tunings],
        }
    )


def to_json(value: object) -> str:
    """Plain data as JSON text, with null and "inf" for the numbers that JSON lacks."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: object) -> Any:
    """Nested data with NaN as None and infinities as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def _twin(twin: Twin) -> dict[str, object]:
    described: dict[str, object] = {
        "task": twin.task,
        "arm": twin.arm,
        "twin": twin.twin,
        "learning_rates": twin.learning_rates,
        "sharpness_ratio": vars(twin.sharpness),
        "loss_difference": vars(twin.loss),
        "step_time_ratio": vars(twin.step_time),
        "answers": twin.answers,
    }
    if twin.steps is not None:
        described["steps_to_target"] = [steps.median for steps in twin.steps]
        described["fewer_steps_on"] = [twin.fewer_steps_on, twin.step_pairs]
    return described
