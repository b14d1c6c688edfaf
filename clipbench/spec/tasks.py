"""The tasks of a spec: their grids expanded, the terms of their runs, and what is wrong with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from clipbench.data import SOURCES
from clipbench.errors import ClipbenchError, Fault, SpecError
from clipbench.records import Choice
from clipbench.sources.contents import contents
from clipbench.spec import externals
from clipbench.spec.catalogue import Entry
from clipbench.spec.choices import Chosen, Named
from clipbench.spec.document import SpecDocument
from clipbench.spec.expanding import length_of_folder, no_folder
from clipbench.spec.grid import label, points
from clipbench.spec.limits import LONGEST_FOLDER
from clipbench.spec.models import SpecFile, TaskSettings
from clipbench.spec.spec import Terms


@dataclass(frozen=True)
class SpecTask:
    """A task of the spec at one point of its grid, with its entry and where it stands; `own` are terms of its own."""

    choice: Choice
    entry: Entry
    site: Named
    own: Terms | None

    @property
    def source(self) -> str:
        """The name of what it reads from the user's disk; empty for nothing, or where an option names other data."""
        files = self.entry.files
        return "" if files and self.choice.options.get(files[0]) else self.entry.data


def expanded(
    document: SpecDocument, chosen: Sequence[tuple[Named, Chosen]], written: SpecFile
) -> tuple[dict[str, SpecTask], list[Fault]]:
    """The tasks with their grids expanded. Of several that share a name, each is told by the options written for it."""
    names = [of_one.entry.name for _, of_one in chosen]
    by_name: dict[str, SpecTask] = {}
    faults: list[Fault] = []
    for (site, of_one), settings in zip(chosen, _settings(written), strict=True):
        for point in points(of_one.spaces):
            shared = names.count(of_one.entry.name) > 1
            name = of_one.entry.name + label(of_one.at(point) if shared else point)
            if name in by_name:
                faults.append(document.fault(site.where, f"the task {name!r} is here twice"))
            by_name[name] = SpecTask(of_one.choice(point, name=name), of_one.entry, site, _own_terms(settings, written))
    return by_name, [*faults, *_unstorable(document, by_name)]


def beyond_the_budget(document: SpecDocument, chosen: Sequence[tuple[Named, Chosen]], written: SpecFile) -> list[Fault]:
    """What was written to happen every so many steps, and would not happen once in a run of a task.

    What a spec leaves out is no promise. Step 0 is never probed, and the last is only evaluated.
    """
    sites = zip((site.where for site, _ in chosen), _settings(written), strict=True)
    faults = [fault for where, settings in sites for fault in _beyond(document, where, settings, written)]
    return list(dict.fromkeys(faults))  # tasks without terms of their own share a fault of the spec's


def _beyond(
    document: SpecDocument, where: tuple[str | int, ...], own: TaskSettings, written: SpecFile
) -> Iterator[Fault]:
    steps, measure = (own.budget or written.budget).steps, written.measure
    if steps is None:
        return
    its_budget = (*where, "budget", "steps")
    evaluate = written.evaluate if own.evaluate is None else own.evaluate
    if "every" in evaluate.model_fields_set and evaluate.every > steps:
        message = f"{evaluate.every} is beyond the budget of {steps} steps; to evaluate at the end alone, write {steps}"
        if own.evaluate is not None:
            yield document.fault((*where, "evaluate", "every"), message)
        elif own.budget is None:
            yield document.fault(("evaluate", "every"), message)
        else:
            message = f"a budget of {steps} steps ends before the first evaluation, at step {evaluate.every}"
            yield document.fault(its_budget, f"{message}; give the task an `evaluate` of its own")
    if "every" in measure.model_fields_set and measure.every >= steps and measure.probes:
        message = f"no step of the budget of {steps} would be probed: the first after 0 is step {measure.every}"
        remedy = "probe more often, or write `probes: []`"
        yield document.fault(("measure", "every") if own.budget is None else its_budget, f"{message}; {remedy}")


def fingerprints(document: SpecDocument, of_spec: Mapping[str, SpecTask], folder: Path) -> dict[str, str]:
    """The SHA-256 of the data of each task that may be asked for it, by name, of those that say something.

    Those are the user's own, and tasks of the shelf whose options name files.

    Raises:
        SpecError: asking a task for it failed.
    """
    asked = {name: task for name, task in of_spec.items() if task.entry.fingerprinted}
    answers = externals.fingerprints([(task.choice.target, task.choice.options) for task in asked.values()], folder)
    by_name: Mapping[str, Any] = dict(zip(asked, answers, strict=True))
    faults = [
        document.fault(asked[name].site.where, f"the task {name!r} cannot be used: {answer['fault']}")
        for name, answer in by_name.items()
        if "fault" in answer
    ]
    if faults:
        raise SpecError(document.file, faults)
    texts = {name: answer["data"] for name, answer in by_name.items() if "data" in answer}
    texts |= {name: text for name, task in of_spec.items() if (text := _of_files(document, task))}
    return {name: sha256(text.encode(errors="surrogatepass")).hexdigest() for name, text in texts.items()}


def _of_files(document: SpecDocument, task: SpecTask) -> str:
    """What is in the files that a task's options name; empty where they name none on this machine.

    What is no path is a name on a hub: it is in the options, and no look at the hub is taken here.
    """
    files, options = task.entry.files, task.choice.options
    given = {name: Path(str(options[name])).expanduser() for name in files if options.get(name)}
    here = {name: path for name, path in given.items() if path.exists() or _is_path(str(options[name]))}
    if not here:
        return ""
    try:
        lines = [f"{name} {line}" for name, path in here.items() for line in contents(path)]
        if task.source:
            lines.append(SOURCES[task.source].fingerprint())
    except (ClipbenchError, OSError) as error:
        said = error.message if isinstance(error, ClipbenchError) else str(error)
        raise SpecError(document.file, [document.fault(task.site.where, said)]) from error
    return "\n".join(lines)


def _is_path(name: str) -> bool:
    """Whether a text can be nothing but a path: a name on a hub has at most one slash, and does not begin with one."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1


def _settings(written: SpecFile) -> list[TaskSettings]:
    """The entries under `task`, a name as an entry that says no more."""
    entries = written.task if isinstance(written.task, list) else [written.task]
    return [TaskSettings(use=entry) if isinstance(entry, str) else entry for entry in entries]


def _own_terms(own: TaskSettings, written: SpecFile) -> Terms | None:
    if own.budget is None and own.evaluate is None and own.target is None:
        return None
    target = own.target or written.target
    return Terms(
        budget=(own.budget or written.budget).as_budget(),
        evaluate_every=(own.evaluate or written.evaluate).every,
        target=None if target is None else target.as_target(),
    )


def _unstorable(document: SpecDocument, of_spec: Mapping[str, SpecTask]) -> Iterator[Fault]:
    for name, task in of_spec.items():
        if length_of_folder(name) > LONGEST_FOLDER:
            yield document.fault(task.site.where, no_folder("task", name))
