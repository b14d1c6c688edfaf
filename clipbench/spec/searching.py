"""Tuning as a protocol: what each arm leaves open, and the settings of it that are tried, as many for every arm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from clipbench.errors import Fault
from clipbench.questions import Space
from clipbench.records import Arm, Options
from clipbench.spec import drawing
from clipbench.spec.document import SpecDocument, Where
from clipbench.spec.grid import label, points
from clipbench.spec.models import TuningSettings


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
    if tuning.select == "steps_to_target" and _lacks_a_target(document):
        collected.append(document.fault(("tuning", "select"), "there is no `target` to count the steps to"))
    return collected


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
