"""The front door: parse, call, print. No logic lives here, and no command imports torch into this process."""

import json
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from clipbench import __version__, console, spec, store
from clipbench.errors import INTERRUPTED, RUN_FAILED, ClipbenchError, UndecidedError
from clipbench.judging.compare import compare as compare_records
from clipbench.judging.cost import expected_cost
from clipbench.judging.words import count
from clipbench.records import Outcome, Question, Record, Run
from clipbench.report import listing
from clipbench.report.progress import Watcher, watcher
from clipbench.report.raw import to_json
from clipbench.report.render import render
from clipbench.report.show import show as show_record
from clipbench.running.devices import resolve
from clipbench.running.engines import Need
from clipbench.running.engines.local import LocalEngine
from clipbench.running.supervisor import InterruptedRunsError, Policy, supervise
from clipbench.spec import Asked, catalogue

EPILOG = (
    "Exit codes: 0 did the job; 1 a finding; 2 usage or spec error, nothing ran; 3 could not decide; "
    "4 finished, but a run failed (divergence is a result, not a failure); 130 interrupted, and resumable."
)

app = typer.Typer(
    help="A benchmark for deep-learning optimizers: loss, time and directional sharpness, side by side.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class TableFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    json = "json"


class ProgressFormat(StrEnum):
    human = "human"
    jsonl = "jsonl"


class Listable(StrEnum):
    tasks = "tasks"
    optimizers = "optimizers"
    probes = "probes"
    runs = "runs"


Specs = Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Benchmark specs, as YAML files.")]
Results = Annotated[Path, typer.Option("-o", "--results", help="The folder that holds the results.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Set one value of the spec.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds in place of the spec's own: 0..4, or 0,3,7.")]
Filter = Annotated[str | None, typer.Option("--filter", metavar="GLOB", help="Only arms whose names match.")]
Quick = Annotated[bool, typer.Option("--quick", help="One seed and a tenth of the budget; not comparable.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps, in place of the spec's own.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads a run, in place of the spec's own.")]
Json = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]


def main() -> NoReturn:
    """Run the command line; a ClipbenchError becomes its words on stderr and its exit code."""
    console.prepare()
    try:
        app(prog_name="clipbench")
    except ClipbenchError as error:
        console.say(f"error: {error}", style="bold red")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        sys.stdout.write(f"clipbench {__version__}\n")
        raise typer.Exit


@app.command()
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
    asked = Asked(sets or (), _seeds(seeds), only, quick, device, threads)
    plans = [_ask(path, asked) for path in specs]
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


@app.command()
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
    asked = Asked(sets or (), _seeds(seeds), only, quick, device, threads)
    _show_plans([_ask(path, asked) for path in specs], results, fmt="json" if json else "table")


@app.command()
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


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Folders of results.")],
    fmt: Annotated[TableFormat, typer.Option("--format", help="How the table is written.")] = TableFormat.table,
    baseline: Annotated[str | None, typer.Option(help="The arm to compare with.")] = None,
    target: Annotated[float | None, typer.Option(help="The evaluation loss to reach.")] = None,
) -> None:
    """The table: each arm against the baseline, paired by seed, with its caveats."""
    groups = _by_spec(_read(results))
    if not groups:
        raise UndecidedError(
            f"no runs to compare in {', '.join(map(str, results))}", remedy="runs are made by `clipbench run`"
        )
    if len(groups) > 1 and fmt in (TableFormat.csv, TableFormat.json):
        raise ClipbenchError(
            f"{fmt} holds one spec, and here are {', '.join(groups)}", remedy="give one of their folders"
        )
    for question, records in groups.values():
        comparison = compare_records(records, question, baseline=baseline, target=target)
        console.put(render(comparison, fmt))
        if fmt is TableFormat.csv:  # a CSV file has no place for them
            for caveat in comparison.caveats:
                console.say(f"caveat: {caveat}")


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or the beginning of its key.")],
    results: Results = Path("results"),
) -> None:
    """One run: how it ended, its curve, where its time went, its environment, the log of a failure."""
    folder = store.find(run, results)
    console.put(show_record(store.read(folder), log=store.read_log(folder)))


@app.command("list")
def list_(
    what: Annotated[Listable, typer.Argument(help="What to list.")],
    results: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("results"),
    json: Json = False,
) -> None:
    """The tasks, optimizers or probes there are, with their options; or the runs that were made."""
    fmt: listing.ListFormat = "json" if json else "table"
    if what is Listable.runs:
        console.put(listing.runs(_read([results]), fmt=fmt))
    for kind in catalogue.KINDS:
        if what == kind:
            console.put(listing.shelf(catalogue.shelf(kind), fmt=fmt))


@app.command()
def schema() -> None:
    """The JSON Schema of a spec, for editors."""
    console.put(to_json(spec.json_schema()))


def _ask(path: Path, asked: Asked) -> tuple[Question, tuple[Run, ...]]:
    return spec.ask(path, asked, resolve=resolve)


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


def _seeds(text: str | None) -> tuple[int, ...] | None:
    """`0..4` is 0 to 4 with both ends; `0,3,7` is what it says."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    try:
        return tuple(range(int(first), int(last) + 1)) if dots else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a range such as 0..4 nor a list such as 0,3,7") from None


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


def _read(paths: Sequence[Path]) -> list[Record]:
    """All runs below some folders; those that cannot be read are named on stderr, and the rest still reads."""
    records: list[Record] = []
    for path in paths:
        found, errors = store.read_all(path)
        records += found
        for error in errors:
            console.say(f"not read: {error}", style="yellow")
    return records


def _by_spec(records: Sequence[Record]) -> dict[str, tuple[Question, list[Record]]]:
    groups: dict[str, tuple[Question, list[Record]]] = {}
    for record in records:
        if record.run.spec not in groups:
            asked = store.question_of(Path(record.folder))
            first = record.run.arm.name
            groups[record.run.spec] = asked or Question(record.run.spec, record.run.spec, (first,), first), []
        groups[record.run.spec][1].append(record)
    return groups


def _watcher(fmt: ProgressFormat) -> Watcher:
    return watcher(fmt.value, Console(stderr=True), stream=sys.stdout)
