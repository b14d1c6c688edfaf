"""From a spec's file to what is meant by it, or to all of its faults at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from clipbench.budget import UNITS, Budget
from clipbench.errors import Fault, SpecError
from clipbench.questions import DIVERGED, Question
from clipbench.records import Arm, Choice, Measure
from clipbench.spec import choices, expanding, externals
from clipbench.spec.catalogue import OWN, Entry
from clipbench.spec.choices import Chosen, Named, Resolver
from clipbench.spec.document import Document, read
from clipbench.spec.expanding import length_of_folder, no_folder
from clipbench.spec.ghosts import Ghosts, ghosts, unsound
from clipbench.spec.grid import label, points
from clipbench.spec.limits import LONGEST_FOLDER
from clipbench.spec.models import BudgetSettings, SpecFile, TuningSettings
from clipbench.spec.overrides import overridden
from clipbench.spec.searching import Searched
from clipbench.spec.structure import checked

QUICK = "-quick"  # after the name of a spec that is only looked at


@dataclass(frozen=True)
class Spec:
    """A benchmark as it is meant: grids expanded, names looked up, defaults filled in.

    An arm that is to be tuned has no settings yet: it is `Searched`. `device` may still be auto: what that is depends
    on the machine. `data` has the name of what a task of the shelf reads from the user's disk, and `fingerprints` the
    SHA-256 of what a task of the user's says of its data, by the task's name. `measure` is without the ghosts: those
    are a run's, by its arm.
    """

    name: str
    question: str
    tasks: tuple[Choice, ...]
    arms: tuple[Arm | Searched, ...]
    baseline: str
    budget: Budget
    seeds: tuple[int, ...]
    measure: Measure
    ghosts: Ghosts = field(default_factory=Ghosts)
    target: float | None = None
    consecutive: int = 1
    effect: float | None = None
    diverged: float = DIVERGED
    device: str = "auto"
    threads: int = 1
    data: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    tuning: TuningSettings | None = None

    @property
    def searched(self) -> tuple[Searched, ...]:
        return tuple(arm for arm in self.arms if isinstance(arm, Searched))


def load(path: str | Path, overrides: Sequence[str] = (), *, shelves: Path = OWN) -> Spec:
    """Read a spec and check everything that can be checked without running it.

    Args:
        path: the YAML file; its stem is the spec's name.
        overrides: single values set from outside, "optimizers.sgd.lr=0.2", applied in their order.
        shelves: the folder whose tasks/, optimizers/ and probes/ are the catalogue.

    Raises:
        SpecError: with every fault that was found, each at its line and column.
    """
    document = overridden(read(Path(path)), overrides)
    written, shape = checked(document)
    arms, tasks, probes = choices.arms(document), choices.tasks(document), choices.probes(document)
    resolver = Resolver(document, [*arms.values(), *tasks, *probes], shelves=shelves)
    chosen_arms = {name: resolver.chosen(site) for name, site in arms.items()}
    chosen_tasks = [(site, resolver.chosen(site)) for site in tasks]
    chosen_probes = [(site, resolver.chosen(site)) for site in probes]
    faults = [*document.faults, *shape, *resolver.faults, *_repeated(document, probes), *_nameless(document)]
    if written is None or faults:
        raise SpecError(document.file, [*faults, *expanding.no_such_baseline(document)])

    sound_arms = {name: arm for name, arm in chosen_arms.items() if arm}
    number_of_tasks = sum(expanding.size_of(chosen.grid) for _, chosen in _sound(chosen_tasks))
    by_arm, untunable = expanding.arms(document, sound_arms, written, tasks=number_of_tasks)
    untunable += _beyond_the_budget(document, written)
    tasks_by_name, repeated = ({}, []) if untunable else _tasks(document, _sound(chosen_tasks))
    if untunable:
        raise SpecError(document.file, [*repeated, *untunable, *expanding.no_such_baseline(document)])
    faults = [*repeated, *expanding.repeated(document, by_arm), *expanding.unknown_baseline(document, by_arm)]
    faults += [*_unstorable(document, tasks_by_name), *expanding.unstorable(document, by_arm)]
    expanded_arms = tuple(arm for arms_of_one in by_arm.values() for arm in arms_of_one)
    tried = ghosts(written.measure.ghosts)
    baseline = written.baseline if written.baseline is not None else expanded_arms[0].name
    faults += unsound(document, tried, expanded_arms, baseline=baseline)
    if faults:
        raise SpecError(document.file, faults)
    return Spec(
        name=Path(path).stem,
        question=document.question,
        tasks=tuple(task.choice for task in tasks_by_name.values()),
        arms=expanded_arms,
        baseline=baseline,
        budget=_budget(written.budget),
        seeds=written.seeds,
        measure=Measure(
            evaluate_every=written.evaluate.every,
            probe_every=written.measure.every,
            probes=tuple(_single(chosen) for _, chosen in _sound(chosen_probes)),
            probe_at=tuple(sorted(written.measure.at or ())),
        ),
        ghosts=tried,
        target=None if written.target is None else written.target.loss,
        consecutive=1 if written.target is None else written.target.consecutive,
        effect=written.effect,
        diverged=written.evaluate.diverged,
        device=written.device,
        threads=written.threads,
        data={name: task.entry.data for name, task in tasks_by_name.items() if task.entry.data},
        fingerprints=_fingerprints(document, tasks_by_name),
        tuning=written.tuning,
    )


def question(spec: Spec) -> Question:
    """What a spec asks, for those who read its results."""
    return Question(
        spec=spec.name,
        text=spec.question,
        arms=tuple(arm.name for arm in spec.arms if spec.ghosts.has_runs(arm)),
        baseline=spec.baseline,
        target=spec.target,
        consecutive=spec.consecutive,
        effect=spec.effect,
        diverged=spec.diverged,
    )


def _sound(sites: Iterable[tuple[Named, Chosen | None]]) -> list[tuple[Named, Chosen]]:
    return [(site, chosen) for site, chosen in sites if chosen is not None]


def _single(chosen: Chosen) -> Choice:
    [point] = points(chosen.grid)
    return chosen.choice(point.options, name=chosen.entry.name)


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
        for point in points(chosen.grid):
            shared = names.count(chosen.entry.name) > 1
            name = chosen.entry.name + (label(point.options) if shared else point.label)
            if name in expanded:
                faults.append(document.fault(site.where, f"the task {name!r} is here twice"))
            expanded[name] = _Task(chosen.choice(point.options, name=name), chosen.entry, site)
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
