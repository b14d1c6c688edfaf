"""`clipbench run`, `plan` and `validate`: from specs to runs."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clipbench import console, spec, store
from clipbench.cli import trying
from clipbench.cli.options import (
    Device,
    Filter,
    Json,
    Quick,
    Results,
    Seeds,
    Sets,
    Specs,
    Threads,
    asked,
)
from clipbench.cli.results import read
from clipbench.errors import RUN_FAILED, ClipbenchError, StoreError
from clipbench.judging.cost import expected_cost
from clipbench.judging.tuning.staging import Stage, staged
from clipbench.judging.words import count, listing
from clipbench.records import FORMAT, Outcome, Record, Run
from clipbench.report import planned
from clipbench.report.progress import Watcher, WatcherFormat, interrupted, watcher
from clipbench.report.raw import to_json_line
from clipbench.report.renamed import renamed_lines
from clipbench.report.render import Format, render
from clipbench.report.selection import beyond_the_edge, selection_line
from clipbench.report.trying import faults_of_arms, faults_of_probes
from clipbench.running.devices import resolve
from clipbench.running.engines import Need
from clipbench.running.engines.local import LocalEngine
from clipbench.running.supervisor import InterruptedRunsError, Policy, supervise
from clipbench.spec import Asked, Inquiry


def run(
    specs: Specs,
    results: Results = Path("results"),
    sets: Sets = None,
    seeds: Seeds = None,
    only: Filter = None,
    quick: Quick = False,
    device: Device = None,
    threads: Threads = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="At most so many runs at once.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Wall seconds a run may take.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a crashed run is tried again.")] = 0,
    extend_grid: Annotated[
        bool, typer.Option("--extend-grid", help="More trials, the same for every arm, while a best lies at an edge.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    fmt: Annotated[WatcherFormat, typer.Option("--format", help="How progress is told.")] = "human",
) -> None:
    """Make the runs that are missing, after a try of every arm. Resumable: the second time it does nothing."""
    given = asked(sets, seeds, only, quick, device, threads)
    inquiries = [_ask(path, given) for path in specs]
    if len({inquiry.spec.name for inquiry in inquiries}) < len(inquiries):
        raise ClipbenchError(
            "two of the specs have the same name and would share one folder of results",
            remedy="rename a file, or run them one at a time with -o to different folders",
        )
    outlooks = [_look(inquiry, results, extend=extend_grid) for inquiry in inquiries]  # all are checked before any runs
    if dry_run:
        _show_plans(outlooks, results)
        return
    carry_out = partial(_supervise, results=results, fmt=fmt, jobs=jobs)
    folders = [store.folder_of_spec(inquiry.spec.name, results) for inquiry in inquiries]
    ended: list[tuple[Run, Outcome]] = []
    with console.sigterm_as_ctrl_c(), ExitStack() as claims:
        for folder in folders:
            claims.enter_context(store.claimed(folder))
        failed = [_try(outlook, results, fmt=fmt, timeout=timeout) for outlook in outlooks]
        for inquiry, of_spec in zip(inquiries, failed, strict=True):
            ended += trying.record(of_spec, results, fmt=fmt)
            policy = Policy(timeout, retries, diverged=inquiry.spec.diverged)
            this = partial(carry_out, policy=policy, without={each.key for each, _ in of_spec})
            ended += _make(inquiry, results, extend=extend_grid, carry_out=this)
    for folder in folders:
        said = str(folder)
        console.put(said if fmt == "human" else to_json_line({"event": "results", "folder": said}))
    console.say(f"next: {console.command('compare', *folders)}")
    if lost := [each for each, outcome in ended if outcome.status == "failed"]:
        console.say(
            f"{count(len(lost), 'run')} failed; why: {console.command('show', store.folder_of(lost[0], results))}"
        )
        raise typer.Exit(RUN_FAILED)


def plan(
    specs: Specs,
    results: Results = Path("results"),
    sets: Sets = None,
    seeds: Seeds = None,
    only: Filter = None,
    quick: Quick = False,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """The runs of a spec: what is reused, what is missing, and what it will cost in time."""
    given = asked(sets, seeds, only, quick, device, threads)
    outlooks = [_look(_ask(path, given), results) for path in specs]
    _show_plans(outlooks, results, fmt="json" if json else "table")


def validate(
    specs: Specs,
    sets: Sets = None,
    build: Annotated[bool, typer.Option("--build", help="Also try every arm and every probe by a step.")] = False,
) -> None:
    """Check specs strictly; every error is shown at once, with its line and column."""
    faulty: list[ClipbenchError] = []
    for path in specs:
        try:
            loaded = spec.load(path, sets or ())
            if build:
                _build(path, sets or ())
        except ClipbenchError as error:
            faulty.append(error)
        else:
            parts = (loaded.arms, "arm"), (loaded.tasks, "task"), (loaded.seeds, "seed")
            counts = " × ".join(count(len(things), noun) for things, noun in parts)
            console.put(f"{path}: right: {counts}{_tuned_by(loaded)}")
    for fault in faulty:
        console.complain(fault)
    if faulty:
        raise typer.Exit(faulty[0].exit_code)
    console.say(f"next: {console.command('run', *specs)}")


def _build(path: Path, sets: Sequence[str]) -> None:
    """Try all that a spec names, and say every fault; ClipbenchError where there is any."""
    stage = staged(_ask(path, Asked(sets)), ())
    with console.sigterm_as_ctrl_c():
        found = trying.try_arms(stage, [*stage.trials, *stage.runs])
    if faults := [*faults_of_arms(found), *faults_of_probes(found)]:
        for each in faults[:-1]:
            console.complain(ClipbenchError(each, where=str(path)))
        raise ClipbenchError(faults[-1], where=str(path))


def _try(outlook: "_Outlook", results: Path, *, fmt: WatcherFormat, timeout: float | None) -> trying.Failing:
    """The runs that would fail at their first steps. Those with a checkpoint have taken theirs, and are left alone."""
    missing = [
        run for run in _unmade(outlook, results) if not (store.folder_of(run, results) / store.CHECKPOINT).exists()
    ]
    try:
        return trying.failing(outlook.stage, missing, trying.try_arms(outlook.stage, missing, fmt=fmt, timeout=timeout))
    except KeyboardInterrupt:
        console.say("interrupted before a run was made")
        console.say(f"go on with: {console.command(*sys.argv[1:])}")
        raise


def _tuned_by(loaded: spec.Spec) -> str:
    if loaded.tuning is None:
        return ""
    trials, seeds = len(loaded.searched[0].settings), count(len(loaded.tuning.seeds), "seed")
    return f"; {count(len(loaded.searched), 'arm')} tuned by {count(trials, 'trial')} on {seeds} a task"


def _ask(path: Path, given: Asked) -> Inquiry:
    return spec.ask(path, given, resolve=resolve)


@dataclass(frozen=True)
class _Outlook:
    """How far a spec has come, and which of its runs are there under other names: those count as made."""

    stage: Stage
    renamed: tuple[store.Renamed, ...]


def _look(inquiry: Inquiry, results: Path, *, extend: bool = False) -> _Outlook:
    """What was made before decides the stage only where arms are tuned: by trials under whatever names, too."""
    folder = store.folder_of_spec(inquiry.spec.name, results)
    is_tuned = inquiry.spec.tuning is not None
    made = [each for each in read([folder]) if _is_a_plans(each)] if is_tuned and folder.exists() else []
    while True:
        stage = staged(inquiry, made, extend=extend)
        to_make = [*stage.trials, *stage.runs]
        keys = {run.key for run in to_make}
        further = [run for run in _trials_of_an_extension(inquiry, made) if run.key not in keys]
        renamed = store.renamed([*to_make, *further], results, arms=_arms(inquiry, stage, made))
        known = {record.identity for record in made}
        new = [each.folder for each in renamed if each.run.key not in known]
        if not (is_tuned and new):
            return _Outlook(stage, tuple(each for each in renamed if each.run.key in keys))
        made += map(store.read, new)


def _is_a_plans(record: Record) -> bool:
    """Whether a run can be one of a plan: its key is that of what it describes."""
    return record.format == FORMAT and record.key == record.run.key


def _trials_of_an_extension(inquiry: Inquiry, made: Sequence[Record]) -> Sequence[Run]:
    """The trials that --extend-grid would add: those that are there count without it."""
    tuning = inquiry.spec.tuning
    can_be_extended = tuning is not None and tuning.search == "grid" and inquiry.only is None
    return staged(inquiry, made, extend=True).trials if can_be_extended else ()


def _arms(inquiry: Inquiry, stage: Stage, made: Sequence[Record]) -> set[tuple[str, str]]:
    """The names of the tasks and arms that the plan has runs of, whichever are asked for now; trials are arms, too."""
    whole = stage if inquiry.only is None else staged(replace(inquiry, only=None), made)
    trials = {(run.task.name, run.arm.name) for run in whole.trials}
    return trials | set(product((task.name for task in inquiry.spec.tasks), whole.question.arms))


def _take_over(renamed: Iterable[store.Renamed], results: Path) -> None:
    """Put what is there under other names where the plan has it, and say so."""
    tell = partial(console.say, style="yellow")
    for line in renamed_lines([each for each in renamed if store.put_in_place(each, results, tell=tell)]):
        console.say(line)


def _make(
    inquiry: Inquiry, results: Path, *, extend: bool, carry_out: Callable[..., list[tuple[Run, Outcome]]]
) -> list[tuple[Run, Outcome]]:
    """The trials, as long as others follow from those that have ended; then the runs to report."""
    ended: list[tuple[Run, Outcome]] = []
    done: set[str] = set()
    while True:
        outlook = _look(inquiry, results, extend=extend)
        _take_over(outlook.renamed, results)
        stage = outlook.stage
        store.write_question(stage.question, results)
        trials = [each for each in stage.trials if each.key not in done]
        if not trials:
            break
        ended += carry_out(trials, noun="trial run", spent=stage.spent)
        done |= {each.key for each in trials}
    if stage.waiting:
        _tell_of_waiting(stage, ended, results)
    for tuning in stage.tunings:
        console.say(selection_line(tuning))
    if advice := beyond_the_edge(stage.question, extended=extend):
        console.say(advice, style="yellow")
    if crashed := [each for each in stage.trials if each.key in stage.spent]:
        folder = store.folder_of(crashed[0], results)
        said = f"{count(len(crashed), 'trial run')} crashed and {'is' if len(crashed) == 1 else 'are'} spent"
        again = "with its folder deleted it is made anew, and another setting may be selected"
        console.say(f"{said}; why: {console.command('show', folder)}; {again}", style="yellow")
    return [*ended, *carry_out(stage.runs, noun="run")] if stage.runs else ended


def _tell_of_waiting(stage: Stage, ended: Sequence[tuple[Run, Outcome]], results: Path) -> None:
    """Arms whose trials were all made, and have not all ended: one left no result behind, or none that can be read."""
    arms = listing(dict.fromkeys(each.arm.name for each in stage.waiting))
    lost = [(each, outcome) for each, outcome in ended if _left_no_result(store.folder_of(each, results))]
    if not lost:
        remedy = "mend or delete the folders named above and run the spec again: only those are made anew"
        raise StoreError(f"{arms} cannot be tuned: a trial cannot be read", where=stage.question.spec, remedy=remedy)
    run, outcome = lost[0]
    console.say(f"{arms} cannot be tuned yet: {run} left no result ({outcome.reason})", style="yellow")


def _left_no_result(folder: Path) -> bool:
    """Whether a run that was made is still to be made, by what lies on the disk."""
    return not (folder / store.RUN).exists() or store.read_outcome(folder) is None


def _show_plans(outlooks: Sequence[_Outlook], results: Path, *, fmt: Format = "table") -> None:
    for outlook in outlooks:
        stage, missing = outlook.stage, _unmade(outlook, results)
        console.put(render(planned.document(stage, missing={each.key for each in missing}), fmt))
        folder = store.folder_of_spec(stage.question.spec, results)
        made = store.read_all(folder)[0] if folder.exists() else []
        cost = expected_cost([*missing, *stage.waiting], made)
        if cost.known:
            console.say(f"about {cost.seconds:.0f} s one after the other, from earlier runs of {cost.known} of them")
        if cost.unknown:
            console.say(f"{cost.unknown} of them are of a kind that was never run here: what they cost is not known")


def _unmade(outlook: _Outlook, results: Path) -> list[Run]:
    """The runs to make of those that are known by now."""
    stage, there = outlook.stage, {each.run.key for each in outlook.renamed}
    return _missing([*stage.trials, *stage.runs], results, spent={*stage.spent, *there})


def _missing(runs: Sequence[Run], results: Path, *, spent: Collection[str]) -> list[Run]:
    """The runs to make: one that crashed is made again, unless it is a trial that is spent."""
    return [run for run in store.missing(runs, results) if run.key not in spent]


def _supervise(
    runs: Sequence[Run],
    *,
    noun: str,
    results: Path,
    fmt: WatcherFormat,
    jobs: int | None,
    policy: Policy,
    spent: Collection[str] = (),
    without: Collection[str] = (),
) -> list[tuple[Run, Outcome]]:
    """Make the missing runs but those `without`; what is said afterwards waits until the live display is gone."""
    runs = [run for run in runs if run.key not in without]
    if not runs:
        return []
    missing = _missing(runs, results, spent=spent)
    if not missing:
        with _watcher(fmt) as watching:
            watching.planned(len(runs), len(runs))
        console.say(f"nothing to do: all {len(runs)} {noun}s of {runs[0].spec} are there already")
        return []
    _set_aside(missing, results)
    begin = time.monotonic()
    need = Need(missing[0].device, missing[0].threads)
    try:
        with _watcher(fmt) as watching, LocalEngine(need, jobs=jobs) as engine:
            watching.planned(len(runs), len(runs) - len(missing))
            ended = supervise(missing, results, engine=engine, watcher=watching, policy=policy)
    except InterruptedRunsError:
        left = _missing(runs, results, spent=spent)
        done = f"interrupted: {len(runs) - len(left)} of {len(runs)} {noun}s are there"
        console.say("; ".join([done, *interrupted([store.folder_of(run, results) for run in left])]))
        console.say(f"go on with: {console.command(*sys.argv[1:])}")
        raise KeyboardInterrupt from None
    console.say(f"{count(len(ended), noun)} in {time.monotonic() - begin:.0f} s, {len(engine.slots)} at a time")
    return ended


def _set_aside(runs: Iterable[Run], results: Path) -> None:
    """Clear the places of the runs to make of what is not theirs, and say so."""
    for run in runs:
        with suppress(StoreError):  # which comes again when the run is to start, and is the reason that it failed
            if line := store.set_aside(run, store.folder_of(run, results)):
                console.say(f"{line}, and the run is made anew", style="yellow")


def _watcher(fmt: WatcherFormat) -> Watcher:
    return watcher(fmt, Console(stderr=True), put=console.put)
