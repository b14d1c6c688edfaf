"""From a spec's file to what is meant by it, or to all of its faults at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipbench.errors import Fault, SpecError
from clipbench.questions import Manner
from clipbench.records import Arm, Measure
from clipbench.spec import choices, expanding, schedules, tasks
from clipbench.spec.catalogue import OWN
from clipbench.spec.choices import Chosen, Named, Resolver
from clipbench.spec.combinations import at_odds
from clipbench.spec.document import SpecDocument, read
from clipbench.spec.expanding import ByPath, length_of_folder, no_folder
from clipbench.spec.ghosts import ghosts, unsound
from clipbench.spec.grid import size
from clipbench.spec.limits import LONGEST_FOLDER
from clipbench.spec.models import SpecFile
from clipbench.spec.overrides import NO_OVERRIDES, Overrides, overridden, quickened
from clipbench.spec.searching import Searched, unselectable
from clipbench.spec.spec import QUICK, Spec, adjusted
from clipbench.spec.structure import checked
from clipbench.spec.tasks import SpecTask, beyond_the_budget, fingerprints


def load(path: str | Path, overrides: Overrides = NO_OVERRIDES, *, shelves: Path = OWN) -> Spec:
    """Read a spec and check everything that can be checked without running it.

    Args:
        path: the YAML file; its stem is the spec's name.
        overrides: what the command line says in place of the file.
        shelves: the folder whose tasks/, optimizers/ and probes/ are the catalogue.

    Raises:
        SpecError: with every fault that was found, each at its line and column.
        ClipbenchError: no arm fits the pattern of those to run.
    """
    folder = Path(path).parent.absolute()
    as_written = read(Path(path))
    quick = quickened(as_written)
    document = quick if overrides.quick else replace(as_written, faults=quick.faults)
    document = overridden(document, overrides.values)
    written, chosen = _checked(document, shelves, folder)
    arms, of_spec = _expanded(document, written, chosen)
    spec = Spec(
        name=Path(path).stem,
        question=document.question,
        tasks=tuple(task.choice for task in of_spec.values()),
        arms=arms,
        baseline=_baseline(written, arms),
        budget=written.budget.as_budget(),
        seeds=written.seeds,
        measure=Measure(
            evaluate_every=written.evaluate.every,
            probe_every=written.measure.every,
            probes=tuple(probe.choice({}, name=probe.entry.name) for probe in chosen.probes),
            probe_at=tuple(sorted(written.measure.at or ())),
            precision=written.measure.precision,
        ),
        ghosts=ghosts(written.measure.ghosts),
        target=None if written.target is None else written.target.as_target(),
        effect=written.effect,
        diverged=written.evaluate.diverged,
        device=written.device,
        threads=written.threads,
        training=written.training.as_settings(),
        data={name: task.source for name, task in of_spec.items() if task.source},
        fingerprints=fingerprints(document, of_spec, folder),
        own={name: task.own for name, task in of_spec.items() if task.own is not None},
        tuning=written.tuning,
        quantities=chosen.quantities,
        command=(_named(Path(path)), *overrides.words()),
        code=str(folder) if chosen.has_code_of_the_user else "",
    )
    return adjusted(spec, overrides, written.quick)


def _named(path: Path) -> str:
    """How a command names the spec: results that are handed on do not tell where on a disk it was."""
    return path.name if path.is_absolute() else str(path)


@dataclass(frozen=True)
class _AllChosen:
    """What a spec names, each with its options."""

    arms: Mapping[str, ByPath]
    tasks: Sequence[tuple[Named, Chosen]]
    probes: Sequence[Chosen]
    schedules: Mapping[str, str]  # what identifies the code of those of the user's own

    @property
    def that_measure(self) -> list[Chosen]:
        """The tasks and probes."""
        return [*(task for _, task in self.tasks), *self.probes]

    @property
    def quantities(self) -> dict[str, Manner]:
        """How those of the user's own tasks and probes are read."""
        return {name: manner for each in self.that_measure for name, manner in each.entry.quantities.items()}

    @property
    def has_code_of_the_user(self) -> bool:
        """Whether something comes from outside clipbench."""
        of_arms = (each for by_path in self.arms.values() for each in by_path.values())
        chosen = [*of_arms, *self.that_measure]
        return bool(self.schedules) or any(each.entry.origin for each in chosen)


def _checked(document: SpecDocument, shelves: Path, folder: Path) -> tuple[SpecFile, _AllChosen]:
    """A spec whose shape is sound and whose names are known; SpecError with all faults where it is not."""
    written, shape = checked(document)
    arms, sites, probes = choices.arms(document), choices.tasks(document), choices.probes(document)
    of_arms = [site for by_path in arms.values() for site in by_path.values()]
    resolver = Resolver(document, [*of_arms, *sites, *probes], shelves=shelves, folder=folder)
    chosen_arms = {
        name: {path: resolver.chosen(site) for path, site in by_path.items()} for name, by_path in arms.items()
    }
    chosen_tasks = [(site, resolver.chosen(site)) for site in sites]
    chosen_probes = [resolver.chosen(site) for site in probes]
    of_the_user, unusable = schedules.sources(document, folder)
    faults = [*document.faults, *shape, *unusable, *resolver.faults, *_repeated(document, probes), *_nameless(document)]
    if written is None or faults:
        raise SpecError(document.file, [*faults, *expanding.no_such_baseline(document)])
    return written, _AllChosen(
        {name: {path: chosen for path, chosen in by_path.items() if chosen} for name, by_path in chosen_arms.items()},
        [(site, chosen) for site, chosen in chosen_tasks if chosen],
        [chosen for chosen in chosen_probes if chosen],
        of_the_user,
    )


def _expanded(
    document: SpecDocument, written: SpecFile, chosen: _AllChosen
) -> tuple[tuple[Arm | Searched, ...], dict[str, SpecTask]]:
    """The arms and tasks with their grids expanded; SpecError where there is something wrong with them."""
    number_of_tasks = sum(size(of_one.spaces) for _, of_one in chosen.tasks)
    by_arm, untunable = expanding.arms(
        document, chosen.arms, written, tasks=number_of_tasks, schedules=chosen.schedules
    )
    untunable += beyond_the_budget(document, chosen.tasks, written)
    untunable += at_odds(document, written, chosen.probes)
    untunable += unselectable(document, written.tuning, chosen.quantities)
    if untunable:
        raise SpecError(document.file, [*untunable, *expanding.no_such_baseline(document)])
    of_spec, faults = tasks.expanded(document, chosen.tasks, written)
    faults += [*expanding.repeated(document, by_arm), *expanding.unknown_baseline(document, by_arm)]
    faults += [*expanding.unstorable(document, by_arm), *_unshared(document, written)]
    arms = tuple(arm for arms_of_one in by_arm.values() for arm in arms_of_one)
    faults += unsound(document, ghosts(written.measure.ghosts), arms, baseline=_baseline(written, arms))
    if faults:
        raise SpecError(document.file, faults)
    return arms, of_spec


def _baseline(written: SpecFile, arms: Sequence[Arm | Searched]) -> str:
    return arms[0].name if written.baseline is None else written.baseline


def _repeated(document: SpecDocument, probes: Sequence[Named]) -> Iterator[Fault]:
    before: set[str] = set()
    for site in probes:
        if site.use in before:
            message = f"the probe {site.use!r} is here twice; its measurements could not be told apart"
            yield document.fault(site.use_at, message)
        before.add(site.use)


def _unshared(document: SpecDocument, written: SpecFile) -> Iterator[Fault]:
    """Arms whose step differentiates the gradient, of which several processes would each have a part."""
    for name, arm in written.optimizers.items():
        if written.training.processes > 1 and arm.create_graph:
            message = f"the graph of a gradient cannot be shared among {written.training.processes} processes"
            yield document.fault(("optimizers", name, "create_graph"), f"{message}; use training: {{processes: 1}}")


def _nameless(document: SpecDocument) -> Iterator[Fault]:
    """A spec whose name, which is its file's, can be no folder's."""
    longest = Path(document.file).stem + QUICK
    try:
        fault = no_folder("spec", longest) if length_of_folder(longest) > LONGEST_FOLDER else ""
    except UnicodeEncodeError:
        fault = "the name of this file is not UTF-8, and the results are to have it; rename the file"
    if fault:
        yield Fault(fault, document.file)
