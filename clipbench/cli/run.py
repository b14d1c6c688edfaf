"""`clipbench run`: make the runs of specs that are missing."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, store
from clipbench.cli import trying
from clipbench.cli.campaign import Ended, Only, RunOptions, Wanted, carried_out
from clipbench.cli.compare import put_screen
from clipbench.cli.options import (
    Device,
    EngineName,
    EngineOptions,
    Filter,
    Quick,
    ResultsFolder,
    SeedsOption,
    Sets,
    Specs,
    Threads,
    loaded,
    overrides,
    repeated,
)
from clipbench.cli.plan import outlook, show_plans
from clipbench.errors import RUN_FAILED, ClipbenchError, StoreError
from clipbench.judging.words import count
from clipbench.planning.outlook import Outlook
from clipbench.report import trying as lines
from clipbench.report.progress import WatcherFormat
from clipbench.report.raw import to_json_line
from clipbench.running.engines import chosen
from clipbench.spec import Spec


def run(
    specs: Specs,
    results: ResultsFolder = Path("results"),
    sets: Sets = None,
    seeds: SeedsOption = None,
    only: Filter = None,
    quick: Quick = False,
    device: Device = None,
    threads: Threads = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="The most runs at a time.")] = None,
    per_device: Annotated[
        int,
        typer.Option(
            "--jobs-per-device", min=1, help="Tuning trials on a GPU at a time; their times then mean nothing."
        ),
    ] = 1,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="The most wall seconds per run.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a crashed run is tried again.")] = 0,
    extend_grid: Annotated[
        bool,
        typer.Option("--extend-grid", help="Add trials to every arm while a best setting lies at the edge of a grid."),
    ] = False,
    only_of: Annotated[
        Only | None, typer.Option("--only", help="Of the runs to make: only those that failed, or were never made.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most runs to make now.")] = None,
    engine: EngineName = "local",
    engine_options: EngineOptions = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit the runs and leave them to the cluster: for --engine slurm.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    fmt: Annotated[WatcherFormat, typer.Option("--format", help="The format of progress messages.")] = "human",
) -> None:
    """Make the missing runs of specs. Resumable.

    First every arm takes a step or two, so that an arm that cannot run fails at once. To resume, give the same command
    again: finished runs are kept.
    """
    made_by = chosen(engine, engine_options or ())
    options = RunOptions(results, fmt, jobs, timeout, retries, extend_grid, per_device, made_by, detach, only_of, limit)
    if detach:
        _require_to_be_left(options)
    changes = overrides(sets, seeds, only, quick, device, threads)
    asked = _under_names_of_their_own(loaded(specs, changes, engine=made_by))
    if per_device > 1:
        _require_gpus(asked)
    outlooks = [outlook(spec, results, extend=extend_grid) for spec in asked]  # check all before any runs
    if dry_run and (only_of or limit):
        raise ClipbenchError("--dry-run shows all runs of a plan", remedy="leave out --only and --limit")
    if dry_run:
        show_plans(outlooks, results)
        return
    folders = [store.folder_of_spec(spec.name, results) for spec in asked]
    ended: Ended = []
    with console.sigterm_as_ctrl_c(), ExitStack() as claims:
        for folder in folders:
            claims.enter_context(store.claimed(folder))
        to_try, to_make = Wanted(only_of, limit), Wanted(only_of, limit)
        # A job that tries the arms may wait in the queue for hours; without it, every run says itself what fails.
        failing = [
            [] if detach else _try(each, options, spec, to_try) for each, spec in zip(outlooks, asked, strict=True)
        ]
        for first, spec, fails in zip(outlooks, asked, failing, strict=True):
            ended += carried_out(spec, options, to_make, first=first, failing=fails)
    if detach:
        words = repeated(specs, results, changes, engine, engine_options or ())
        console.say(f"next: {console.command('status', *words)}")
        return
    if not (fmt == "human" and sys.stdout.isatty() and _shown(folders)):
        _say_what_is_next(folders, fmt)
    _end_by_failures(ended, results)


def _require_to_be_left(options: RunOptions) -> None:
    if not options.engine.can_leave:
        message = f"the engine {options.engine.name} makes runs only as long as the command is there"
        raise ClipbenchError(message, remedy="--detach is for --engine slurm")
    if options.timeout is not None or options.retries:
        message = "nobody is there for --timeout or --retries once the runs are left to the cluster"
        raise ClipbenchError(message, remedy="leave them out; --engine-opt minutes=N is a job's time limit")


def _require_gpus(specs: Sequence[Spec]) -> None:
    for spec in specs:
        if not spec.device.startswith("cuda"):
            message = f"--jobs-per-device lets trials share a GPU, and the runs of {spec.name} are on {spec.device}"
            raise ClipbenchError(message, remedy="leave it out; --jobs is the most runs at a time")


def _under_names_of_their_own(specs: list[Spec]) -> list[Spec]:
    if len({spec.name for spec in specs}) < len(specs):
        raise ClipbenchError(
            "two of the specs have the same name and would share a results folder",
            remedy="rename a file, or run each with its own -o FOLDER",
        )
    return specs


def _try(outlook: Outlook, options: RunOptions, spec: Spec, wanted: Wanted) -> trying.FailingRuns:
    """The runs that fail at their first steps. Runs with a checkpoint are not tried: they have passed these steps."""
    results, stage = options.results, outlook.stage
    now = wanted.of(outlook.missing(results), results)
    missing = [run for run in now if not (store.folder_of(run, results) / store.CHECKPOINT).exists()]
    try:
        tried = trying.try_arms(
            stage, missing, code=spec.code, fmt=options.fmt, timeout=options.timeout, engine=options.engine
        )
        if faults := [*lines.selection_unrecorded(tried, spec)]:
            raise ClipbenchError("\n".join(faults), where=spec.name, remedy="nothing was run")
        for line in lines.targets_unrecorded(tried, spec):
            console.say(line, style="yellow")
        return trying.failing(stage, missing, tried)
    except KeyboardInterrupt:
        console.say("interrupted before the first run started")
        console.say(f"resume with: {console.command(*sys.argv[1:])}")
        raise


def _shown(folders: Sequence[Path]) -> bool:
    """Whether the results could be compared on one screen for each spec; these end the command on a terminal."""
    try:
        for folder in folders:
            put_screen(folder)
        console.say(f"this again: {console.command('compare', *folders)}")
    except ClipbenchError as error:
        console.complain(error, before="not compared", style="yellow")
        return False
    return True


def _say_what_is_next(folders: Sequence[Path], fmt: WatcherFormat) -> None:
    for folder in folders:
        human = fmt == "human"
        console.put(str(folder) if human else to_json_line({"event": "results", "folder": str(folder)}))
    if comparable := [*filter(_has_a_report, folders)]:
        console.say(f"next: {console.command('compare', *comparable)}")


def _has_a_report(folder: Path) -> bool:
    """Whether there is anything to compare yet: trials that select a setting are not."""
    for each in store.run_folders(folder):
        with suppress(StoreError):
            record = store.read(each)
            if record.outcome is not None and not record.run.trial_of:
                return True
    return False


def _end_by_failures(ended: Ended, results: Path) -> None:
    """Exit with RUN_FAILED if a run failed, and name the command that shows why."""
    if failed := [run for run, outcome in ended if outcome.status == "failed"]:
        why = console.command("show", store.folder_of(failed[0], results))
        console.say(f"{count(len(failed), 'run')} failed; why: {why}")
        raise typer.Exit(RUN_FAILED)
