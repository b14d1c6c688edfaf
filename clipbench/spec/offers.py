"""The names that a spec may use, and where each comes from.

A name comes from clipbench's own shelves, from an installed package (an entry point in the group `clipbench.tasks`,
`clipbench.optimizers`, `clipbench.wrappers` or `clipbench.probes`), or from the folder `shelf` beside the spec, which
has the layout of clipbench's own shelves: `shelf/optimizers/mine.py` is `use: mine`.
"""

from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from clipbench.spec import catalogue
from clipbench.spec.catalogue import OWN, SEAMS, Entry, Kind

BESIDE = "shelf"  # the folder beside a spec
_NO_MODULE = "no module of Python has such a name; rename its file: letters, digits and _, no digit at the beginning"


@dataclass(frozen=True)
class Offer:
    """A name and the task, optimizer, wrapper or probe that it stands for.

    - `origin`: where it comes from, in words.
    - `target`: "module:attribute", as Python imports it.
    - `root`: the folder of the shelf that has its file; None if it comes from an installed package.
    """

    kind: Kind
    name: str
    origin: str
    target: str
    root: Path | None = None

    @property
    def own(self) -> bool:
        """Whether clipbench itself has it."""
        return self.origin == ""

    @property
    def file(self) -> Path | None:
        """Its file on a shelf."""
        return None if self.root is None else self.root / self.kind / f"{self.name}.py"

    def entry(self) -> Entry:
        """What can be said of it without importing it; of what a package offers that is little."""
        if self.root is not None:
            entry = replace(catalogue.entry(self.kind, self.name, root=self.root), origin=self.origin)
            return entry if self.name.isidentifier() else replace(entry, broken=_NO_MODULE)
        return Entry(self.name, self.target, self.target, external=True, open=True, origin=self.origin)


def offers(kind: Kind, *, own: Path = OWN, folder: Path | None = None) -> dict[str, list[Offer]]:
    """All names of a kind, in alphabetical order, each with what it may stand for; more than one is an error.

    Args:
        kind: tasks, optimizers, wrappers or probes.
        own: the folder of clipbench's own shelves.
        folder: the folder of the spec; None for no shelf beside it.
    """
    listed = [*_on_shelf(kind, own, ""), *_installed(kind)]
    if folder is not None:
        listed += _on_shelf(kind, folder / BESIDE, str(folder / BESIDE / kind))
    by_name: dict[str, list[Offer]] = {}
    for offer in sorted(listed, key=lambda offer: offer.name):
        by_name.setdefault(offer.name, []).append(offer)
    return by_name


def entries(kind: Kind, *, own: Path = OWN, folder: Path | None = None) -> list[Entry]:
    """The entry of each name of a kind; one that stands for two things says so in `broken`."""
    return [
        replace(offer.entry(), broken=ambiguous(of_name)) if len(of_name) > 1 else offer.entry()
        for of_name in offers(kind, own=own, folder=folder).values()
        for offer in of_name
    ]


def ambiguous(of_name: list[Offer]) -> str:
    """That a name stands for several things."""
    places = " and ".join(offer.origin or f"clipbench ({offer.file})" for offer in of_name)
    return f"two things have this name, from {places}; rename one, or write its module:attribute"


def _on_shelf(kind: Kind, root: Path, origin: str) -> list[Offer]:
    return [
        Offer(kind, name, origin and f"{origin}/{name}.py", catalogue.target(kind, name, root), root)
        for name in catalogue.names(kind, root)
    ]


@cache
def _installed(kind: Kind) -> tuple[Offer, ...]:
    points = metadata.entry_points(group=f"clipbench.{kind}")
    return tuple(
        Offer(kind, point.name, _package(point), f"{point.module}:{point.attr or SEAMS[kind].function}")
        for point in points
    )


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.module
