"""`clipbench status`: how far the runs of specs are, whoever makes them."""

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from clipbench import console, store
from clipbench.cli.options import (
    Device,
    EngineName,
    EngineOptions,
    Filter,
    Json,
    Quick,
    ResultsFolder,
    SeedsOption,
    Sets,
    Specs,
    Threads,
    loaded,
    overrides,
)
from clipbench.cli.plan import outlook
from clipbench.errors import ClipbenchError, StoreError
from clipbench.judging.words import count
from clipbench.planning.outlook import Outlook
from clipbench.records import Run
from clipbench.report.numbers import NONE, seconds
from clipbench.report.render import render
from clipbench.report.table import Column, Document, Paragraph, Table, text_column
from clipbench.running import queue
from clipbench.running.engines import chosen

State = Literal["done", "at work", "queued", "unfinished", "failed", "missing"]
Queue = Mapping[queue.Place, queue.Queued]
SILENT_SECONDS = 120.0  # without a sign of life and without a job in a queue: nobody makes the run


@dataclass(frozen=True)
class Standing:
    """How far a run is; `silent` is for how many seconds its worker has said nothing, `job` its job on a cluster."""

    run: Run
    state: State
    progress: float = 0.0
    step: float | None = None
    loss: float = math.nan
    silent: float | None = None
    job: str = ""


@dataclass(frozen=True)
class _Arm:
    task: str
    name: str
    states: Counter[State]


def status(
    specs: Specs,
    results: ResultsFolder = Path("results"),
    sets: Sets = None,
    seeds: SeedsOption = None,
    only: Filter = None,
    quick: Quick = False,
    device: Device = None,
    threads: Threads = None,
    engine: EngineName = "local",
    engine_options: EngineOptions = None,
    json: Json = False,
) -> None:
    """Show how far the runs of specs are: done, at work, queued, unfinished, failed or missing.

    Give the options of the `clipbench run` that makes them, such as --set and --engine.
    """
    changes = overrides(sets, seeds, only, quick, device, threads)
    asked = loaded(specs, changes, engine=chosen(engine, engine_options or ()))
    outlooks = [outlook(spec, results) for spec in asked]
    there = _queue(outlooks, results)
    standings = [_standings(each, results, there) for each in outlooks]
    for of_spec in standings:
        console.put(render(document(of_spec), "json" if json else "table"))
    _say_what_is_next({each.state for of_spec in standings for each in of_spec}, outlooks, results)


def _queue(outlooks: Sequence[Outlook], results: Path) -> Queue:
    """The jobs of this user on a cluster, if a run has one."""
    runs = (run for each in outlooks for run in each.missing(results))
    if not any((store.folder_of(run, results) / store.JOB).exists() for run in runs):
        return {}
    try:
        return queue.entries()
    except ClipbenchError as error:
        console.complain(error, before="the queue is not known", style="yellow")
        return {}


def _standings(outlook: Outlook, results: Path, there: Queue) -> list[Standing]:
    stage, missing = outlook.stage, {run.key for run in outlook.missing(results)}
    known = [*stage.trials, *stage.runs]
    return [
        *(_standing(run, results, there) if run.key in missing else _ended(run, stage.spent) for run in known),
        *(Standing(run, "missing") for run in stage.waiting),
    ]


def _ended(run: Run, crashed: frozenset[str]) -> Standing:
    return Standing(run, "failed") if run.key in crashed else Standing(run, "done", 1.0)


def _standing(run: Run, results: Path, there: Queue) -> Standing:
    """How far a run is that is not done, by what lies in its folder."""
    folder = store.folder_of(run, results)
    with suppress(StoreError):
        if store.read_outcome(folder) is not None:
            return Standing(run, "failed")
    beat, silent = store.read_heartbeat(folder), _silent(folder)
    job = store.read_job(folder)
    entry = there.get((job["name"], job["index"])) if job else None
    if entry is None and (beat is None or beat["stopping"] or silent is None or silent > SILENT_SECONDS):
        if (folder / store.CHECKPOINT).exists():
            return Standing(run, "unfinished", beat["progress"] if beat else 0.0, beat["step"] if beat else None)
        return Standing(run, "missing")
    state: State = "queued" if entry is not None and entry.is_waiting else "at work"
    at = Standing(run, state, job=entry.id if entry else "")
    if beat is None:
        return at
    return replace(at, progress=beat["progress"], step=beat["step"], loss=beat["loss"], silent=silent)


def _silent(folder: Path) -> float | None:
    try:
        return max(0.0, time.time() - (folder / store.HEARTBEAT).stat().st_mtime)
    except OSError:
        return None


def document(standings: Sequence[Standing]) -> Document:
    """How many runs of each arm are done, and how far those at work are."""
    arms: dict[tuple[str, str], Counter[State]] = {}
    for each in standings:
        place = each.run.task.name, each.run.trial_of or each.run.arm.name
        arms.setdefault(place, Counter())[each.state] += 1
    rows = [_Arm(*place, states) for place, states in arms.items()]
    total = sum((row.states for row in rows), Counter[State]())
    counts = [f"{total[state]} {state}" for state in get_args(State) if total[state]]
    at_work = [each for each in standings if each.state in ("at work", "queued", "unfinished")]
    tables: list[Table[_Arm] | Table[Standing]] = [Table("arms", _ARMS, rows)]
    if at_work:
        tables.append(Table("runs", _RUNS, at_work, title="Not done"))
    return Document(
        (*tables, Paragraph(f"{count(len(standings), 'run')}: {', '.join(counts)}")),
        lines=Table("runs", _RUNS, standings),
    )


def _say_what_is_next(states: set[State], outlooks: Sequence[Outlook], results: Path) -> None:
    words = [word for word in sys.argv[1:] if word != "--json"]
    if states & {"at work", "queued"}:
        console.say(f"again: {console.command(*words)}")
    elif states & {"unfinished", "failed", "missing"}:
        if not any(each.missing(results) for each in outlooks):  # what is missing waits for trials that it leaves out
            words = _without_filter(words)
        console.say(f"next: {console.command('run', *words[1:])}")
    else:
        folders = [store.folder_of_spec(each.stage.question.spec, results) for each in outlooks]
        console.say(f"next: {console.command('compare', *folders)}")


def _without_filter(words: Sequence[str]) -> list[str]:
    after = {at + 1 for at, word in enumerate(words) if word == "--filter"}
    return [word for at, word in enumerate(words) if at not in after and word.partition("=")[0] != "--filter"]


def _percent(standing: Standing) -> tuple[str, ...]:
    return (f"{standing.progress:.0%}",)


def _step(standing: Standing) -> tuple[str, ...]:
    return (NONE if standing.step is None else f"{standing.step:g}",)


_ARMS: tuple[Column[_Arm], ...] = (
    text_column("task", "the task's name", lambda arm: arm.task),
    text_column("arm", "the arm's name", lambda arm: arm.name),
    Column("runs", shown=lambda arm: (str(arm.states.total()),), heading="runs"),
    Column("done", shown=lambda arm: (str(arm.states["done"]),), heading="done"),
    Column("at_work", shown=lambda arm: (str(arm.states["at work"]),), heading="at work"),
    Column("queued", shown=lambda arm: (str(arm.states["queued"]),), heading="queued"),
    Column("unfinished", shown=lambda arm: (str(arm.states["unfinished"]),), heading="unfinished"),
    Column("failed", shown=lambda arm: (str(arm.states["failed"]),), heading="failed"),
    Column("missing", shown=lambda arm: (str(arm.states["missing"]),), heading="missing"),
)
_RUNS: tuple[Column[Standing], ...] = (
    text_column("run", "task, arm and seed", lambda each: str(each.run)),
    Column("key", "the run's key", lambda each: each.run.key),
    text_column(
        "state", "done, at work, queued, unfinished (with a checkpoint), failed or missing", lambda each: each.state
    ),
    Column("progress", "the fraction of the budget that is spent", lambda each: each.progress, "progress", _percent),
    Column("step", "steps taken", lambda each: each.step, "step", _step),
    Column(
        "loss",
        "the last loss",
        lambda each: None if math.isnan(each.loss) else each.loss,
        "loss",
        lambda each: (NONE if math.isnan(each.loss) else f"{each.loss:.4g}",),
    ),
    Column(
        "silent",
        "seconds since its worker has said something",
        lambda each: each.silent,
        "last sign of life",
        lambda each: (NONE if each.silent is None else f"{seconds(round(each.silent))} ago",),
    ),
    text_column("job", "its job on a cluster", lambda each: each.job, shown=lambda each: (each.job or NONE,)),
)
