"""The part of the losses that a picture shows: neither the first fall nor what diverged flattens the rest."""

import math
from collections.abc import Sequence

from clipbench.judging.words import listing, number
from clipbench.report.page.vega import ChartSpec, Datum, fits


def after_a_tenth(rows: Sequence[Datum]) -> int:
    """The first step of a mean after a tenth of the run, so that the fall at the beginning does not flatten the rest.

    0, the whole run, where fewer than three points would be left.
    """
    steps = sorted({step for row in rows if row["kind"] == "mean" and isinstance(step := row["step"], int)})
    later = [step for step in steps if step * 10 >= steps[-1]]
    return later[0] if len(later) > 2 else 0


def cut_off(rows: Sequence[Datum], begin: int, share: float) -> tuple[ChartSpec, str]:
    """The scale of the losses from step `begin` on, and a sentence about what lies above it; "" where nothing does.

    Means set the scale, but for those of arms that rise above their start by more than `share` of it. What is higher,
    such as a broken run, is drawn at the upper edge.
    """
    scale = fits((), log=False)
    means = [row for row in rows if row["kind"] == "mean"]
    if not means:
        return scale, ""
    start = max(_of(row, "value") for row in means if row["step"] == means[0]["step"])
    risen = {row["arm"] for row in means if _of(row, "value") > start + share * abs(start)}
    useful = [_of(row, "high") for row in means if row["arm"] not in risen and _of(row, "step") >= begin]
    top = max([*(useful or [start]), *(_of(row, "value") for row in rows if row["kind"] == "target")])
    drawn = (row for row in rows if row["kind"] == "broken" or _of(row, "step") >= begin)  # and no target
    above = dict.fromkeys(row["arm"] for row in drawn if _of(row, "value") > top)
    if not above:
        return scale, ""
    sentence = (
        f" Cut at a loss of {number(top, 4)}, above which {listing(above, 4)} went; a logarithmic loss shows all."
    )
    return {**scale, "domainMax": top, "clamp": True}, sentence


def _of(row: Datum, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else math.nan
