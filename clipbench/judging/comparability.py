"""Whether the runs in one table were made alike: same task, data, budget and threads; same machine and device.

And whether they began alike, were independent, and what they say of themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clipbench.judging.beginnings import commits, unlike
from clipbench.judging.cells import LABELS, Cell, differing
from clipbench.judging.copies import alike, said
from clipbench.judging.remarks import remarks
from clipbench.judging.words import capital, listing
from clipbench.records import Environment, Record, Run


@dataclass(frozen=True)
class _Trait:
    """Something all runs of a task should have in common, and what is lost where they do not."""

    name: str
    of: Callable[[Run], str]
    loss: str


_NOT_COMPARABLE = "their losses are not comparable"
_TRAITS = (
    _Trait("data", lambda run: run.data[:12] or "none of the disk", _NOT_COMPARABLE),
    _Trait("budget", lambda run: str(run.budget), _NOT_COMPARABLE),
    _Trait("number of threads", lambda run: str(run.threads), "neither times nor last bits are comparable"),
    _Trait(
        "evaluation cadence",
        lambda run: f"every {run.measure.evaluate_every} steps",
        "steps to the target are read with different precision",
    ),
)


def comparability(cells: Sequence[Cell], *, timed: bool) -> Iterator[str]:
    """The sentences that apply about runs that were not made alike.

    Args:
        cells: one per task and arm.
        timed: whether the table shows times at all.
    """
    everything = [record for cell in cells for record in cell.records]
    yield from (f"{each.sentence}: {_NOT_COMPARABLE}." for each in unlike(everything))
    yield from (f"{each.sentence}: {_NOT_COMPARABLE}." for each in commits(everything))
    yield from _copies(cells)
    for task in dict.fromkeys(cell.task for cell in cells):
        records = [record for cell in cells if cell.task == task for record in cell.records]
        yield from _task_differs(task, records)
        for trait in _TRAITS:
            values = dict.fromkeys(trait.of(record.run) for record in records)
            if len(values) > 1:
                yield f"Runs of {task} differ in their {trait.name} ({listing(values)}): {trait.loss}."
        yield from _places_differ(task, records, timed=timed)
    if timed:
        yield from _crowded(cells)
    for cell in cells:
        yield from _arm_differs(cell)
    yield from remarks(everything)


def copied(cell: Cell) -> list[tuple[int, ...]]:
    """The seeds on which an arm finished with the same weights, in groups."""
    groups = alike({run.seed: [cell.ends[run.seed]] for run in cell.finished})
    return [group for group in groups if len(group) > 1]


def _copies(cells: Sequence[Cell]) -> Iterator[str]:
    """Arms of a task with copies on the same seeds in one sentence: it is mostly the task that is deaf."""
    arms: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for cell in cells:
        for seeds in copied(cell):
            arms.setdefault((cell.task, seeds), []).append(cell.arm)
    for (task, seeds), names in arms.items():
        yield f"{capital(said(seeds, f'{listing(names)} on {task}'))}."


def _task_differs(task: str, records: Sequence[Record]) -> Iterator[str]:
    fields = differing(_one_of_each(records, lambda run: run.task))
    changed = {name: values for name, values in fields.items() if name.startswith("task.") and name != "task.name"}
    if changed:
        yield f"{task} is not one task in all runs: {_changes(changed)}; {_NOT_COMPARABLE}."


def _arm_differs(cell: Cell) -> Iterator[str]:
    fields = differing(_one_of_each(cell.records, lambda run: run.arm))
    changed = {name: values for name, values in fields.items() if name.startswith("arm.") and name not in LABELS}
    if changed:
        yield f"{cell.arm} on {cell.task} is not one arm in all its runs: {_changes(changed)}."


def _one_of_each(records: Sequence[Record], of: Callable[[Run], object]) -> list[Run]:
    """A run for each different value: nearly always one, and telling how runs differ is slow."""
    found: list[Run] = []
    for record in records:
        described = of(record.run)
        if all(described != of(other) for other in found):
            found.append(record.run)
    return found


def _changes(changed: dict[str, tuple[str, ...]]) -> str:
    def said(name: str, values: tuple[str, ...]) -> str:
        if name.endswith(".source"):
            return "its code changed"
        return f"{name.removeprefix('arm.').removeprefix('task.')} is {listing(values)}"

    return "; ".join(said(name, values) for name, values in changed.items())


def _places_differ(task: str, records: Sequence[Record], *, timed: bool) -> Iterator[str]:
    places = [record.environment for record in records if record.environment]
    devices = _different(places, lambda place: place.device_name or place.device)
    numerics = _different(places, lambda place: place.numerics_id)
    machines = _different(places, lambda place: place.machine_id)
    if devices:
        yield f"Runs of {task} come from several devices ({listing(devices)}): times are not comparable."
    if machines and timed:
        yield f"Runs of {task} come from {len(machines)} machines: times are not comparable."
    if numerics:
        yield (
            f"Runs of {task} were made under {len(numerics)} numerical set-ups ({_what(places)}): "
            "equal seeds need not give equal bits."
        )


def _crowded(cells: Sequence[Cell]) -> Iterator[str]:
    places = [record.environment for cell in cells for record in cell.records if record.environment]
    side_by_side = max((place.side_by_side for place in places), default=1)
    if side_by_side > 1:
        yield (
            f"Up to {side_by_side} runs were timed side by side on one machine: "
            "times are longer and noisier than alone."
        )


def _different(places: Sequence[Environment], of: Callable[[Environment], str]) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(of(place) for place in places))
    return values if len(values) > 1 else ()


def _what(places: Sequence[Environment]) -> str:
    changed = numerics_apart(places)
    return f"they differ in {listing(changed)}" if changed else "their ids differ"


def numerics_apart(places: Sequence[Environment]) -> list[str]:
    """The facts of the numerical set-up that are not the same everywhere."""
    names = dict.fromkeys(name for place in places for name in place.numerics)
    return [name for name in names if len({str(place.numerics.get(name)) for place in places}) > 1]
