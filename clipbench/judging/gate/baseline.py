"""A suite as a JSON file small enough to commit. It is read strictly, since anybody may have written it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.harmless import on_one_line, shortened
from clipbench.judging.gate.suite import BASELINE_FORMAT, MEND, Suite
from clipbench.judging.words import count, listing

MOST_BASELINE_BYTES = 24_000_000  # of a baseline file: the ten thousand runs that judging is measured at, at 2 kB each
_SHOWN = 200  # characters of what is wrong with a file
_SUITE = TypeAdapter(Suite)


def dumped(suite: Suite) -> bytes:
    """A suite as the JSON of a baseline file.

    Raises:
        UndecidedError: it has runs that could not be read: what lacks their seeds would silently judge on fewer.
    """
    if suite.unread:
        broken = listing((run.reason for run in suite.unread), limit=3)
        message = f"{count(len(suite.unread), 'run')} cannot be read, and a baseline needs all runs: {broken}"
        raise UndecidedError(message, remedy=MEND)
    harmless = replace(suite, caveats=tuple(map(on_one_line, suite.caveats)))  # a folder's name may be no text
    return _SUITE.dump_json(harmless, indent=1, exclude={"unread"})


def loaded(content: bytes, *, where: str) -> Suite:
    """A suite from the JSON of a baseline file.

    Raises:
        ClipbenchError: it is no such file, or one of another format.
    """
    anew = "save it again: clipbench check RESULTS --save-baseline FILE"
    try:
        text = content.decode()
        raw: Any = json.loads(text, object_pairs_hook=_each_once)
        if isinstance(raw, dict) and raw.get("format", BASELINE_FORMAT) != BASELINE_FORMAT:
            has = shortened(repr(raw["format"]), _SHOWN)
            message = f"this baseline has format {has}; this clipbench reads format {BASELINE_FORMAT}"
            raise ClipbenchError(message, where=where, remedy=anew)
        suite = _SUITE.validate_json(text)  # as JSON, where a list may be a tuple and nothing else is converted
    except (ValueError, RecursionError) as error:
        fault = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" if fault else str(error)
        message = f"this is not a baseline file ({shortened(reason, _SHOWN)})"
        raise ClipbenchError(message, where=where, remedy=anew) from error
    # Of two arms one would be dropped in silence, and a seed that counts double would feign certainty.
    arms = Counter(f"{arm.arm} on {arm.task} of {arm.spec}" for arm in suite.arms)
    seeds = Counter(
        f"seed {run.seed} of {arm.arm} on {arm.task} of {arm.spec}" for arm in suite.arms for run in arm.seeds
    )
    if twice := [name for name, times in [*arms.items(), *seeds.items()] if times > 1]:
        message = f"this baseline has {shortened(twice[0], _SHOWN)} twice"
        raise ClipbenchError(message, where=where, remedy=anew)
    return suite


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two values under one name, a reader could take either."""
    read = dict(pairs)
    if len(read) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{twice!r} is there twice")
    return read
