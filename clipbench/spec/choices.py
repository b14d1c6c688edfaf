"""From what a spec names to what is meant: a task, optimizer or probe with its options, checked and filled in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clipbench.errors import Fault
from clipbench.questions import Space
from clipbench.records import Choice, Options, Value
from clipbench.remedies import factory
from clipbench.spec.annotations import fit, fits, is_numeric
from clipbench.spec.catalogue import KINDS, SEAMS, Entry, Kind, Option
from clipbench.spec.document import SpecDocument, Where
from clipbench.spec.externals import RATE, UNKNOWN, describe, external_entry, shelved_entry, short_name
from clipbench.spec.limits import LARGEST, MOST_SETTINGS
from clipbench.spec.offers import Offer, ambiguous, offers
from clipbench.spec.structure import space_at
from clipbench.spec.wording import found, mismatch, nearest, written

# What stands beside the options of a group; the last five are the arm's, and are refused there.
_OF_A_GROUP = ("use", "kind", "names", "options", "wrap", "clip", "schedule", "create_graph", "liveness")


@dataclass(frozen=True)
class Named:
    """A place of a spec that names a thing: `use` and where it stands, its options as written.

    `apart`: the options that stand under the key `options`, since their names are keys of the spec, which are `keys`.
    `path`: what stands before its settings' names, of what an arm has several of: `groups.hidden.`, `wrap.sam.`.
    """

    kind: Kind
    where: Where
    use: str
    use_at: Where
    options: Mapping[str, Any] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()
    keys: tuple[str, ...] = ()
    path: str = ""

    def option_at(self, name: str) -> Where:
        """Where an option stands."""
        return (*self.where, "options", name) if name in self.apart else (*self.where, name)


@dataclass(frozen=True)
class Chosen:
    """The thing a spec names, with the options that the spec gives it, in the order written.

    An option is a value, or the space of those that the spec leaves open. Only an arm has ranges.
    """

    entry: Entry
    use: str
    options: Mapping[str, Value | Space]

    @property
    def spaces(self) -> list[Space]:
        """What is left open to be searched."""
        return [given for given in self.options.values() if isinstance(given, Space)]

    def at(self, settings: Options) -> dict[str, Value]:
        """The options that the spec gives, at settings of what it leaves open."""
        return {
            name: settings[given.setting] if isinstance(given, Space) else given for name, given in self.options.items()
        }

    def choice(self, settings: Options, *, name: str) -> Choice:
        """The resolved choice, with the defaults filled in (an external thing's defaults stay its own)."""
        options = self.at(settings)
        if not self.entry.external:
            options = {option.name: options.get(option.name, option.default) for option in self.entry.options}
        return Choice(name, self.use, self.entry.target, options=options, source=self.entry.source)


def arms(document: SpecDocument) -> dict[str, dict[str, Named]]:
    """The optimizers and wrappers of each arm of a spec whose shape is sound enough to be looked up, by their paths.

    The path is what stands before the names of a thing's settings: nothing for the only optimizer, `groups.hidden.` for
    that of a group, `wrap.sam.` for a wrapper.
    """
    section = document.data.get("optimizers")
    if not isinstance(section, dict):
        return {}
    named = {
        name: {site.path: site for site in _of_arm(("optimizers", name), arm)}
        for name, arm in section.items()
        if isinstance(arm, dict)
    }
    return {name: sites for name, sites in named.items() if sites}


def _of_arm(where: Where, arm: dict[str, Any]) -> Iterator[Named]:
    wrappers = arm.get("wrap")
    for site in _several("wrappers", (*where, "wrap"), wrappers) if isinstance(wrappers, list) else ():
        yield replace(site, path=f"wrap.{short_name('wrappers', site.use)}.")
    if "groups" not in arm:
        if named := _named("optimizers", where, arm):
            yield named
        return
    groups = arm["groups"] if isinstance(arm["groups"], dict) else {}
    for name, group in groups.items():
        named = _named("optimizers", (*where, "groups", name), group, _OF_A_GROUP) if isinstance(group, dict) else None
        if named:
            yield replace(named, path=f"groups.{name}.")


def tasks(document: SpecDocument) -> list[Named]:
    """The tasks of a spec, in order."""
    return list(_several("tasks", ("task",), document.data.get("task")))


def probes(document: SpecDocument) -> list[Named]:
    """The probes of a spec, in order; `sharpness` where the spec names none."""
    measure = document.data.get("measure", {})
    listed = measure.get("probes", ["sharpness"]) if isinstance(measure, dict) else []
    return list(_several("probes", ("measure", "probes"), listed)) if isinstance(listed, list) else []


def _several(kind: Kind, where: Where, written: Any) -> Iterator[Named]:
    listed = isinstance(written, list)
    for place, item in enumerate(written if listed else [written]):
        if named := _named(kind, (*where, place) if listed else where, item):
            yield named


def _named(kind: Kind, where: Where, written: Any, keys: tuple[str, ...] = ()) -> Named | None:
    """What an entry names; `keys` stand beside its options, those of the seam unless given."""
    keys = keys or SEAMS[kind].keys
    if isinstance(written, str):
        return Named(kind, where, written, where, keys=keys)
    if not isinstance(written, dict) or not isinstance(written.get("use"), str):
        return None
    options = {key: value for key, value in written.items() if key not in keys}
    apart: Any = written.get("options")
    apart = apart if isinstance(apart, dict) else {}
    return Named(kind, where, written["use"], (*where, "use"), {**options, **apart}, frozenset(apart), keys)


class Resolver:
    """Looks up what a spec names, each thing once, and gathers the faults."""

    def __init__(self, document: SpecDocument, sites: Sequence[Named], *, shelves: Path, folder: Path) -> None:
        self.document = document
        self.faults: list[Fault] = []
        self._offers = {kind: offers(kind, own=shelves, folder=folder) for kind in KINDS}
        self._described = describe((target for site in sites for target in self._imported(site)), folder)
        self._entries: dict[tuple[Kind, str], Entry] = {}

    def _imported(self, site: Named) -> list[str]:
        """The "module:attribute" that a site means, if it is not clipbench's own."""
        if ":" in site.use:
            return [site.use]
        return [offer.target for offer in self._offers[site.kind].get(site.use, []) if not offer.own]

    def chosen(self, site: Named) -> Chosen | None:
        """What `site` names with its options checked, or None if the name itself is at fault."""
        entry = self._entry(site)
        if entry is None:
            return None
        options = {name: given for name in site.options for given in self._given(site, entry, name)}
        self._complain_of_missing(site, entry)
        return Chosen(entry, site.use, options)

    def _entry(self, site: Named) -> Entry | None:
        word, known = SEAMS[site.kind].word, self._offers[site.kind]
        if (site.kind, site.use) not in self._entries:
            if ":" in site.use:
                entry = external_entry(site.kind, site.use, self._described[site.use])
            elif site.use in known:
                entry = self._named(known[site.use])
            else:
                self._fault(site.use_at, f"there is no {word} {site.use!r}; {self._instead(site)}")
                return None
            self._entries[site.kind, site.use] = entry
        found_entry = self._entries[site.kind, site.use]
        if found_entry.broken:
            self._fault(site.use_at, f"the {word} {site.use!r} cannot be used: {found_entry.broken}")
            return None
        return found_entry

    def _instead(self, site: Named) -> str:
        """What may have been meant by an unknown name."""
        if site.kind == "optimizers" and site.use in self._offers["wrappers"]:
            return f"it goes around an optimizer: write `wrap: [{site.use}]` beside the `use` of one"
        return nearest(site.use, self._offers[site.kind])

    def _named(self, of_name: list[Offer]) -> Entry:
        """The entry of what a name stands for."""
        offer = of_name[0]
        if len(of_name) > 1:
            return replace(offer.entry(), broken=ambiguous(of_name))
        if offer.own:
            return offer.entry()
        described = self._described[offer.target]
        if offer.root is not None:
            return shelved_entry(offer, described)
        return replace(external_entry(offer.kind, offer.target, described), name=offer.name, origin=offer.origin)

    def _given(self, site: Named, entry: Entry, name: str) -> Sequence[Value | Space]:
        """What an option is given, a value or a space; in a sequence that is empty where there is a fault."""
        where = site.option_at(name)
        if name in site.apart and name not in site.keys:
            self._fault(where, f"{name!r} is no key of the spec, so that it belongs beside `use`", key=True)
            return ()
        options = {option.name: option for option in entry.options}
        if name not in options and not entry.open:
            meant = nearest(name, options, beside=() if name in site.apart else site.keys)
            self._fault(where, f"{site.use!r} has no option {name!r}; {meant}", key=True)
            return ()
        option = options.get(name, RATE if name == "lr" else UNKNOWN)
        value = site.options[name]
        if option.wants:
            self._fault(where, f"{name!r} takes {_unwritable(site, option)}")
            return ()
        if isinstance(value, dict) and site.kind in ("optimizers", "wrappers") and is_numeric(option.accepts):
            return self._range(site.path + name, option, where)
        # A list is several values, but for an option whose one value is a list: there it takes a list of lists.
        if not isinstance(value, list) or (option.listed and not any(isinstance(item, list) for item in value)):
            return self._fit(option, value, where)
        if site.kind == "probes":
            self._fault(where, f"{mismatch(f'expected {option.type}', value)}; a probe's options are no grid")
            return ()
        return self._list(site.path + name, option, where, value)

    def _list(self, name: str, option: Option, where: Where, listed: list[Any]) -> Sequence[Space]:
        if not listed:
            self._fault(where, "the list is empty: a grid needs at least one value")
            return ()
        if len(listed) > MOST_SETTINGS:
            self._fault(where, f"the list has {len(listed)} values, and at most {MOST_SETTINGS} are allowed")
            return ()
        values = [value for place, item in enumerate(listed) for value in self._fit(option, item, (*where, place))]
        if len(values) < len(listed):
            return ()
        words = list(map(written, values))
        for place, word in enumerate(words):
            if word in words[:place]:
                self._fault((*where, place), f"{found(listed[place])} is in the grid twice")
                return ()
        return (Space(name, tuple(values)),)

    def _range(self, name: str, option: Option, where: Where) -> Sequence[Space]:
        space, faults = space_at(self.document, where)
        self.faults += faults
        if space is None:
            return ()
        is_whole = not fits(option.accepts, 0.5)
        if is_whole and not all(end.is_integer() for end in space.ends):
            self._fault(where, f"expected whole numbers as its ends, found {space.ends}")
            return ()
        if is_whole and max(map(abs, space.ends)) > LARGEST:
            self._fault(where, f"expected ends of at most {LARGEST}, found {space.ends}")
            return ()
        given = space.space(name)
        return (replace(given, low=int(space.ends[0]), high=int(space.ends[1])) if is_whole else given,)

    def _fit(self, option: Option, value: Any, where: Where) -> tuple[Value, ...]:
        """The value as the option's type has it, in a tuple that is empty if it does not fit."""
        try:
            return (fit(option.accepts, value),)
        except ValueError:
            self._fault(where, mismatch(f"expected {option.type}", value))
            return ()

    def _complain_of_missing(self, site: Named, entry: Entry) -> None:
        for option in entry.options:
            if option.name in site.options:
                continue
            if option.name == "lr" and site.kind == "optimizers" and not option.unset:
                # A rate that nobody chose for this optimizer on this task decides the comparison unseen. Where it is
                # null by default, the optimizer finds its own.
                whose = "group" if site.path else "arm"
                self._fault(site.where, f"the {whose} has no learning rate; give it its own `lr`", key=True)
            elif option.required and option.wants:
                self._fault(site.where, f"{site.use!r} needs {option.name!r}, {_unwritable(site, option)}", key=True)
            elif option.required:
                under = "; give it under `options`" if option.name in site.keys else ""
                message = f"{site.use!r} needs the option {option.name!r} ({option.type}){under}"
                self._fault(site.where, message, key=True)

    def _fault(self, where: Where, message: str, *, key: bool = False) -> None:
        self.faults.append(self.document.fault(where, message, key=key))


def _unwritable(site: Named, option: Option) -> str:
    """What an option takes that no spec can say, and what to do about it."""
    seam = SEAMS[site.kind]
    arguments = ", ".join((*seam.arguments, "*", "lr") if site.kind == "optimizers" else seam.arguments)
    return f"{option.wants}, which a spec cannot write: {factory(seam.function, arguments)}"
