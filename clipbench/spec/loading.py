"""From a spec's file to what is meant by it, or to all of its faults at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clipbench.budget import UNITS, Budget
from clipbench.errors import Fault, SpecError
from clipbench.questions import Question
from clipbench.records import Arm, Choice, ClipSettings, Measure, Options, Schedule, Value
from clipbench.spec import choices, searching
from clipbench.spec.catalogue import OWN
from clipbench.spec.choices import Chosen, Named, Resolver
from clipbench.spec.document import Document, read
from clipbench.spec.ghosts import Ghosts, ghosts, unsound
from clipbench.spec.grid import Axis, Span, label, points
from clipbench.spec.models import (
    ArmSettings,
    BudgetSettings,
    Clip,
    ScheduleField,
    ScheduleSettings,
    SpecFile,
    TuningSettings,
)
from clipbench.spec.overrides import overridden
from clipbench.spec.searching import Open, Searched, is_open, searched
from clipbench.spec.spaces import SpaceSettings
from clipbench.spec.structure import checked
from clipbench.spec.wording import nearest

_CLIP = "clip."  # before the rule of an arm's clip, where that is an axis of its grid


@dataclass(frozen=True)
class Spec:
    """A benchmark as it is meant: grids expanded, names looked up, defaults filled in.

    An arm that is to be tuned has no settings yet: it is `Searched`. `device` may still be auto: what that is depends
    on the machine. `data` has, for each task that reads from the user's disk, the name of what it reads. `measure` is
    without the ghosts: those are a run's, by its arm.
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
    device: str = "auto"
    threads: int = 1
    data: Mapping[str, str] = field(default_factory=dict)
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
    faults = [*document.faults, *shape, *resolver.faults, *_repeated(document, probes)]
    if written is None or faults:
        raise SpecError(document.file, [*faults, *_no_such_baseline(document)])

    expanded_tasks, repeated = _tasks(document, _sound(chosen_tasks))
    by_arm, untunable = _all_arms(document, {name: arm for name, arm in chosen_arms.items() if arm}, written)
    if untunable:
        raise SpecError(document.file, [*repeated, *untunable, *_no_such_baseline(document)])
    faults = [*repeated, *_repeated_arms(document, by_arm), *_unknown_baseline(document, by_arm)]
    expanded_arms = tuple(arm for arms_of_one in by_arm.values() for arm in arms_of_one)
    tried = ghosts(written.measure.ghosts)
    baseline = written.baseline if written.baseline is not None else expanded_arms[0].name
    faults += unsound(document, tried, expanded_arms, baseline=baseline)
    if faults:
        raise SpecError(document.file, faults)
    return Spec(
        name=Path(path).stem,
        question=document.question,
        tasks=expanded_tasks,
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
        device=written.device,
        threads=written.threads,
        data={chosen.use: chosen.entry.data for _, chosen in _sound(chosen_tasks) if chosen.entry.data},
        tuning=written.tuning,
    )


def question(spec: Spec) -> Question:
    """What a spec asks, for those who read its results."""
    return Question(
        spec=spec.name,
        text=spec.question,
        arms=tuple(arm.name for arm in spec.arms),
        baseline=spec.baseline,
        target=spec.target,
        consecutive=spec.consecutive,
        effect=spec.effect,
    )


def _sound(sites: Iterable[tuple[Named, Chosen | None]]) -> list[tuple[Named, Chosen]]:
    return [(site, chosen) for site, chosen in sites if chosen is not None]


def _single(chosen: Chosen) -> Choice:
    [point] = points(chosen.grid)
    return chosen.choice(point.options, name=chosen.entry.name)


def _repeated(document: Document, probes: Sequence[Named]) -> list[Fault]:
    uses = [site.use for site in probes]
    return [
        document.fault(site.use_at, f"the probe {site.use!r} is here twice; its measurements could not be told apart")
        for place, site in enumerate(probes)
        if site.use in uses[:place]
    ]


def _tasks(document: Document, tasks: Sequence[tuple[Named, Chosen]]) -> tuple[tuple[Choice, ...], list[Fault]]:
    """The tasks with their grids expanded. Of several that share a name, each is told by the options written for it."""
    names = [chosen.entry.name for _, chosen in tasks]
    expanded: dict[str, Choice] = {}
    faults: list[Fault] = []
    for site, chosen in tasks:
        for point in points(chosen.grid):
            shared = names.count(chosen.entry.name) > 1
            name = chosen.entry.name + (label(point.options) if shared else point.label)
            if name in expanded:
                faults.append(document.fault(site.where, f"the task {name!r} is here twice"))
            expanded[name] = chosen.choice(point.options, name=name)
    return tuple(expanded.values()), faults


def _all_arms(
    document: Document, chosen: Mapping[str, Chosen], written: SpecFile
) -> tuple[dict[str, list[Arm | Searched]], list[Fault]]:
    """The arms that each arm of the file stands for, and what is wrong with how they are to be tuned."""
    axes = {
        name: _axes(arm, written.optimizers[name], document.data["optimizers"][name]) for name, arm in chosen.items()
    }
    if faults := searching.faults(document, axes, written.tuning):
        return {}, faults
    by_arm: dict[str, list[Arm | Searched]] = {}
    for name, arm in chosen.items():
        make = partial(_arm, arm, axes[name], written.optimizers[name], written.schedule)
        if written.tuning is None:
            grid = points([axis for axis in axes[name] if isinstance(axis, Axis)])
            by_arm[name] = [make(name + point.label, point.swept) for point in grid]
        elif not any(map(is_open, axes[name])):
            by_arm[name] = [make(name, {})]
        else:
            try:
                by_arm[name] = [searched(name, axes[name], make=make, tuning=written.tuning)]
            except ValueError as error:
                faults.append(document.fault(("optimizers", name), str(error), key=True))
    if written.tuning is not None and not faults:
        to_tune = [arm for arms in by_arm.values() for arm in arms if isinstance(arm, Searched)]
        faults = searching.unequal(document, to_tune, written.tuning)
    return by_arm, faults


def _arm(
    chosen: Chosen, axes: Sequence[Open], settings: ArmSettings, general: ScheduleField, name: str, swept: Options
) -> Arm:
    """The arm of a name where what the spec leaves open is `swept`."""
    options = {axis.option: axis.values[0] for axis in axes if isinstance(axis, Axis)} | dict(swept)
    clip = None if settings.clip is None else _clip(settings.clip, options.pop(_CLIP + settings.clip.rule))
    schedule = _schedule(general if settings.schedule is None else settings.schedule)
    return Arm(name, chosen.choice(options, name=chosen.entry.name), clip=clip, schedule=schedule)


def _axes(chosen: Chosen, settings: ArmSettings, keys: Iterable[str]) -> list[Open]:
    """An arm's axes, its clip's among them, in the order written."""
    by_key = {axis.option: axis for axis in chosen.axes}
    if settings.clip is not None:
        by_key["clip"] = _clip_axis(_CLIP + settings.clip.rule, settings.clip.written)
    return [by_key[key] for key in keys if key in by_key]


def _clip_axis(option: str, written: float | list[float] | SpaceSettings) -> Open:
    if isinstance(written, SpaceSettings):
        low, high = written.ends
        return Span(option, low, high, log=written.log is not None)
    return Axis(option, tuple(written), swept=True) if isinstance(written, list) else Axis(option, (written,))


def _clip(written: Clip, amount: Value) -> ClipSettings | None:
    """A fraction of 0 clips nothing: such an arm is its own twin, and its run is the twin's run."""
    if not isinstance(amount, float) or amount == 0.0:
        return None
    if written.rule == "fraction":
        return ClipSettings(
            amount, of=written.of, scope=written.scope, scale=written.scale, ignore_zeros=written.ignore_zeros
        )
    return ClipSettings(threshold=amount) if written.rule == "threshold" else ClipSettings(norm=amount)


def _schedule(written: str | ScheduleSettings) -> Schedule:
    if isinstance(written, str):
        written = ScheduleSettings.model_validate({"use": written})
    return Schedule(use=written.use, warmup=written.warmup, final=written.final)


def _budget(written: BudgetSettings) -> Budget:
    [(amount, unit)] = [(getattr(written, unit), unit) for unit in UNITS if getattr(written, unit) is not None]
    return Budget(float(amount), unit)


def _repeated_arms(document: Document, by_arm: Mapping[str, Sequence[Arm | Searched]]) -> list[Fault]:
    owner: dict[str, str] = {}
    faults: list[Fault] = []
    for written, arms in by_arm.items():
        for arm in arms:
            if owner.setdefault(arm.name, written) != written:
                message = f"its grid has an arm {arm.name!r}, and so has {owner[arm.name]!r}; rename one of them"
                faults.append(document.fault(("optimizers", written), message, key=True))
    return faults


def _unknown_baseline(document: Document, by_arm: Mapping[str, Sequence[Arm | Searched]]) -> list[Fault]:
    baseline = document.data.get("baseline")
    names = [arm.name for arms in by_arm.values() for arm in arms]
    if baseline is None or baseline in names:
        return []
    if baseline in by_arm:
        one_of = ", ".join(arm.name for arm in by_arm[baseline])
        message = f"the arm {baseline!r} is a grid; name one of {one_of}"
    else:
        message = f"there is no arm {baseline!r}; {nearest(baseline, names)}"
    return [document.fault(("baseline",), message)]


def _no_such_baseline(document: Document) -> list[Fault]:
    """What can be said of the baseline while other faults hide the arms' full names."""
    baseline, written = document.data.get("baseline"), document.data.get("optimizers")
    if not isinstance(baseline, str) or not isinstance(written, dict):
        return []
    if any(baseline == name or baseline.startswith(f"{name}[") for name in written):
        return []
    return [document.fault(("baseline",), f"there is no arm {baseline!r}; {nearest(baseline, written)}")]
