"""The comparison for programs: CSV and JSON, with every digit."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clipbench.harmless import as_cell, in_json
from clipbench.judging.comparison import Comparison, Twin
from clipbench.judging.paired import Paired
from clipbench.judging.words import listing
from clipbench.report.fields import FIELDS, Cell, Field
from clipbench.report.sections import Section, sections


def flat(row: object, fields: Sequence[Field] = FIELDS) -> dict[str, Cell]:
    """A row as name → value."""
    return {field.name: field.value(row) for field in fields}


def as_csv(comparison: Comparison) -> str:
    """One line per task and arm under the names in `FIELDS`; infinity is `inf`, an undefined number `nan`."""
    return _section_csv(FIELDS, comparison.rows)


def section_as_csv(section: Section) -> str:
    """One line a row of the section."""
    return _section_csv(section.fields, section.data)


def _section_csv(fields: Sequence[Field], rows: Sequence[object]) -> str:
    return to_csv([field.name for field in fields], (flat(row, fields) for row in rows))


def to_csv(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as CSV under these names; what a row does not have is left empty.

    A text that a spreadsheet would take for a formula (=1+1, @x) stands behind an apostrophe; numbers stay numbers.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: as_cell(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    )
    return stream.getvalue()


def as_json(comparison: Comparison) -> str:
    """The whole comparison; rows hold the same names as the CSV.

    JSON has no NaN and no infinity: an undefined number is null, infinity the text "inf", minus infinity "-inf".
    """
    told = {section.name: section_as_data(section) for section in sections(comparison)}
    return to_json(
        {
            "spec": comparison.spec,
            "question": comparison.question,
            "baseline": comparison.baseline,
            "target": comparison.target,
            "consecutive": comparison.consecutive,
            "metric": str(comparison.metric),
            "threshold": comparison.threshold,
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
            **told,
            "caveats": comparison.caveats,
            # Whole: the other sections of tuning are parts of it, and `selected` has its values as numbers.
            "tuning": [line | asdict(tuning) for line, tuning in zip(told["tuning"], comparison.tunings, strict=True)]
            if comparison.tunings
            else [],
        }
    )


def section_as_data(section: Section) -> list[dict[str, Cell]]:
    """The lines of a section, each as name → value."""
    return [flat(row, section.fields) for row in section.data]


def section_as_json(section: Section) -> str:
    """The rows of a section."""
    return to_json(section_as_data(section))


def to_json(value: object) -> str:
    """Plain data as JSON text, with null and "inf" for the numbers that JSON lacks."""
    return in_json(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def to_json_line(value: object) -> str:
    """The same on one line."""
    return in_json(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))


def plain(value: object) -> Any:
    """Nested data with NaN as None and infinities as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def _ratio(found: Paired) -> dict[str, object]:
    low, high = map(found.shown, found.interval())
    return {"ratio": found.shown(found.mean), "low": low, "high": high, "n": found.n}


def _difference(found: Paired) -> dict[str, object]:
    low, high = found.interval()
    return {"mean": found.mean, "standard_error": found.error, "low": low, "high": high, "n": found.n}


def _twin(twin: Twin) -> dict[str, object]:
    described: dict[str, object] = {
        "task": twin.task,
        "arm": twin.arm,
        "twin": twin.twin,
        "learning_rates": twin.learning_rates,
        "sharpness_ratio": _ratio(twin.sharpness),
        "loss_difference": _difference(twin.loss),
        "step_time_ratio": _ratio(twin.step_time),
        "answers": twin.answers,
    }
    if twin.steps is not None:
        described["steps_to_target"] = [steps.median for steps in twin.steps]
        described["fewer_steps_on"] = [twin.fewer_steps_on, twin.step_pairs]
    return described
