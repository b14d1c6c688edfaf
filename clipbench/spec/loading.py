"""From a spec's file to what is meant by it, or to all of its faults at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from clipbench.budget import UNITS, Budget
from clipbench.errors import Fault, SpecError
from clipbench.records import Arm, Choice, Measure
from clipbench.spec import choices, expanding, externals
from clipbench.spec.catalogue import OWN, Entry
from clipbench.spec.choices import Chosen, Named, Resolver
from clipbench.spec.document import Document, read
from clipbench.spec.expanding import length_of_folder, no_folder
from clipbench.spec.ghosts import ghosts, unsound
from clipbench.spec.grid import label, points, size
from clipbench.spec.limits import LONGEST_FOLDER
from clipbench.spec.models import BudgetSettings, SpecFile
from clipbench.spec.overrides import NONE, Overrides, overridden
from clipbench.spec.searching import Searched
from clipbench.spec.spec import QUICK, Spec, adjusted
from clipbench.spec.structure import checked


def load(path: str | Path, overrides: Overrides = NONE, *, shelves: Path = OWN) -> Spec:
    """Read a spec and check everything that can be checked without running it.

    Args:
        path: the YAML file; its stem is the spec's name.
        overrides: what the command line says in place of the file.
        shelves: the folder whose tasks/, optimizers/ and probes/ are the catalogue.

    Raises:
        SpecError: with every fault that was found, each at its line and column.
        ClipbenchError: no arm fits the pattern of those to run.
    """
    document = overridden(read(Path(path)), overrides.values)
    written, chosen = _checked(document, shelves)
    arms, tasks = _expanded(document, written, chosen)
    spec = Spec(
        name=Path(path).stem,
        question=document.question,
        tasks=tuple(task.choice for task in tasks.values()),
        arms=arms,
        baseline=_baseline(written, arms),
        budget=_budget(written.budget),
        seeds=written.seeds,
        measure=Measure(
            evaluate_every=written.evaluate.every,
            probe_every=written.measure.every,
            probes=tuple(probe.choice({}, name=probe.entry.name) for probe in chosen.probes),
            probe_at=tuple(sorted(written.measure.at or ())),
        ),
        ghosts=ghosts(written.measure.ghosts),
        target=None if written.target is None else written.target.loss,
        consecutive=1 if written.target is None else written.target.consecutive,
        effect=written.effect,
        diverged=written.evaluate.diverged,
        device=written.device,
        threads=written.threads,
        data={name: task.entry.data for name, task in tasks.items() if task.entry.data},
        fingerprints=_fingerprints(document, tasks),
        tuning=written.tuning,
    )
    return adjusted(spec, overrides)


@dataclass(frozen=True)
class _AllChosen:
    """What a spec names, each with its options."""

    arms: Mapping[str, Chosen]
    tasks: Sequence[tuple[Named, Chosen]]
    probes: Sequence[Chosen]


def _checked(document: Document, shelves: Path) -> tuple[SpecFile, _AllChosen]:
    """A spec whose shape is sound and whose names are known; SpecError with all faults where it is not."""
    written, shape = checked(document)
    arms, tasks, probes = choices.arms(document), choices.tasks(document), choices.probes(document)
    resolver = Resolver(document, [*arms.values(), *tasks, *probes], shelves=shelves)
    chosen_arms = {name: resolver.chosen(site) for name, site in arms.items()}
    chosen_tasks = [(site, resolver.chosen(site)) for site in tasks]
    chosen_probes = [resolver.chosen(site) for site in probes]
    faults = [*document.faults, *shape, *resolver.faults, *_repeated(document, probes), *_nameless(document)]
    if written is None or faults:
        raise SpecError(document.file, [*faults, *expanding.no_such_baseline(document)])
    return written, _AllChosen(
        {name: chosen for name, chosen in chosen_arms.items() if chosen},
        [(site, chosen) for site, chosen in chosen_tasks if chosen],
        [chosen for chosen in chosen_probes if chosen],
    )


def _expanded(
    document: Document, written: SpecFile, chosen: _AllChosen
) -> tuple[tuple[Arm | Searched, ...], dict[str, "_Task"]]:
    """The arms and tasks with their grids expanded; SpecError where there is something wrong with them."""
    number_of_tasks = sum(size(of_one.spaces) for _, of_one in chosen.tasks)
    by_arm, untunable = expanding.arms(document, chosen.arms, written, tasks=number_of_tasks)
    untunable += _beyond_the_budget(document, written)
    if untunable:
        raise SpecError(document.file, [*untunable, *expanding.no_such_baseline(document)])
    tasks, repeated = _tasks(document, chosen.tasks)
    faults = [*repeated, *expanding.repeated(document, by_arm), *expanding.unknown_baseline(document, by_arm)]
    faults += [*_unstorable(document, tasks), *expanding.unstorable(document, by_arm)]
    arms = tuple(arm for arms_of_one in by_arm.values() for arm in arms_of_one)
    faults += unsound(document, ghosts(written.measure.ghosts), arms, baseline=_baseline(written, arms))
    if faults:
        raise SpecError(document.file, faults)
    return arms, tasks


def _baseline(written: SpecFile, arms: Sequence[Arm | Searched]) -> str:
    return arms[0].name if written.baseline is None else written.baseline


def _repeated(document: Document, probes: Sequence[Named]) -> Iterator[Fault]:
    before: set[str] = set()
    for site in probes:
        if site.use in before:
            message = f"the probe {site.use!r} is here twice; its measurements could not be told apart"
            yield document.fault(site.use_at, message)
        before.add(site.use)


def _nameless(document: Document) -> Iterator[Fault]:
    """A spec whose name, which is its file's, can be no folder's."""
    longest = Path(document.file).stem + QUICK
    try:
        fault = no_folder("spec", longest) if length_of_folder(longest) > LONGEST_FOLDER else ""
    except UnicodeEncodeError:
        fault = "the name of this file is not UTF-8, and the results are to have it; rename the file"
    if fault:
        yield Fault(fault, document.file)


def _unstorable(document: Document, tasks: Mapping[str, "_Task"]) -> Iterator[Fault]:
    for name, task in tasks.items():
        if length_of_folder(name) > LONGEST_FOLDER:
            yield document.fault(task.site.where, no_folder("task", name))


def _beyond_the_budget(document: Document, written: SpecFile) -> Iterator[Fault]:
    """What was written to happen every so many steps, and would not happen once in a run.

    What a spec leaves out is no promise. Step 0 is never probed, and the last is only evaluated.
    """
    steps = written.budget.steps
    if steps is None:
        return
    evaluate, measure = written.evaluate, written.measure
    if "every" in evaluate.model_fields_set and evaluate.every > steps:
        message = f"{evaluate.every} is beyond the budget of {steps} steps; to evaluate at the end alone, write {steps}"
        yield document.fault(("evaluate", "every"), message)
    if "every" in measure.model_fields_set and measure.every >= steps and measure.probes:
        message = f"no step of the budget of {steps} would be probed: the first after 0 is step {measure.every}"
        yield document.fault(("measure", "every"), f"{message}; probe more often, or write `probes: []`")


@dataclass(frozen=True)
class _Task:
    """A task of the spec at one point of its grid, with its entry and where it stands."""

    choice: Choice
    entry: Entry
    site: Named


def _tasks(document: Document, tasks: Sequence[tuple[Named, Chosen]]) -> tuple[dict[str, _Task], list[Fault]]:
    """The tasks with their grids expanded. Of several that share a name, each is told by the options written for it."""
    names = [chosen.entry.name for _, chosen in tasks]
    expanded: dict[str, _Task] = {}
    faults: list[Fault] = []
    for site, chosen in tasks:
        for point in points(chosen.spaces):
            shared = names.count(chosen.entry.name) > 1
            name = chosen.entry.name + label(chosen.at(point) if shared else point)
            if name in expanded:
                faults.append(document.fault(site.where, f"the task {name!r} is here twice"))
            expanded[name] = _Task(chosen.choice(point, name=name), chosen.entry, site)
    return expanded, faults


def _fingerprints(document: Document, tasks: Mapping[str, _Task]) -> dict[str, str]:
    """The SHA-256 of what each task of the user's says of its data, by name, of those that say something.

    Raises:
        SpecError: asking a task for it failed.
    """
    asked = {name: task for name, task in tasks.items() if task.entry.fingerprinted}
    answers = externals.fingerprints([(task.choice.target, task.choice.options) for task in asked.values()])
    said = dict(zip(asked, answers, strict=True))
    faults = [
        document.fault(asked[name].site.where, f"the task {name!r} cannot be used: {answer['fault']}")
        for name, answer in said.items()
        if "fault" in answer
    ]
    if faults:
        raise SpecError(document.file, faults)
    return {name: sha256(answer["data"].encode(errors="surrogatepass")).hexdigest() for name, answer in said.items()}


def _budget(written: BudgetSettings) -> Budget:
    [(amount, unit)] = [(getattr(written, unit), unit) for unit in UNITS if getattr(written, unit) is not None]
    return Budget(float(amount), unit)
