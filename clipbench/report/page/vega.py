"""Figures as plain Vega-Lite dicts, made of few parts: an arm's colour, dash and shape, axes, and layers.

In the rows of a figure every field has a fixed name, and names of arms are values: no name can act as a path. A figure
hides the arms in its parameter `hidden` before anything is scaled, so that what is left fills the picture.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clipbench.report.page.subject import Appearance

ChartSpec = dict[str, Any]
Datum = dict[str, str | float | int | None]
FigureAxis = Literal["", "same", "other"]

HIDDEN = "hidden"
FIRST = "first"  # the parameter of a picture of the loss: the step at which it begins
AXES = {"step": "steps", "seconds": "training seconds", "tokens": "tokens"}
_DIGITS = 6
# Labels without a prefix for thousands; Vega's own precision would round 0.25 to 0.3 between powers of ten.
LABEL = (
    "abs(datum.value) >= 1e5 || (datum.value && abs(datum.value) < 1e-3)"
    " ? format(datum.value, '.1~e') : format(datum.value, '.3~r')"
)


@dataclass(frozen=True)
class Figure:
    """A picture.

    - `name`: of its file; `group`: the section of the page it stands in.
    - `about`: how to read it.
    - `spec`: Vega-Lite without data; `rows` are its data.
    - `headings`: the fields that the table of its numbers shows, with their headings.
    - `axis`: whether x is what the page's switch says (same), what it does not (other), or neither.
    - `loss`: whether the switch between a linear and a logarithmic loss applies.
    """

    name: str
    group: str
    title: str
    about: str
    spec: ChartSpec
    rows: Sequence[Datum]
    headings: Mapping[str, str]
    axis: FigureAxis = ""
    loss: bool = False

    def whole(self) -> ChartSpec:
        """The spec with its data."""
        return {**self.spec, "data": {"values": list(self.rows)}}


def colour_of(looks: Mapping[str, Appearance], *, legend: bool = True) -> ChartSpec:
    """Colour by arm."""
    return _arm(looks, [look.colour for look in looks.values()], legend=legend)


def dash_of(looks: Mapping[str, Appearance]) -> ChartSpec:
    """Dash by arm."""
    return _arm(looks, [list(look.dash) for look in looks.values()])


def shape_of(looks: Mapping[str, Appearance]) -> ChartSpec:
    """Shape by arm."""
    return _arm(looks, [look.shape for look in looks.values()])


def _arm(looks: Mapping[str, Appearance], values: Sequence[Any], *, legend: bool = True) -> ChartSpec:
    """Colour, dash and shape share the names in their domain, and so have one legend."""
    scale = {"domain": [look.shown for look in looks.values()], "range": values}
    return {
        "field": "arm",
        "type": "nominal",
        "scale": scale,
        "legend": {"title": None, "symbolOpacity": 1} if legend else None,
    }


def number_axis(field: str, title: str, **scale: Any) -> ChartSpec:
    """A quantitative encoding; few ticks on a scale that is not linear, each a power of ten where both signs are on it.

    Args:
        field: of the rows.
        title: of the axis.
        scale: what Vega-Lite's scale takes; `values` are those that a symlog scale has to show.
    """
    values = scale.pop("values", ())
    encoding: ChartSpec = {"field": field, "type": "quantitative", "title": title}
    if scale.get("type") == "log":
        encoding["axis"] = {"tickCount": 5}
    elif scale.get("type") == "symlog":
        encoding["axis"] = {"values": _powers(values, scale["constant"]), "labelExpr": LABEL}
    return encoding | ({"scale": scale} if scale else {})


def _powers(values: Iterable[float], constant: float) -> list[float]:
    """0 and some powers of ten of both signs, no more than four a side, none within the linear part of the scale."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if not sizes:
        return [0.0]
    low, high = math.floor(math.log10(max(constant, min(sizes)))), math.ceil(math.log10(max(sizes)))
    apart = max(1, math.ceil((high - low) / 4))
    ahead = [10.0**power for power in range(high, low - 1, -apart)][:4]
    return [*(-each for each in ahead), 0.0, *reversed(ahead)]


def tooltip(headings: Mapping[str, str], names: Iterable[str] = ()) -> list[ChartSpec]:
    """What a pointer over a mark shows, and what a screen reader reads."""
    names = set(names)
    return [
        {"field": field, "title": title}
        | ({"type": "nominal"} if field in names else {"type": "quantitative", "format": ".4~g"})
        for field, title in headings.items()
    ]


def only(kind: str) -> list[ChartSpec]:
    """The transform of a layer that draws rows of one kind."""
    return [{"filter": f"datum.kind === '{kind}'"}]


def chart(layers: Sequence[ChartSpec], *, x: ChartSpec, y: ChartSpec, height: int, description: str) -> ChartSpec:
    """Layers over shared axes, without the arms that are hidden."""
    return {
        "description": description,
        "params": [{"name": HIDDEN, "value": []}],
        "transform": [{"filter": f"indexof({HIDDEN}, datum.arm) < 0"}],
        "encoding": {"x": x, "y": y},
        "layer": list(layers),
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
    }


def beginning_at(spec: ChartSpec, step: int) -> ChartSpec:
    """The chart without what was measured before `step`; the target and where broken runs ended are always shown."""
    later = {"filter": f"indexof(['broken', 'target'], datum.kind) >= 0 || datum.step >= {FIRST}"}
    return {
        **spec,
        "params": [*spec["params"], {"name": FIRST, "value": step}],
        "transform": [*spec["transform"], later],
    }


def rule(value: float, *, along: Literal["x", "y"]) -> ChartSpec:
    """A thin line across the picture."""
    across = "y" if along == "x" else "x"
    return {
        "data": {"values": [{"at": value}]},
        "mark": {"type": "rule", "strokeDash": [3, 3], "color": "#888", "aria": False},
        "encoding": {along: {"field": "at", "type": "quantitative"}, across: None},
    }


def fits(values: Iterable[float], *, log: bool) -> ChartSpec:
    """The scale for these values: logarithmic where all are positive, symmetric around 0 where some are not."""
    finite = [value for value in values if math.isfinite(value)]
    if not log or not finite:
        return {"type": "linear", "zero": False}
    if min(finite) > 0:
        return {"type": "log"}
    sizes = sorted(abs(value) for value in finite if value)
    # Within ± the constant the scale is about linear: a tenth of the typical size keeps small values of both signs.
    if not sizes:
        return {"type": "linear"}
    return {"type": "symlog", "constant": short(sizes[len(sizes) // 2] / 10), "values": sizes}


def short(value: float | None) -> float | None:
    """A number to six digits; None where it is not finite, which JSON cannot say."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
