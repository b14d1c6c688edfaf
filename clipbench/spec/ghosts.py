"""Ghosts in a spec: along whose paths, and whose steps are tried there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from clipbench.errors import Fault
from clipbench.records import OWN
from clipbench.spec.document import SpecDocument
from clipbench.spec.models import GhostSettings
from clipbench.spec.wording import nearest


class _WithName(Protocol):
    """An arm, or one that is still to be tuned."""

    @property
    def name(self) -> str: ...


AnyArm = TypeVar("AnyArm", bound=_WithName)


@dataclass(frozen=True)
class GhostPlan:
    """Which arms' runs carry ghosts and which arms' steps these are, by name as written or of one arm of a grid.

    None stands for all arms. An arm is no ghost on its own path: its step there is the one that it takes. `only` leaves
    out the runs of the arms that are not among `along`.
    """

    along: tuple[str, ...] | None = ()
    of: tuple[str, ...] | None = None
    only: bool = False

    def has_runs(self, arm: _WithName) -> bool:
        """Whether an arm has runs of its own, or is a ghost alone."""
        return not self.only or _named(arm, self.along)

    def on_the_path_of(self, arm: _WithName, arms: Sequence[AnyArm]) -> tuple[AnyArm, ...]:
        """The arms that are ghosts in an arm's runs."""
        if not _named(arm, self.along):
            return ()
        return tuple(candidate for candidate in arms if candidate.name != arm.name and _named(candidate, self.of))


def _named(arm: _WithName, names: Iterable[str] | None) -> bool:
    return names is None or any(arm.name == name or arm.name.startswith(f"{name}[") for name in names)


def ghosts(written: GhostSettings | None) -> GhostPlan:
    """Which arms are ghosts where, as a spec says it; none where it says nothing."""
    if written is None:
        return GhostPlan()
    along, of = (None if named == "all" else tuple(named) for named in (written.along, written.of))
    return GhostPlan(along, of, written.only)


def unsound(document: SpecDocument, ghosts: GhostPlan, arms: Sequence[_WithName], *, baseline: str) -> list[Fault]:
    """Names that no arm has, an arm whose steps could not be told from a run's own, and a baseline without runs."""
    faults = [
        document.fault(("measure", "ghosts", key, place), f"there is no arm {name!r}; {nearest(name, _names(arms))}")
        for key, names in (("along", ghosts.along), ("of", ghosts.of))
        for place, name in enumerate(names or ())
        if not any(_named(arm, [name]) for arm in arms)
    ]
    if ghosts.along != () and any(arm.name == OWN and _named(arm, ghosts.of) for arm in arms):
        message = f"{OWN!r} is how a run's own steps are called, so no ghost can have that name; rename the arm"
        faults.append(document.fault(("optimizers", OWN), message, key=True))
    if not faults and any(arm.name == baseline and not ghosts.has_runs(arm) for arm in arms):
        message = f"the baseline, {baseline!r}, is only a ghost and has no runs; put it under `along`, or name another"
        faults.append(document.fault(("measure", "ghosts", "along"), message))
    return faults


def _names(arms: Iterable[_WithName]) -> list[str]:
    return list(dict.fromkeys(name for arm in arms for name in (arm.name.partition("[")[0], arm.name)))
