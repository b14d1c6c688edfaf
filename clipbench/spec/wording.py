"""How a spec's faults are worded: what was found, and the nearest name that would have been right."""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from clipbench.harmless import shortened
from clipbench.spec.scalars import scalar

_SHOWN = 16  # items of a list: who wrote more knows which list it is
_WIDTH = 60  # characters of a value
_MOST_LIKENED = 200  # names that one is likened to: each takes its time
_WORDS_FOR_BOOL = {"yes", "no", "on", "off", "y", "n"}


def mismatch(expected: str, value: Any) -> str:
    """What was expected and what was found instead, with the likely slip where there is one."""
    slip = ""
    if isinstance(value, str) and "bool" in expected and value.lower() in _WORDS_FOR_BOOL:
        slip = " (a word in YAML 1.2: write true or false)"
    elif isinstance(value, str) and not isinstance(scalar(value), str | None):
        slip = " (write it without quotes)"
    elif isinstance(value, str) and expected == "expected a list":
        slip = f" (write [{shortened(value, _WIDTH)}])"
    return f"{expected}, found {found(value)}{slip}"


def found(value: Any) -> str:
    """A value as the reader of the spec would call it."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return "infinity" if math.isinf(value) else "not-a-number (.nan)"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        shown = [shortened(written(item), _WIDTH) for item in value[:_SHOWN]]
        more = [f"… {len(value)} in all"] if len(value) > _SHOWN else []
        return f"the list [{', '.join([*shown, *more])}]"
    if isinstance(value, str):
        return f"the text {shortened(value, _WIDTH)!r}"
    return shortened(str(value), _WIDTH)


def written(value: Any) -> str:
    """A value as YAML would have it, short: 0.1, 1e-05, true, null, (0.9, 0.999); whole floats lose their `.0`."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list | tuple):
        return f"({', '.join(written(item) for item in value)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {written(item)}' for name, item in value.items())}}}"
    return str(value)


def meant(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`; empty where no known name is near."""
    likely = sorted(set(known))
    if len(likely) > _MOST_LIKENED:
        return ""
    close = get_close_matches(name, likely, n=1)
    if not close:  # difflib minds the case; people slip there most
        lowered = {candidate.lower(): candidate for candidate in likely}
        close = [lowered[near] for near in get_close_matches(name.lower(), lowered, n=1)]
    return f"did you mean {close[0]!r}?" if close else ""


def nearest(name: str, known: Iterable[str], beside: Iterable[str] = ()) -> str:
    """`did you mean 'x'?`, or the known names where none is near.

    Args:
        name: what was written.
        known: what may stand in its place.
        beside: further names that may have been meant; they are not listed.
    """
    names = sorted(known)
    if close := meant(name, {*names, *beside}):
        return close
    more = [f"… {len(names)} in all"] if len(names) > _SHOWN else []
    return f"known: {', '.join([*names[:_SHOWN], *more])}" if names else "there are none"
