"""Pictures over training: the loss, the sharpness along own updates, and every other recorded number."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from clipbench.judging.cells import Cell
from clipbench.judging.statistics import estimate, geometric_mean
from clipbench.judging.words import count, goal
from clipbench.measurements import Measurement
from clipbench.quantities import Quantity, along
from clipbench.questions import Scale
from clipbench.records import DIRECTIONAL_SHARPNESS, EVAL_LOSS, LEARNING_RATE, OWN, Record
from clipbench.report.page.subject import Appearance, Subject, in_words
from clipbench.report.page.useful import after_a_tenth, cut_off
from clipbench.report.page.vega import (
    AXES,
    ChartSpec,
    Datum,
    Figure,
    beginning_at,
    chart,
    colour_of,
    dash_of,
    fits,
    number_axis,
    only,
    shape_of,
    short,
    tooltip,
)

MOST_SEEDS = 5  # drawn each; of more seeds the range is drawn
HEIGHT = 260
_DRAWN_APART = {EVAL_LOSS, DIRECTIONAL_SHARPNESS}
_HEADINGS = {"arm": "arm", "step": "step", "seconds": "seconds", "value": "mean", "low": "least", "high": "greatest"}


@dataclass(frozen=True)
class Curves:
    """The rows of a picture over training, and how the seeds are drawn."""

    rows: Sequence[Datum]
    each_seed: bool
    broken: int
    cut: int = 0

    @property
    def values(self) -> list[float]:
        """All values that are drawn."""
        drawn = (row.get(name) for row in self.rows for name in ("value", "low", "high"))
        return [value for value in drawn if isinstance(value, float)]

    def about(self, mean: str) -> str:
        """How to read the lines."""
        seeds = "Thin lines: each seed." if self.each_seed else "Band: the least and the greatest of all seeds."
        ends = f" ×: where {count(self.broken, 'broken run')} ended, which no mean includes." if self.broken else ""
        cut = f" {count(self.cut, 'value')} of broken runs beyond the others left out." if self.cut else ""
        return f"Thick lines: {mean}. {seeds}{ends}{cut}"


def figures(subject: Subject, task: str) -> Iterator[Figure]:
    """The pictures of a task over training."""
    cells = subject.of_task(task)
    yield from _losses(subject, cells)
    yield from _sharpness(subject, cells)
    yield from _others(subject, cells)


def _losses(subject: Subject, cells: Sequence[Cell]) -> Iterator[Figure]:
    """The evaluation loss over what the page's switch says, and over its counterpart."""
    series = curves(cells, subject.looks, EVAL_LOSS, "linear")
    if not series.rows:
        return
    target, grey = _target(cells, EVAL_LOSS)
    rows = [*series.rows, *target]
    begin = after_a_tenth(series.rows)
    scale, cut = cut_off(rows, begin, subject.question.diverged)
    spec = _chart(subject.looks, "evaluation loss", scale, target=True, topic="the evaluation loss")
    about = series.about("means over finished seeds") + grey + cut
    spec = beginning_at(spec, begin)
    about += f" From step {begin}; “whole run” shows all." if begin else ""
    first = Figure("loss", "loss", "Loss over steps", about, spec, rows, _HEADINGS, "same", loss=True)
    yield first
    seconds = {**spec, "encoding": {**spec["encoding"], "x": number_axis("seconds", AXES["seconds"])}}
    yield replace(first, name="loss_seconds", title="Loss over seconds", spec=seconds, axis="other")


def _sharpness(subject: Subject, cells: Sequence[Cell]) -> Iterator[Figure]:
    series = curves(cells, subject.looks, DIRECTIONAL_SHARPNESS, "log")
    if not series.rows:
        return
    scale = fits(series.values, log=True)
    spec = _chart(subject.looks, "directional sharpness", scale, topic="the directional sharpness")
    rows = [row for row in subject.comparison.rows if row.task == cells[0].task and row.sharpness.total]
    where = "; ".join(
        f"{row.arm} {row.sharpness.non_positive} of {row.sharpness.total}" for row in rows if row.sharpness.non_positive
    )
    counted = f" Zero or negative: {where}; no mean includes these." if where else " No value is zero or negative."
    about = series.about("geometric means of positive values over finished seeds, each along its own updates")
    about += counted
    yield Figure("sharpness", "sharpness", "Sharpness over training", about, spec, series.rows, _HEADINGS, "same")


def _others(subject: Subject, cells: Sequence[Cell]) -> Iterator[Figure]:
    """A picture for every other number that was recorded along own updates, or along no direction."""
    for name in _recorded(cells):
        entry = subject.quantities[name]
        series = curves(cells, subject.looks, name, entry.scale)
        if not series.rows or (name == LEARNING_RATE and _constant(series.rows)):
            continue
        label = in_words(name)
        mean = "geometric means of positive values" if entry.scale == "log" else "means"
        target, grey = _target(cells, name)
        about = f"{_meaning(entry)} {series.about(f'{mean} over finished seeds')}{grey}"
        scale = fits(series.values, log=entry.scale == "log")
        spec = _chart(subject.looks, label, scale, topic=label, target=bool(target))
        yield Figure(f"over_{name}", "quantities", label, about, spec, [*series.rows, *target], _HEADINGS, "same")


def _recorded(cells: Sequence[Cell]) -> list[str]:
    """The names of these numbers: errors last, else those that most arms have first."""
    arms: dict[str, set[str]] = {}
    for cell in cells:
        for record in cell.records:
            for direction, name in record.measurements.places:
                if direction in ("", OWN) and name not in _DRAWN_APART and not name.startswith("line_change_at_"):
                    arms.setdefault(name, set()).add(cell.arm)
    return sorted(arms, key=lambda name: (name.endswith(("_error", "_rounding")), -len(arms[name]), name))


def _meaning(entry: Quantity) -> str:
    meaning = entry.meaning.partition(": ")[0]
    return "" if meaning == "as recorded" else f"{meaning[0].upper()}{meaning[1:]}."


def _constant(rows: Sequence[Datum]) -> bool:
    """Whether every arm has a single value."""
    values: dict[object, set[object]] = {}
    for row in rows:
        values.setdefault(row["arm"], set()).add(row["value"])
    return all(len(of_arm) == 1 for of_arm in values.values())


def curves(cells: Sequence[Cell], looks: Mapping[str, Appearance], name: str, scale: Scale) -> Curves:
    """The rows of each arm: its mean with the range over seeds, each seed if there are few, and ends of broken runs."""
    each_seed = max((len(cell.records) for cell in cells), default=0) <= MOST_SEEDS
    finished = [value for cell in cells for record in cell.counted for _, value in _points(record, name)]
    limit = max(finished, default=math.inf)
    rows: list[Datum] = []
    broken = cut = 0
    for cell in cells:
        shown = looks[cell.arm].shown
        counted = {record.run.seed for record in cell.counted}
        for record in cell.records:
            points = _points(record, name)
            if record.run.seed in counted and not each_seed:
                continue
            if record.outcome is not None and record.outcome.status != "finished":
                inside = [point for point in points if point[1] <= limit]
                cut += len(points) - len(inside)
                points = inside
                broken += bool(points)
                rows += [_row("broken", shown, record, point) for point in points[-1:]]
            rows += [_row("seed", shown, record, point) for point in points]
        rows += [{**row, "band": not each_seed} for row in _means(cell, shown, name, scale)]
    return Curves(rows, each_seed, broken, cut)


def _points(record: Record, name: str) -> list[tuple[Measurement, float]]:
    """The finite values along the run's own direction."""
    return [(each, each.value) for each in along(record, name, None) if math.isfinite(each.value)]


def _row(kind: str, arm: str, record: Record, point: tuple[Measurement, float]) -> Datum:
    at, value = point
    return {
        "kind": kind,
        "arm": arm,
        "seed": record.run.seed,
        "step": at.step,
        "seconds": short(at.seconds),
        "tokens": short(_tokens(record, at.step)),
        "value": short(value),
    }


def _means(cell: Cell, arm: str, name: str, scale: Scale) -> Iterator[Datum]:
    """The mean over finished seeds at every step that all of them have; geometric of positive values on a log scale."""
    records = [record for record in cell.counted if along(record, name, None)]
    by_step: dict[int, list[tuple[Record, Measurement]]] = {}
    for record in records:
        for at, _ in _points(record, name):
            by_step.setdefault(at.step, []).append((record, at))
    for step in sorted(by_step):
        there = by_step[step]
        values = [at.value for _, at in there]
        used = [value for value in values if value > 0] if scale == "log" else values
        if len(there) < len(records) or not used:
            continue
        mean = geometric_mean([math.log(value) for value in used]) if scale == "log" else estimate(used)
        tokens = [_tokens(record, step) for record, _ in there]
        yield {
            "kind": "mean",
            "arm": arm,
            "step": step,
            "seconds": short(sum(at.seconds for _, at in there) / len(there)),
            "tokens": short(None if None in tokens else sum(filter(None, tokens)) / len(tokens)),
            "value": short(mean.mean),
            "low": short(min(values)),
            "high": short(max(values)),
            "n": mean.n,
        }


def _tokens(record: Record, step: int) -> float | None:
    ended = record.outcome
    return step * ended.tokens / ended.steps if ended is not None and ended.tokens and ended.steps else None


def _target(cells: Sequence[Cell], name: str) -> tuple[list[Datum], str]:
    """The row of the target in the picture of what is to reach it, and a sentence; neither in any other picture."""
    target = cells[0].target
    if target is None or target.recorded != name:
        return [], ""
    return [{"kind": "target", "value": target.bound}], f" Grey: the target {goal(target)}."


def _chart(
    looks: Mapping[str, Appearance], title: str, scale: ChartSpec, *, topic: str, target: bool = False
) -> ChartSpec:
    colour, headings = colour_of(looks), {**_HEADINGS, "n": "seeds"}
    by_seed = [{"field": "seed", "type": "nominal"}]
    last = [
        {"window": [{"op": "last_value", "field": "step", "as": "last"}], "groupby": ["arm"], "frame": [None, None]}
    ]
    ends = [*only("mean"), *last, {"filter": "datum.step === datum.last"}]
    layers: list[ChartSpec] = [
        {
            "transform": [{"filter": "datum.band"}],
            "mark": {"type": "area", "opacity": 0.13, "aria": False},
            "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            "transform": only("seed"),
            "mark": {"type": "line", "strokeWidth": 0.8, "opacity": 0.4, "aria": False},
            "encoding": {"color": colour, "detail": by_seed},
        },
        {
            "transform": only("mean"),
            "mark": {"type": "line", "strokeWidth": 2.2, "aria": False},
            "encoding": {"color": colour, "strokeDash": dash_of(looks)},
        },
        {
            "name": "arm",
            "transform": ends,
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {"color": colour, "shape": shape_of(looks), "tooltip": tooltip(headings, ["arm"])},
        },
        {
            "transform": only("broken"),
            "mark": {"type": "text", "text": "×", "fontSize": 16, "fontWeight": "bold"},
            "encoding": {"color": colour, "tooltip": tooltip({"arm": "broken run of", "step": "step"}, ["arm"])},
        },
        {
            "transform": only("mean"),
            "mark": {"type": "point", "filled": True, "size": 50, "opacity": 0},
            "encoding": {"color": colour, "tooltip": tooltip(headings, ["arm"])},
        },
    ]
    if target:
        dashes = {"type": "rule", "strokeDash": [3, 3], "strokeWidth": 1.5, "color": "#888"}
        layers.append({"transform": only("target"), "mark": dashes, "encoding": {"x": None}})
    x, y = number_axis("step", AXES["step"]), number_axis("value", title, **scale)
    return chart(layers, x=x, y=y, height=HEIGHT, description=f"{topic} over training, a line for each arm")
