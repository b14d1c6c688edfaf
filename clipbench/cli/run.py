"""`clipbench run`, `plan` and `validate`: from specs to runs."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clipbench import console, spec, store
from clipbench.cli.options import (
    Device,
    Filter,
    Json,
    ProgressFormat,
    Quick,
    Results,
    Seeds,
    Sets,
    Specs,
    Threads,
    asked,
)
from clipbench.errors import RUN_FAILED, ClipbenchError
from clipbench.judging.cost import expected_cost
from clipbench.judging.words import count
from clipbench.records import Outcome, Question, Run
from clipbench.report import listing
from clipbench.report.progress import Watcher, watcher
from clipbench.running.devices import resolve
from clipbench.running.engines import Need
from clipbench.running.engines.local import LocalEngine
from clipbench.running.supervisor import InterruptedRunsError, Policy, supervise
from clipbench.spec import Asked


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    fmt: Annotated[ProgressFormat, typer.Option("--format", help="How progress is told.")] = ProgressFormat.human,
) -> None:
    """Make the runs that are missing. Resumable: the same command twice is safe, and the second does nothing."""
    given = asked(sets, seeds, only, quick, device, threads)
    plans = [_ask(path, given) for path in specs]
    if len({question.spec for question, _ in plans}) < len(plans):
        raise ClipbenchError(
            "two of the specs have the same name and would share one folder of results",
            remedy="rename a file, or run them one at a time with -o to different folders",
        )
    if dry_run:
        _show_plans(plans, results)
        return
    policy = Policy(timeout=timeout, retries=retries)
    ended: list[tuple[Run, Outcome]] = []
    with console.sigterm_as_ctrl_c():
        for question, runs in plans:
            with store.claimed(store.folder_of_spec(question.spec, results)):
                store.write_question(question, results)
                ended += _supervise(runs, results, fmt=fmt, jobs=jobs, policy=policy)
    for question, _ in plans:
        folder = str(store.folder_of_spec(question.spec, results))
        console.put(folder if fmt is ProgressFormat.human else json.dumps({"event": "results", "folder": folder}))
    console.say(
        f"next: {console.command('compare', *(store.folder_of_spec(question.spec, results) for question, _ in plans))}"
    )
    if failed := [each for each, outcome in ended if outcome.status == "failed"]:
        console.say(
            f"{count(len(failed), 'run')} failed; why: {console.command('show', store.folder_of(failed[0], results))}"
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
    _show_plans([_ask(path, given) for path in specs], results, fmt="json" if json else "table")


def validate(specs: Specs, sets: Sets = None) -> None:
    """Check specs strictly; every error is shown at once, with its line and column."""
    faulty: list[ClipbenchError] = []
    for path in specs:
        try:
            loaded = spec.load(path, sets or ())
        except ClipbenchError as error:
            faulty.append(error)
        else:
            counts = f"{len(loaded.arms)} arms × {len(loaded.tasks)} tasks × {len(loaded.seeds)} seeds"
            console.put(f"{path}: right: {counts}")
    for fault in faulty:
        console.say(f"error: {fault}", style="bold red")
    if faulty:
        raise typer.Exit(faulty[0].exit_code)
    console.say(f"next: {console.command('run', *specs)}")


def _ask(path: Path, given: Asked) -> tuple[Question, tuple[Run, ...]]:
    return spec.ask(path, given, resolve=resolve)


def _show_plans(
    plans: Sequence[tuple[Question, Sequence[Run]]], results: Path, *, fmt: listing.ListFormat = "table"
) -> None:
    for question, runs in plans:
        missing = store.missing(runs, results)
        console.put(listing.plan(runs, missing={each.key for each in missing}, fmt=fmt))
        folder = store.folder_of_spec(question.spec, results)
        made = store.read_all(folder)[0] if folder.exists() else []
        cost = expected_cost(missing, made)
        if cost.known:
            console.say(f"about {cost.seconds:.0f} s one after the other, from earlier runs of {cost.known} of them")
        if cost.unknown:
            console.say(f"{cost.unknown} of them are of a kind that was never run here: what they cost is not known")


def _supervise(
    runs: Sequence[Run], results: Path, *, fmt: ProgressFormat, jobs: int | None, policy: Policy
) -> list[tuple[Run, Outcome]]:
    """Make the missing runs; what is said afterwards waits until the live display is gone."""
    missing = store.missing(runs, results)
    if not missing:
        with _watcher(fmt) as watching:
            watching.planned(len(runs), len(runs))
        console.say(f"nothing to do: all {len(runs)} runs of {runs[0].spec} are there already")
        return []
    begin = time.monotonic()
    need = Need(missing[0].device, missing[0].threads)
    try:
        with _watcher(fmt) as watching, LocalEngine(need, jobs=jobs) as engine:
            watching.planned(len(runs), len(runs) - len(missing))
            ended = supervise(missing, results, engine=engine, watcher=watching, policy=policy)
    except InterruptedRunsError:
        left = len(store.missing(runs, results))
        console.say(
            f"interrupted: {len(runs) - left} of {len(runs)} runs are there; what was at work kept a checkpoint"
        )
        console.say(f"go on with: {console.command(*sys.argv[1:])}")
        raise KeyboardInterrupt from None
    console.say(f"{count(len(ended), 'run')} in {time.monotonic() - begin:.0f} s, {len(engine.slots)} at a time")
    return ended


def _watcher(fmt: ProgressFormat) -> Watcher:
    return watcher(fmt.value, Console(stderr=True), stream=sys.stdout)
