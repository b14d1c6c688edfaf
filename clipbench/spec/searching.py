"""Tuning as a protocol: what each arm leaves open, and the settings of it that are tried, as many for every arm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from clipbench.errors import Fault
from clipbench.quantities import (
    ALIASES,
    FINAL_LOSS,
    RESERVED,
    SECONDS_TO_TARGET,
    STEPS_TO_TARGET,
    of_the_shelf,
    quantity,
)
from clipbench.questions import Manner, Side, Space
from clipbench.records import EVAL_LOSS, OF_EVALUATIONS, Arm, Options
from clipbench.spec import drawing
from clipbench.spec.document import SpecDocument, Where
from clipbench.spec.grid import label, points
from clipbench.spec.models import TuningSettings
from clipbench.spec.wording import meant


@dataclass(frozen=True)
class Searched:
    """An arm that is to be tuned: the `spaces` of what it leaves open, and the settings to try, in their order.

    `make` gives the arm of a name at some settings.
    """

    name: str
    spaces: tuple[Space, ...]
    settings: tuple[Options, ...]
    make: Callable[[str, Options], Arm]

    def trial(self, settings: Options) -> Arm:
        """The arm at one of its settings, which its name tells."""
        return self.make(self.name + label(settings), settings)

    def selected(self, settings: Options) -> Arm:
        """The arm as it is reported."""
        return self.make(self.name, settings)


def searched(
    name: str, spaces: Sequence[Space], *, make: Callable[[str, Options], Arm], tuning: TuningSettings
) -> Searched:
    """The arm with the settings that the search finds for it.

    Raises:
        ValueError: the spaces have fewer different settings than trials are asked for.
    """
    if tuning.search == "grid" or tuning.trials is None:
        return Searched(name, tuple(spaces), tuple(points(spaces)), make)
    cube = drawing.halton() if tuning.search == "halton" else drawing.uniform(tuning.seeds[0])
    drawn = drawing.settings(spaces, points=cube, trials=tuning.trials)
    return Searched(name, tuple(spaces), tuple(drawn), make)


def faults(document: SpecDocument, spaces: Mapping[str, Sequence[Space]], tuning: TuningSettings | None) -> list[Fault]:
    """What is wrong with the protocol before any setting is drawn.

    Args:
        document: the spec.
        spaces: of what each arm leaves open, by its name.
        tuning: the spec's section, if it has one.
    """
    collected = list(_undrawn(document, spaces, tuning))
    if tuning is None:
        return collected
    if not any(spaces.values()):
        message = "no arm has anything to tune: give one a list of values or a space"
        collected.append(document.fault(("tuning",), message, key=True))
    reported = document.data["seeds"]
    collected += [
        document.fault(
            ("tuning", "seeds", place), f"{seed} is among `seeds` as well: what tuned an arm cannot judge it"
        )
        for place, seed in enumerate(tuning.seeds)
        if seed in reported
    ]
    return collected


def selected_by(tuning: TuningSettings, manners: Mapping[str, Manner]) -> tuple[str, Side]:
    """The quantity by which trials are selected, and its better side.

    Raises:
        ValueError: no trial records it, or neither side is known to be better.
    """
    written = tuning.select
    name, wanted = (written, None) if isinstance(written, str) else (written.quantity, written.better)
    name = ALIASES.get(name, EVAL_LOSS if name == FINAL_LOSS else name)
    if name in RESERVED and name not in (*OF_EVALUATIONS, STEPS_TO_TARGET, SECONDS_TO_TARGET):
        raise ValueError(f"no trial is selected by {name}: name a loss, steps_to_target or a metric of the task")
    if "@" in name:
        raise ValueError(f"trials are selected at evaluations, which have no direction: write {name.partition('@')[0]}")
    better = "lower" if name == EVAL_LOSS else quantity(name, manners, metric=True).better
    if better == "neither" and wanted is None:
        form = f"`select: {{quantity: {name}, better: higher}}`, or lower"
        known = [each for each, manner in manners.items() if manner.better != "neither"]
        declared = f"; the spec's tasks and probes say it of {', '.join(known)}" if known else ""
        at_evaluations = [each for each, manner in {**of_the_shelf(), **manners}.items() if manner.over == "last"]
        near = meant(name, [*OF_EVALUATIONS, FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET, *at_evaluations])
        raise ValueError(f"which side of {name} is better is not known: {near and f'{near} Or '}write {form}{declared}")
    if name in RESERVED and wanted not in (None, better):
        raise ValueError(f"of {name} {better} is better")
    return name, wanted or ("higher" if better == "higher" else "lower")


def unselectable(document: SpecDocument, tuning: TuningSettings | None, manners: Mapping[str, Manner]) -> list[Fault]:
    """What is wrong with how trials are selected."""
    if tuning is None:
        return []
    try:
        name, _ = selected_by(tuning, manners)
    except ValueError as error:
        return [document.fault(("tuning", "select"), str(error))]
    if name in (STEPS_TO_TARGET, SECONDS_TO_TARGET) and _lacks_a_target(document):
        unit = name.partition("_")[0]
        return [document.fault(("tuning", "select"), f"there is no `target` to count the {unit} to")]
    return []


def _lacks_a_target(document: SpecDocument) -> bool:
    """Whether there is a task whose runs race to nothing."""
    written = document.data["task"]
    entries = written if isinstance(written, list) else [written]
    has_one = (isinstance(entry, dict) and entry.get("target") is not None for entry in entries)
    return document.data.get("target") is None and not all(has_one)


def unequal(document: SpecDocument, arms: Sequence[Searched], tuning: TuningSettings) -> list[Fault]:
    """Arms that would be given different numbers of trials: the one with more of them would win by that alone."""
    counts = {arm.name: len(arm.settings) for arm in arms}
    wanted = tuning.trials or max(counts.values(), default=0)
    if all(count == wanted for count in counts.values()):
        return []
    listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
    asked = f" and `trials` asks for {wanted}" if tuning.trials else ""
    message = f"every arm must have the same number of trials, but {listed}{asked}; "
    remedy = "make the grids equal in size, or draw `trials` settings an arm by `search: halton` or `random`"
    return [document.fault(("tuning",), message + remedy, key=True)]


def _where(name: str, space: Space) -> Where:
    """Where an arm's space stands in the spec."""
    return ("optimizers", name, *space.setting.split("."))


def _undrawn(
    document: SpecDocument, spaces: Mapping[str, Sequence[Space]], tuning: TuningSettings | None
) -> Iterator[Fault]:
    if tuning is not None and tuning.search != "grid":
        return
    remedy = (
        "add a `tuning` section, or list the values"
        if tuning is None
        else "say `search: halton` or `random`, with `trials`, or list the values"
    )
    for name, of_one in spaces.items():
        for space in of_one:
            if not space.values:
                message = f"a space of values is drawn from while an arm is tuned: {remedy}"
                yield document.fault(_where(name, space), message)
