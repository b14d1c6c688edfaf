"""Pictures of the comparison: differences to the baseline, ratios at shared points, sharpness and speed, the race."""

import math
import statistics
from collections.abc import Iterator

from clipbench.judging.comparison import Row as Judged
from clipbench.judging.race import RACE_FACTORS
from clipbench.judging.words import goal
from clipbench.quantities import LOSS, STEPS
from clipbench.report.answers import corrected
from clipbench.report.arms import mark
from clipbench.report.page.subject import Subject, in_words
from clipbench.report.page.vega import (
    ChartSpec,
    Datum,
    Figure,
    chart,
    colour_of,
    dash_of,
    number_axis,
    rule,
    shape_of,
    short,
    tooltip,
)

_LINE = 30  # pixels of an arm's line in a forest


def figures(subject: Subject, task: str) -> Iterator[Figure]:
    """The pictures of a task's comparison."""
    yield from _differences(subject, task)
    yield from _shared(subject, task)
    yield from _speed(subject, task)
    yield from _profile(subject)


def _differences(subject: Subject, task: str) -> Iterator[Figure]:
    comparison = subject.comparison
    metric, base = comparison.metric, subject.looks[comparison.baseline].shown
    log = metric.quantity.scale == "log"
    judged = [row for row in comparison.rows if row.task == task and row.against is not None and row.against.n]
    judged.sort(key=lambda row: row.against.mean if row.against else math.nan)
    if not judged:
        return
    rows = [_difference(subject, row) for row in judged]
    over = "over" if log else "minus"
    title = f"{in_words(str(metric))} {over} {base}'s"
    headings = {
        "label": "arm",
        "verdict": "verdict",
        "value": "difference" if not log else "ratio",
        "low": "95 % from",
        "high": "95 % to",
        "judged_low": "verdict's from",
        "judged_high": "verdict's to",
        "n": "seeds",
    }
    colour = colour_of(subject.looks)
    hover = tooltip(headings, ["label", "verdict"])
    layers: list[ChartSpec] = [
        rule(1.0 if log else 0.0, along="x"),
        _interval("judged_low", "judged_high", 1.2, colour),
        _interval("low", "high", 4, colour),
        {
            "name": "arm",
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
            "encoding": {"color": colour, "shape": shape_of(subject.looks), "tooltip": hover},
        },
    ]
    y = {"field": "label", "type": "nominal", "title": None, "sort": [row["label"] for row in rows]}
    x = number_axis("value", title, **({"type": "log"} if log else {"zero": False}))
    spec = chart(layers, x=x, y=y, height=max(3, len(rows)) * _LINE + 50, description=f"{title}, a line for each arm")
    tests = corrected(judged)
    thin = f"the interval that the verdict goes by{f', corrected for {tests} differences' if tests > 1 else ''}"
    about = f"Thick: 95 % interval. Thin: {thin}. {_marks(subject)}"
    yield Figure("differences", "loss", f"Differences to {base}", about, spec, rows, headings)


def _marks(subject: Subject) -> str:
    better = subject.comparison.metric.quantity.better
    if better == "neither":
        return "< lower, > higher, ~ undecided."
    return f"+ {better}, - {'higher' if better == 'lower' else 'lower'}, ~ undecided."


def _difference(subject: Subject, row: Judged) -> Datum:
    against, judged = row.against, row.judged
    assert against is not None
    low, high = against.interval()
    corrected = (judged.low, judged.high) if judged is not None else (math.nan, math.nan)
    shown = subject.looks[row.arm].shown
    sign = mark(row.verdict, subject.comparison.metric.quantity.better)[0]
    return {
        "arm": shown,
        "label": f"{sign} {shown}",
        "verdict": row.verdict,
        "value": short(against.shown(against.mean)),
        "low": short(against.shown(low)),
        "high": short(against.shown(high)),
        "judged_low": short(against.shown(corrected[0])),
        "judged_high": short(against.shown(corrected[1])),
        "n": against.n,
    }


def _interval(low: str, high: str, width: float, colour: ChartSpec) -> ChartSpec:
    return {
        "transform": [{"filter": f"isValid(datum.{low})"}],
        "mark": {"type": "rule", "strokeWidth": width, "aria": False},
        "encoding": {"x": {"field": low, "type": "quantitative"}, "x2": {"field": high}, "color": colour},
    }


def _shared(subject: Subject, task: str) -> Iterator[Figure]:
    """Ratios of sharpness at shared points, a row for each trajectory."""
    rows: list[Datum] = []
    references = set()
    for entry in subject.comparison.shared:
        if entry.task != task or entry.ratio is None or not entry.ratio.n:
            continue
        low, high = map(entry.ratio.shown, entry.ratio.interval())
        references.add(entry.reference)
        rows.append(
            {
                "arm": subject.looks[entry.direction].shown,
                "path": subject.looks[entry.trajectory].shown,
                "value": short(entry.ratio.shown(entry.ratio.mean)),
                "low": short(low),
                "high": short(high),
                "n": entry.ratio.n,
                "left_out": entry.excluded,
            }
        )
    if not rows:
        return
    headings = {
        "arm": "direction",
        "path": "on the path of",
        "value": "ratio",
        "low": "95 % from",
        "high": "95 % to",
        "n": "seeds",
        "left_out": "points left out",
    }
    colour, offset = colour_of(subject.looks), {"field": "arm", "type": "nominal"}
    layers: list[ChartSpec] = [rule(1.0, along="x"), _interval("low", "high", 3, colour)]
    layers[1]["encoding"]["yOffset"] = offset
    point = {"type": "point", "filled": True, "size": 80, "opacity": 1}
    hover = tooltip(headings, ["arm", "path"])
    encoding = {"color": colour, "shape": shape_of(subject.looks), "yOffset": offset, "tooltip": hover}
    layers.append({"name": "arm", "mark": point, "encoding": encoding})
    names = " or ".join(subject.looks[name].shown for name in sorted(references))
    x = number_axis("value", f"sharpness over that of {names}'s direction", type="log")
    paths = len({row["path"] for row in rows})
    y = {"field": "path", "type": "nominal", "title": "on the path of"}
    height = max(3, len(rows) + paths) * 22 + 50
    spec = chart(layers, x=x, y=y, height=height, description="ratios of sharpness at shared points")
    about = (
        "Directional sharpness of each direction over the reference's at the same weights on the same batches: "
        "geometric means with 95 % intervals over seeds."
    )
    yield Figure("shared", "sharpness", "Sharpness at shared points", about, spec, rows, headings)


def _speed(subject: Subject, task: str) -> Iterator[Figure]:
    """One dot an arm: its sharpness against the steps to the target, or against the final loss without a target."""
    cells = {cell.arm: cell for cell in subject.of_task(task)}
    rows: list[Datum] = []
    target = next((cell.target for cell in cells.values()), None)
    for row in subject.comparison.rows:
        if row.task != task or not row.sharpness.mean.n:
            continue
        sample = cells[row.arm].sample(STEPS if target else LOSS)
        readings = [sample[record.run.seed] for record in cells[row.arm].own if record.run.seed in sample]
        if not readings:
            continue
        rows.append(
            {
                "arm": subject.looks[row.arm].shown,
                "steps": short(statistics.median(each.value for each in readings) if target else row.final_loss.mean),
                "sharpness": short(row.sharpness.mean.mean),
                "missed": sum(each.at_least for each in readings),
                "n": len(readings),
            }
        )
    if len(rows) < 2:
        return
    what = f"median steps to {goal(target)}" if target else "final loss"
    headings = {"arm": "arm", "steps": what, "sharpness": "sharpness", "missed": "seeds that missed", "n": "seeds"}
    headings = headings if target else {name: title for name, title in headings.items() if name != "missed"}
    colour, hover = colour_of(subject.looks), tooltip(headings, ["arm"])
    layers: list[ChartSpec] = [
        {
            "name": "arm",
            "mark": {"type": "point", "filled": True, "size": 130, "opacity": 1},
            "encoding": {"color": colour, "shape": shape_of(subject.looks), "tooltip": hover},
        },
        {
            "mark": {"type": "text", "dy": -13, "fontSize": 10, "limit": 110, "aria": False},
            "encoding": {"text": {"field": "arm"}, "color": colour_of(subject.looks, legend=False)},
        },
    ]
    x, y = (
        number_axis("steps", what, zero=False, padding=34),
        number_axis("sharpness", "directional sharpness", type="log", padding=18),
    )
    spec = chart(layers, x=x, y=y, height=260, description=f"sharpness against {what}, a dot for each arm")
    miss = " A missed target counts as the end of the run plus one evaluation: such a dot is a bound." if target else ""
    about = f"Is the less sharp arm the better one? Sharpness: as in the table, along each arm's own path.{miss}"
    yield Figure("speed", "sharpness", "Sharpness against speed", about, spec, rows, headings)


def _profile(subject: Subject) -> Iterator[Figure]:
    race = [row for row in subject.comparison.race if row.instances]
    rows: list[Datum] = [
        {"arm": subject.looks[row.arm].shown, "factor": factor, "share": short(share), "n": row.instances}
        for row in race
        for factor, share in zip(RACE_FACTORS, row.within, strict=True)
    ]
    if not any(row["share"] for row in rows):
        return
    headings = {"arm": "arm", "factor": "within a factor of", "share": "share", "n": "seeds and tasks"}
    colour, hover = colour_of(subject.looks), tooltip(headings, ["arm"])
    last = [{"filter": f"datum.factor === {RACE_FACTORS[-1]:g}"}]
    dashes = {"color": colour, "strokeDash": dash_of(subject.looks)}
    points = {"color": colour, "shape": shape_of(subject.looks), "tooltip": hover}
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "aria": False}
    layers: list[ChartSpec] = [
        {"mark": line, "encoding": dashes},
        {"mark": {"type": "point", "size": 40, "filled": True, "opacity": 0.6}, "encoding": points},
        {"name": "arm", "transform": last, "mark": {"type": "point", "size": 70, "filled": True}, "encoding": points},
    ]
    x = number_axis("factor", "cost as a multiple of the fastest arm's", type="log")
    x["axis"] = {"values": list(RACE_FACTORS)}
    y = number_axis("share", "share of seeds and tasks", domain=[0, 1])
    spec = chart(layers, x=x, y=y, height=260, description="the performance profile of the race to the target")
    about = "The share of seeds and tasks on which an arm reaches the target within a factor of the fastest arm there."
    yield Figure("profile", "race", "Performance profile", about, spec, rows, headings)
