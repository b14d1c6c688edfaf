"""Pictures of single steps: the loss along each direction, the largest coordinates, and the Taylor ledger."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from clipbench.judging.cells import Cell
from clipbench.judging.compare import mean_of
from clipbench.judging.statistics import estimate
from clipbench.measurements import Measurements
from clipbench.quantities import Along, quantity
from clipbench.records import DIRECTIONAL_SHARPNESS, OWN, SLOPE, UPDATE_NORM
from clipbench.report.page.subject import Subject
from clipbench.report.page.vega import (
    LABEL,
    ChartSpec,
    Datum,
    Figure,
    chart,
    colour_of,
    dash_of,
    fits,
    number_axis,
    rule,
    shape_of,
    short,
    tooltip,
)

_MULTIPLE = re.compile(r"line_change_at_([+-][0-9.e+-]+)u")
_WITHOUT = re.compile(r"sharpness_without_(top|random)_([0-9.e+-]+)%")
_LEDGER = {
    "predicted_gain": "gain −gᵀu",
    "curvature_cost": "cost ½uᵀHu",
    "predicted_change": "predicted change",
    "observed_change": "observed change",
}


def figures(subject: Subject, task: str) -> Iterator[Figure]:
    """The pictures of a task's single steps."""
    cells = subject.of_task(task)
    for place, (path, directions) in enumerate(_paths(cells)):
        yield from _landscape(subject, path, directions, place)
    yield from _coordinates(subject, cells)
    yield from _taylor(subject, cells)


def _paths(cells: Sequence[Cell]) -> Iterator[tuple[Sequence[Cell], Mapping[str, str]]]:
    """The cells whose loss along directions stands in one picture, and their directions with the arms' names."""
    ghosts = {cell.arm: _measured(cell) - {OWN} for cell in cells}
    alone = [cell for cell in cells if not ghosts[cell.arm]]
    if alone:
        yield alone, {}
    for cell in cells:
        if ghosts[cell.arm]:
            others = {name: name for name in sorted(ghosts[cell.arm]) if name != cell.arm}
            yield [cell], {OWN: cell.arm, **others}


def _measured(cell: Cell) -> set[str]:
    return {
        direction
        for record in cell.counted
        for direction, name in record.measurements.places
        if _MULTIPLE.fullmatch(name)
    }


def _landscape(subject: Subject, cells: Sequence[Cell], directions: Mapping[str, str], place: int) -> Iterator[Figure]:
    """The measured change of the loss along a step's multiples, and the quadratic model of it."""
    rows: list[Datum] = []
    steps: set[int] = set()
    for cell in cells:
        for direction, arm in (directions or {OWN: cell.arm}).items():
            step = _middle_step(cell, direction)
            if step is not None:
                steps.add(step)
                rows += _line(subject.looks[arm].shown, cell, direction, step)
    if not rows:
        return
    headings = {
        "arm": "direction",
        "multiple": "multiple of the step",
        "value": "change",
        "model": "model",
        "n": "seeds",
    }
    colour, hover = colour_of(subject.looks), tooltip(headings, ["arm"])
    ends = [{"filter": "datum.multiple === 1"}]
    both = {"color": colour, "shape": shape_of(subject.looks), "tooltip": hover}
    model = {"y": {"field": "model", "type": "quantitative"}, "color": colour}
    layers: list[ChartSpec] = [
        rule(0.0, along="y"),
        {"mark": {"type": "line", "strokeWidth": 1, "strokeDash": [2, 2], "aria": False}, "encoding": model},
        {
            "mark": {"type": "line", "strokeWidth": 2, "aria": False},
            "encoding": {"color": colour, "strokeDash": dash_of(subject.looks)},
        },
        {"mark": {"type": "point", "size": 25, "filled": True}, "encoding": both},
        {"name": "arm", "transform": ends, "mark": {"type": "point", "size": 90, "filled": True}, "encoding": both},
    ]
    sizes = [abs(value) for row in rows for value in (row["value"],) if isinstance(value, float) and value]
    constant = max(min(sizes, default=1.0), 1e-6)
    x = number_axis("multiple", "multiple t of the step", type="symlog", constant=0.02)
    x["axis"] = {"values": [-64, -4, -0.25, 0, 0.25, 1, 4, 64], "labelExpr": LABEL}
    y = number_axis("value", "L(θ + tu) − L(θ)", type="symlog", constant=constant, values=sizes)
    spec = chart(layers, x=x, y=y, height=280, description="the change of the loss along each direction")
    path = f"on the path of {subject.looks[cells[0].arm].shown}" if directions else "each on its own path"
    when = f"step {min(steps)}" if len(steps) == 1 else f"steps {min(steps)} to {max(steps)}"
    about = (
        f"Solid: measured, {path} at {when}; the mean over seeds. Dotted: slope and curvature alone, "
        "t·gᵀu + ½t²·uᵀHu. Large mark: the step itself, t = 1."
    )
    yield Figure(f"landscape_{place}", "geometry", f"Loss along each direction, {path}", about, spec, rows, headings)


def _middle_step(cell: Cell, direction: str) -> int | None:
    """The middle one of the steps at which the loss along a direction was measured."""
    steps = {
        point.step
        for record in cell.counted
        for along, name in record.measurements.places
        if along == direction and _MULTIPLE.fullmatch(name)
        for point in record.measurements.series(along, name)
    }
    return sorted(steps)[len(steps) // 2] if steps else None


def _line(arm: str, cell: Cell, direction: str, step: int) -> Iterator[Datum]:
    changes: dict[float, list[float]] = {0.0: [0.0]}
    models: list[tuple[float, float]] = []
    for record in cell.counted:
        measured = record.measurements
        for along, name in measured.places:
            match = _MULTIPLE.fullmatch(name)
            if along == direction and match:
                values = [each.value for each in measured.series(along, name) if each.step == step]
                changes.setdefault(float(match[1]), []).extend(filter(math.isfinite, values))
        slope, curvature = _model(measured, direction, step)
        if math.isfinite(slope) and math.isfinite(curvature):
            models.append((slope, curvature))
    slope, curvature = (estimate([each[part] for each in models]).mean for part in (0, 1))
    for multiple in sorted(changes):
        if changes[multiple]:
            mean = estimate(changes[multiple])
            model = multiple * slope + multiple * multiple / 2 * curvature
            yield {
                "arm": arm,
                "multiple": multiple,
                "value": short(mean.mean),
                "model": short(model),
                "n": len(cell.counted) if multiple == 0 else mean.n,
            }


def _model(measured: Measurements, direction: str, step: int) -> tuple[float, float]:
    """gᵀu and uᵀHu of one step, from the slope and the sharpness along u/‖u‖ and the length ‖u‖."""

    def at(name: str) -> float:
        return next((each.value for each in measured.series(direction, name) if each.step == step), math.nan)

    length = at(UPDATE_NORM)
    return at(SLOPE) * length, at(DIRECTIONAL_SHARPNESS) * length * length


def _coordinates(subject: Subject, cells: Sequence[Cell]) -> Iterator[Figure]:
    """The sharpness that is left when the largest coordinates are taken out, and as many random coordinates."""
    rows: list[Datum] = []
    for cell in cells:
        names = {name for record in cell.counted for along, name in record.measurements.places if along == OWN}
        for name in sorted(names):
            if match := _WITHOUT.fullmatch(name):
                mean = mean_of(cell, Along(quantity(name, subject.question.quantities)))
                rows.append(
                    {
                        "arm": subject.looks[cell.arm].shown,
                        "which": "largest" if match[1] == "top" else "random",
                        "percent": float(match[2]),
                        "value": short(mean.mean),
                        "n": mean.n,
                    }
                )
    rows = [row for row in rows if row["value"] is not None]
    if not rows:
        return
    rows.sort(key=lambda row: (str(row["arm"]), str(row["which"]), float(row["percent"] or 0)))
    headings = {"arm": "arm", "which": "coordinates removed", "percent": "%", "value": "sharpness left", "n": "seeds"}
    most = max(float(row["percent"] or 0) for row in rows)
    colour, hover = colour_of(subject.looks), tooltip(headings, ["arm", "which"])
    which = {"field": "which", "type": "nominal", "scale": {"domain": ["largest", "random"], "range": [[1, 0], [3, 3]]}}
    points = {"color": colour, "shape": shape_of(subject.looks), "tooltip": hover}
    end = [{"filter": f"datum.which === 'largest' && datum.percent === {most!r}"}]
    dashes = {"color": colour, "strokeDash": {**which, "legend": {"title": "removed"}}}
    layers: list[ChartSpec] = [
        {"mark": {"type": "line", "strokeWidth": 2, "aria": False}, "encoding": dashes},
        {"mark": {"type": "point", "size": 30, "filled": True}, "encoding": points},
        {"name": "arm", "transform": end, "mark": {"type": "point", "size": 90, "filled": True}, "encoding": points},
    ]
    values = [value for row in rows for value in (row["value"],) if isinstance(value, float)]
    x = number_axis("percent", "% of coordinates removed", type="log")
    y = number_axis("value", "sharpness left", **fits(values, log=True))
    spec = chart(layers, x=x, y=y, height=260, description="the sharpness without the largest coordinates")
    about = (
        "Directional sharpness of each arm's own update without its largest coordinates (solid), and without as many "
        "random coordinates (dashed), the control. Means over probed steps and seeds."
    )
    yield Figure("coordinates", "geometry", "Sharpness without the largest coordinates", about, spec, rows, headings)


def _taylor(subject: Subject, cells: Sequence[Cell]) -> Iterator[Figure]:
    """Both terms of the second-order model of a step, its prediction, and what the loss really did."""
    rows: list[Datum] = []
    for cell in cells:
        for name, part in _LEDGER.items():
            mean = mean_of(cell, Along(quantity(name, subject.question.quantities)))
            if mean.n:
                shown = subject.looks[cell.arm].shown
                rows.append({"arm": shown, "part": part, "value": short(mean.mean), "n": mean.n})
    if not rows:
        return
    parts = list(_LEDGER.values())
    headings = {"arm": "arm", "part": "part", "value": "mean", "n": "seeds"}
    hover = tooltip(headings, ["arm", "part"])
    opacity = {"field": "part", "type": "ordinal", "scale": {"domain": parts, "range": [0.35, 0.55, 0.8, 1]}}
    bars = {
        "color": colour_of(subject.looks),
        "opacity": {**opacity, "legend": None},
        "tooltip": hover,
    }
    layers: list[ChartSpec] = [
        {"mark": {"type": "bar"}, "encoding": bars},
        {
            "name": "arm",
            "transform": [{"filter": f"datum.part === '{parts[-1]}'"}],
            "mark": {"type": "point", "filled": True, "size": 60},
            "encoding": {"color": colour_of(subject.looks), "shape": shape_of(subject.looks), "tooltip": hover},
        },
        rule(0.0, along="x"),
    ]
    values = [value for row in rows for value in (row["value"],) if isinstance(value, float)]
    scale = fits(values, log=True) if min(values) < 0 else {"type": "linear"}
    x = number_axis("value", "change of the loss", **scale)
    y = {"field": "line", "type": "nominal", "title": None, "sort": None}
    rows = [{**row, "line": f"{row['arm']}: {row['part']}"} for row in rows]
    spec = chart(layers, x=x, y=y, height=len(rows) * 15 + 50, description="the parts of Taylor's model of a step")
    about = (
        "The mean over probed steps and seeds, on the probe batches. Predicted change: cost minus gain. A mark: what "
        "the loss did. Where observed and predicted differ, terms beyond the second order matter."
    )
    yield Figure("taylor", "geometry", "Taylor ledger of a step", about, spec, rows, headings)
