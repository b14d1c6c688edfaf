"""Schedules that are functions of the user's own, "module:name": the identity of their code, imported elsewhere."""

from collections.abc import Iterator
from pathlib import Path

from clipbench.errors import Fault
from clipbench.spec.document import SpecDocument, Where
from clipbench.spec.externals import describe, function_source


def sources(document: SpecDocument, folder: Path) -> tuple[dict[str, str], list[Fault]]:
    """What identifies the code of each such function, by its use, and what is wrong with those that cannot be had."""
    places = list(_places(document))
    described = describe((use for _, use in places), folder)
    code: dict[str, str] = {}
    faults: list[Fault] = []
    for where, use in places:
        try:
            code[use] = function_source(use, described[use], arguments=1)
        except ValueError as error:
            faults.append(document.fault(where, f"the schedule {use!r} cannot be used: {error}"))
    return code, faults


def _places(document: SpecDocument) -> Iterator[tuple[Where, str]]:
    """Each place of a spec that names a function, with its name."""
    arms = document.data.get("optimizers")
    within: dict[Where, object] = {("schedule",): document.data.get("schedule")}
    for name, arm in arms.items() if isinstance(arms, dict) else ():
        if isinstance(arm, dict):
            within["optimizers", name, "schedule"] = arm.get("schedule")
    for where, written in within.items():
        use, use_at = (written.get("use"), (*where, "use")) if isinstance(written, dict) else (written, where)
        if isinstance(use, str) and ":" in use:
            yield use_at, use
