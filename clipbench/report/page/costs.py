"""Pictures of what the runs cost: the tuning of each arm, and where the time went."""

from collections.abc import Iterator

from clipbench.budget import LEDGER_ROWS
from clipbench.judging.statistics import estimate
from clipbench.judging.tuning.summary import ArmTuning
from clipbench.report.page.subject import Subject
from clipbench.report.page.vega import (
    ChartSpec,
    Datum,
    Figure,
    chart,
    colour_of,
    dash_of,
    number_axis,
    shape_of,
    short,
    tooltip,
)
from clipbench.report.selection import PLAIN

_GREYS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB", "#555555", "#9999CC", "#DDAA77")


def figures(subject: Subject, task: str) -> Iterator[Figure]:
    """The pictures of a task's costs."""
    yield from _tuning(subject, task)
    yield from _ledger(subject, task)


def _tuning(subject: Subject, task: str) -> Iterator[Figure]:
    """The loss of each learning rate that was tried, or what trials are selected by."""
    of_task = [arm for arm in subject.comparison.tunings if arm.task == task]
    selects = next((arm.selected_by for arm in of_task if arm.selected_by not in PLAIN), "final loss")
    rows = [row for arm in of_task for row in _rates(arm, _shown(arm, subject))]
    edges = [f"{_shown(arm, subject)} ({at} {name} tried)" for arm in of_task for name, at in arm.edges.items()]
    if not any(row["value"] is not None for row in rows):
        return
    headings = {
        "arm": "arm",
        "rate": "learning rate",
        "value": selects,
        "chosen": "chosen",
        "broken": "diverged or failed",
        "n": "tuning seeds",
    }
    colour, hover = colour_of(subject.looks), tooltip(headings, ["arm", "chosen", "broken"])
    points = {"color": colour, "shape": shape_of(subject.looks), "tooltip": hover}
    sound = [{"filter": "isValid(datum.value)"}]
    chosen_only = [{"filter": "datum.chosen === 'yes'"}]
    broken = {"type": "text", "text": "×", "fontSize": 15, "fontWeight": "bold"}
    layers: list[ChartSpec] = [
        {
            "transform": sound,
            "mark": {"type": "line", "strokeWidth": 1.8, "aria": False},
            "encoding": {"color": colour, "strokeDash": dash_of(subject.looks)},
        },
        {"transform": sound, "mark": {"type": "point", "size": 25, "filled": True}, "encoding": points},
        {
            "transform": chosen_only,
            "name": "arm",
            "mark": {"type": "point", "size": 150, "filled": True},
            "encoding": points,
        },
        {
            "transform": [{"filter": "datum.broken === 'yes'"}],
            "mark": broken,
            "encoding": {"color": colour, "y": {"value": 8}, "tooltip": hover},
        },
    ]
    x, y = number_axis("rate", "learning rate", type="log"), number_axis("value", selects, zero=False)
    spec = chart(layers, x=x, y=y, height=260, description=f"the {selects} of each learning rate that was tried")
    at_edges = f" Chosen at the edge: {', '.join(edges)}." if edges else " No chosen value lies at an edge."
    about = (
        f"Best of the trials with each rate, on the tuning seeds. Large mark: chosen. ×: diverged or failed.{at_edges}"
    )
    title = f"{selects} by learning rate" if selects != "final loss" else "Loss by learning rate"
    yield Figure("tuning", "tuning", title, about, spec, rows, headings)


def _shown(arm: ArmTuning, subject: Subject) -> str:
    return subject.looks[arm.arm].shown if arm.arm in subject.looks else arm.arm


def _rates(arm: ArmTuning, shown: str) -> list[Datum]:
    """The learning rates that were tried of an arm; none of several groups, each of which has its own."""
    if len({tried.setting for tried in arm.rates}) != 1:
        return []
    return [
        {
            "arm": shown,
            "rate": tried.rate,
            "value": short(tried.value.mean),
            "chosen": "yes" if tried.rate == (arm.selected or {}).get(tried.setting) else "",
            "broken": "yes" if tried.broken else "",
            "n": tried.value.n,
        }
        for tried in arm.rates
    ]


def _ledger(subject: Subject, task: str) -> Iterator[Figure]:
    """The wall time of a run by what it was spent on, the mean over finished runs."""
    rows: list[Datum] = []
    for cell in subject.of_task(task):
        ended = [record.outcome for record in cell.records if record.outcome and record.outcome.status == "finished"]
        ledgers = [each.ledger for each in ended if each.ledger]
        for part in LEDGER_ROWS:
            mean = estimate([ledger.get(part, 0.0) for ledger in ledgers])
            if mean.n and mean.mean > 0:
                shown = subject.looks[cell.arm].shown
                rows.append({"arm": shown, "part": part, "value": short(mean.mean), "n": mean.n})
    if not rows:
        return
    parts = [part for part in LEDGER_ROWS if any(row["part"] == part for row in rows)]
    headings = {"arm": "arm", "part": "spent on", "value": "seconds", "n": "runs"}
    by_part = {"field": "part", "type": "nominal", "scale": {"domain": parts, "range": _GREYS[: len(parts)]}}
    order = {"field": "place", "type": "quantitative"}
    rows = [{**row, "place": parts.index(row["part"])} for row in rows]  # type: ignore[arg-type]
    hover = tooltip(headings, ["arm", "part"])
    colour = {**by_part, "legend": {"title": "spent on"}}
    layers: list[ChartSpec] = [
        {"mark": {"type": "bar"}, "encoding": {"color": colour, "order": order, "tooltip": hover}},
    ]
    arms = len({row["arm"] for row in rows})
    x, y = number_axis("value", "seconds of a run"), {"field": "arm", "type": "nominal", "title": None, "sort": None}
    spec = chart(layers, x=x, y=y, height=max(3, arms) * 24 + 100, description="where the time of a run went")
    about = "The wall time of a run, the mean over finished runs. Only “train” is on the clock of the comparison."
    yield Figure("ledger", "time", "Time ledger", about, spec, rows, headings)
