"""From the arms of a spec's file to the arms that are compared or tuned, and what is wrong with them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from clipbench.errors import Fault
from clipbench.harmless import shortened
from clipbench.questions import Space
from clipbench.records import Arm, Choice, Group, Options, Schedule
from clipbench.spec import searching
from clipbench.spec.arms import ArmSettings, GroupedArmSettings, ScheduleSettings
from clipbench.spec.choices import Chosen
from clipbench.spec.document import SpecDocument
from clipbench.spec.grid import label, points, size
from clipbench.spec.limits import LONGEST_FOLDER, MOST_RUNS, MOST_SETTINGS
from clipbench.spec.models import SpecFile
from clipbench.spec.searching import Searched, searched
from clipbench.spec.wording import nearest
from clipbench.store import folder_of_spec

ByPath = Mapping[str, Chosen]  # the optimizers and wrappers of an arm by what stands before the names of their settings


def arms(
    document: SpecDocument,
    chosen: Mapping[str, ByPath],
    written: SpecFile,
    *,
    tasks: int,
    schedules: Mapping[str, str],
) -> tuple[dict[str, list[Arm | Searched]], list[Fault]]:
    """The arms that each arm of the file stands for on so many tasks, and what is wrong with how they are to be tuned.

    Of arms that would have too many runs, none is made. `schedules` identifies the code of those of the user's own.
    """
    spaces = {
        name: _spaces(arm, written.optimizers[name], document.data["optimizers"][name]) for name, arm in chosen.items()
    }
    if faults := [
        *_too_many(document, spaces),
        *_too_many_runs(document, spaces, written, tasks),
        *searching.faults(document, spaces, written.tuning),
    ]:
        return {}, faults
    by_arm: dict[str, list[Arm | Searched]] = {}
    for name, arm in chosen.items():
        settings = written.optimizers[name]
        schedule = _schedule(written.schedule if settings.schedule is None else settings.schedule, schedules)
        make = partial(_arm, arm, settings, schedule)
        if written.tuning is None or not spaces[name]:
            by_arm[name] = [make(name + label(point), point) for point in points(spaces[name])]
            continue
        try:
            by_arm[name] = [searched(name, spaces[name], make=make, tuning=written.tuning)]
        except ValueError as error:
            faults.append(document.fault(("optimizers", name), str(error), key=True))
    if written.tuning is not None and not faults:
        to_tune = [arm for arms in by_arm.values() for arm in arms if isinstance(arm, Searched)]
        faults = searching.unequal(document, to_tune, written.tuning)
    return by_arm, faults


def _too_many_runs(
    document: SpecDocument, spaces: Mapping[str, Sequence[Space]], written: SpecFile, tasks: int
) -> Iterator[Fault]:
    """More runs than a plan can hold, trials among them, counted before they are made."""
    tuning, sizes = written.tuning, {name: size(of_one) for name, of_one in spaces.items()}
    runs = tasks * len(written.seeds) * (sum(sizes.values()) if tuning is None else len(sizes))
    if tuning is not None:
        runs += tasks * len(tuning.seeds) * sum(tuning.trials or size for size in sizes.values())
    if runs > MOST_RUNS:
        message = f"these are {runs:,} runs, and at most {MOST_RUNS:,} are allowed; leave out tasks, arms or seeds"
        yield document.fault(("seeds",), message, key=True)


def unstorable(document: SpecDocument, by_arm: Mapping[str, Sequence[Arm | Searched]]) -> Iterator[Fault]:
    """Arms whose folder would have a longer name than a disk takes; what is no plain letter there takes three bytes."""
    for written, of_one in by_arm.items():
        names = [name for arm in of_one for name in _folders(arm)]
        if too_long := [name for name in names if length_of_folder(name) > LONGEST_FOLDER]:
            yield document.fault(("optimizers", written), no_folder("arm", too_long[0]), key=True)


def no_folder(kind: str, name: str) -> str:
    """That a name is too long for the folder of its runs."""
    return (
        f"the {kind} {shortened(name, 60)!r} needs a folder whose name has {length_of_folder(name)} bytes, and a disk "
        f"takes {LONGEST_FOLDER}; shorten it"
    )


def length_of_folder(name: str) -> int:
    """How many bytes the name of a folder for this name has."""
    return len(folder_of_spec(name, Path()).name)


def _folders(arm: Arm | Searched) -> list[str]:
    trials = [arm.name + label(settings) for settings in arm.settings] if isinstance(arm, Searched) else []
    return [arm.name, *trials]


def _too_many(document: SpecDocument, spaces: Mapping[str, Sequence[Space]]) -> Iterator[Fault]:
    """Grids of more points than are worth making, found before they are made."""
    for name, of_one in spaces.items():
        if (settings := size(of_one)) > MOST_SETTINGS:
            message = f"its lists make {settings} settings, and at most {MOST_SETTINGS} are allowed"
            yield document.fault(("optimizers", name), f"{message}; leave some values out", key=True)


def repeated(document: SpecDocument, by_arm: Mapping[str, Sequence[Arm | Searched]]) -> list[Fault]:
    """Arms of the file that stand for arms of one name."""
    owner: dict[str, str] = {}
    faults: list[Fault] = []
    for written, arms in by_arm.items():
        for arm in arms:
            if owner.setdefault(arm.name, written) != written:
                message = f"its grid has an arm {arm.name!r}, and so has {owner[arm.name]!r}; rename one of them"
                faults.append(document.fault(("optimizers", written), message, key=True))
    return faults


def unknown_baseline(document: SpecDocument, by_arm: Mapping[str, Sequence[Arm | Searched]]) -> list[Fault]:
    """A baseline that is none of the arms, or stands for several."""
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


def no_such_baseline(document: SpecDocument) -> list[Fault]:
    """What can be said of the baseline while other faults hide the arms' full names."""
    baseline, written = document.data.get("baseline"), document.data.get("optimizers")
    if not isinstance(baseline, str) or not isinstance(written, dict):
        return []
    if any(baseline == name or baseline.startswith(f"{name}[") for name in written):
        return []
    return [document.fault(("baseline",), f"there is no arm {baseline!r}; {nearest(baseline, written)}")]


def _arm(
    chosen: ByPath, settings: ArmSettings | GroupedArmSettings, schedule: Schedule, name: str, point: Options
) -> Arm:
    """The arm of a name at a point of what the spec leaves open."""
    clip = None if settings.clip is None else settings.clip.at(point)
    choices = {path: each.choice(point, name=each.entry.name) for path, each in chosen.items()}
    wrap = tuple(
        replace(choice, name=path.removeprefix("wrap.").removesuffix("."))
        for path, choice in choices.items()
        if path.startswith("wrap.")
    )
    groups: tuple[Group, ...] = ()
    if isinstance(settings, ArmSettings):
        optimizer = choices[""]
    else:
        groups = tuple(
            Group(group, choices[f"groups.{group}."], kind=each.kind, names=each.patterns)
            for group, each in settings.groups.items()
        )
        members = [group.optimizer for group in groups]
        use = " + ".join(choice.use for choice in members)
        optimizer = Choice(" + ".join(choice.name for choice in members), use, target="")
    return Arm(
        name,
        optimizer,
        clip=clip,
        schedule=schedule,
        liveness=settings.liveness,
        groups=groups,
        wrap=wrap,
        create_graph=settings.create_graph,
    )


def _spaces(chosen: ByPath, settings: ArmSettings | GroupedArmSettings, keys: Iterable[str]) -> list[Space]:
    """What an arm leaves open, its clip's rule among it, in the order written."""
    amount = None if settings.clip is None else settings.clip.amount
    wrappers = [each for path, each in chosen.items() if path.startswith("wrap.")]
    given: dict[str, list[object]] = {"clip": [amount], "wrap": [space for each in wrappers for space in each.spaces]}
    if isinstance(settings, ArmSettings):
        options = chosen[""].options
        given |= {name: [value] for name, value in options.items() if name not in settings.options}
        given["options"] = [options[name] for name in settings.options]
    else:
        of_groups = [each for path, each in chosen.items() if path.startswith("groups.")]
        given["groups"] = [space for each in of_groups for space in each.spaces]
    return [value for key in keys for value in given.get(key, ()) if isinstance(value, Space)]


def _schedule(written: str | ScheduleSettings, sources: Mapping[str, str]) -> Schedule:
    if isinstance(written, str):
        written = ScheduleSettings.model_validate({"use": written})
    source = sources.get(written.use, "")
    return Schedule(written.use, written.warmup, written.final, decay=written.share, source=source)
