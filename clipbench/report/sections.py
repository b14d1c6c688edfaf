"""The tables beside the main one: the race, arms at the same loss, directions at one point, and how arms were tuned."""

from clipbench.errors import ClipbenchError
from clipbench.judging.comparison import Comparison
from clipbench.report import matched, race, shared_points, tuning
from clipbench.report.fields import FIELDS, Field
from clipbench.report.section import Section as Section

_MAKERS = {
    "race": race.section,
    "matched": matched.section,
    "shared": shared_points.section,
    "tuning": tuning.selected,
    "sensitivity": tuning.sensitivity,
    "expected": tuning.expected,
}
NAMES = tuple(_MAKERS)


def sections(comparison: Comparison) -> list[Section]:
    """The sections that have rows."""
    return [made for made in (make(comparison) for make in _MAKERS.values()) if made.rows]


def all_fields() -> dict[str, tuple[Field, ...]]:
    """The columns of every CSV that `compare` writes, by the name of its table."""
    nothing = Comparison("", "", baseline="", target=None, tasks=(), rows=(), twins=(), caveats=())
    return {"compare": FIELDS} | {name: make(nothing).fields for name, make in _MAKERS.items()}


def section(comparison: Comparison, name: str) -> Section:
    """One section, be it without rows.

    Raises:
        ClipbenchError: there is no such section.
    """
    if name not in _MAKERS:
        raise ClipbenchError(f"there is no section {name!r}", remedy=f"choose one of: {', '.join(NAMES)}")
    return _MAKERS[name](comparison)
