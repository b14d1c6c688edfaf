"""Makes the runs of a spec: trials until tuning is complete, then the reported runs.

Messages go to stderr; stdout has the events of `--format jsonl`.
"""

import sys
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from clipbench import console, store
from clipbench.cli import trying
from clipbench.cli.plan import outlook
from clipbench.errors import StoreError
from clipbench.judging.words import count, listing
from clipbench.planning.outlook import Outlook, still_to_make
from clipbench.planning.staging import Stage
from clipbench.records import Outcome, Run
from clipbench.report.progress import Watcher, WatcherFormat, interrupted, watcher
from clipbench.report.renamed import renamed_lines
from clipbench.report.selection import beyond_the_edge, selection_line
from clipbench.running.engines import LOCAL, EngineChoice, Need
from clipbench.running.supervisor import InterruptedRunsError, Policy, supervise
from clipbench.spec import Spec

Ended = list[tuple[Run, Outcome]]


Only = Literal["failed", "missing"]


@dataclass(frozen=True)
class RunOptions:
    """Options of `clipbench run` that change no run's numbers.

    - `jobs`: the most runs at a time.
    - `timeout`: the most wall seconds per run.
    - `retries`: how often a crashed run is tried again.
    - `extend_grid`: add trials while an arm's best setting lies at an edge of its grid.
    - `per_device`: how many tuning trials share a GPU.
    - `engine`: what starts the workers.
    - `detach`: runs are submitted and left to it.
    - `only`: of the runs to make those that failed before, or those that were never made.
    - `limit`: the most runs to make.
    """

    results: Path
    fmt: WatcherFormat
    jobs: int | None
    timeout: float | None
    retries: int
    extend_grid: bool
    per_device: int = 1
    engine: EngineChoice = LOCAL
    detach: bool = False
    only: Only | None = None
    limit: int | None = None


def carried_out(
    spec: Spec, options: RunOptions, wanted: "Wanted", *, first: Outlook, failing: trying.FailingRuns
) -> Ended:
    """Make the missing runs of a spec.

    Args:
        spec: what to run.
        options: how.
        wanted: which of the runs are made now; the limit is that of all specs together.
        first: the state of its runs; it holds for the whole command where no arm is tuned.
        failing: runs that failed when their first steps were tried; they count as failed without being made.

    Raises:
        StoreError: a trial cannot be read, so that its arm cannot be tuned.
        KeyboardInterrupt: this process was asked to stop; the runs at work have left a checkpoint.
    """
    policy = Policy(options.timeout, options.retries, diverged=spec.diverged)
    wanted.left_out, wanted.why = 0, set()
    campaign = _Campaign(spec, options, policy, first, frozenset(run.key for run, _ in failing), wanted)
    ended = [*trying.record(failing, options.results, fmt=options.fmt), *campaign.carried_out()]
    if wanted.left_out:
        why = " and ".join(sorted(wanted.why))
        console.say(f"{count(wanted.left_out, 'run')} of {spec.name} left out by {why}; without it they are made")
    return ended


@dataclass
class Wanted:
    """Which of the runs to make are made now: `only` some, and at most `limit`; `left_out` counts the others."""

    only: Only | None = None
    limit: int | None = None
    left_out: int = 0
    why: set[str] = field(default_factory=set)  # the options that left something out

    def of(self, runs: Sequence[Run], results: Path) -> list[Run]:
        """Those that are made, in their order; they count against the limit."""
        kept = [
            run
            for run in runs
            if self.only is None or (self.only == "failed") == store.has_failed(run, store.folder_of(run, results))
        ]
        within = kept[: self.limit]
        if len(kept) < len(runs):
            self.why.add("--only")
        if len(within) < len(kept):
            self.why.add("--limit")
        self.left_out += len(runs) - len(within)
        if self.limit is not None:
            self.limit -= len(within)
        return within


@dataclass(frozen=True)
class _Campaign:
    """`without`: keys of runs that are not made; `wanted`: how many of the others are."""

    spec: Spec
    options: RunOptions
    policy: Policy
    first: Outlook
    without: frozenset[str]
    wanted: Wanted

    def carried_out(self) -> Ended:
        stage, ended = self._tuned()
        if self.wanted.left_out:
            return ended
        if stage.waiting and self.options.detach:
            console.say(f"{count(len(stage.waiting), 'run')} follow when the trials have ended: give the command again")
        elif stage.waiting and (others := self._filtered_out(stage)):
            arms = listing(dict.fromkeys(each.arm.name for each in stage.waiting))
            console.say(f"the runs of {arms} wait for the trials of {others}: run the spec without --filter")
        elif stage.waiting:
            _tell_of_waiting(stage, ended, self.options.results)
        self._tell_what_was_selected(stage)
        return [*ended, *self._supervised(stage.runs, noun="run")] if stage.runs else ended

    def _filtered_out(self, stage: Stage) -> str:
        """The arms with trials to make that --filter leaves out, where runs wait for these alone: as for their ghosts.

        Args:
            stage: of the arms that are made.
        """
        if any(each.ended < each.trials for each in stage.tunings):
            return ""
        whole = outlook(replace(self.spec, only=None), self.options.results).stage
        to_make = still_to_make(whole.trials, self.options.results, spent=whole.spent)
        return listing(dict.fromkeys(run.trial_of for run in to_make if not self.spec.wants(run.trial_of)))

    def _tuned(self) -> tuple[Stage, Ended]:
        """Make trials until tuning needs no more. Return the next stage and the trials' outcomes."""
        results = self.options.results
        ended: Ended = []
        done: set[str] = set()
        while True:
            tuned = self.spec.tuning is not None
            now = outlook(self.spec, results, extend=self.options.extend_grid) if tuned else self.first
            _take_over(now.renamed, results)
            stage = now.stage
            store.write_question(stage.question, results)
            trials = [each for each in stage.trials if each.key not in done]
            if not trials:
                return stage, ended
            ended += self._supervised(trials, noun="trial run", spent=stage.spent)
            done |= {each.key for each in trials}
            if self.wanted.left_out:
                return stage, ended

    def _tell_what_was_selected(self, stage: Stage) -> None:
        for tuning in stage.tunings:
            console.say(selection_line(tuning))
        advice = beyond_the_edge(stage.question, extended=self.options.extend_grid)
        is_a_look = "--quick" in stage.question.command  # which asks for no better grid
        if advice and not is_a_look and any(tuning.edges for tuning in stage.tunings):
            console.say(advice, style="yellow")
        if crashed := [each for each in stage.trials if each.key in stage.spent]:
            folder = store.folder_of(crashed[0], self.options.results)
            runs = f"{count(len(crashed), 'trial run')} crashed and {'ranks' if len(crashed) == 1 else 'rank'} last"
            again = "to repeat a trial, delete its folder; that may change the selected setting"
            console.say(f"{runs}; why: {console.command('show', folder)}; {again}", style="yellow")

    def _supervised(self, runs: Sequence[Run], *, noun: str, spent: Collection[str] = ()) -> Ended:
        """Make the missing runs. Messages wait until the live display has ended."""
        options, results = self.options, self.options.results
        runs = [run for run in runs if run.key not in self.without]
        if not runs:
            return []
        missing = still_to_make(runs, results, spent=spent)
        to_make, reused = self.wanted.of(missing, results), len(runs) - len(missing)
        if not to_make and self.wanted.left_out:
            return []
        if not to_make:
            with self._watcher() as watching:
                watching.planned([], len(runs))
            console.say(f"nothing to do: all {len(runs)} {noun}s of {self.spec.name} are there already")
            return []
        _set_aside(to_make, results)
        begin = time.monotonic()
        together = options.per_device if to_make[0].trial_of else 1
        processes = self.spec.training.processes
        need = Need(to_make[0].device, to_make[0].threads, self.spec.code, together, processes)
        if options.detach:
            self._leave(to_make, need, noun=noun)
            return []
        try:
            with self._watcher() as watching, options.engine.build(need, jobs=options.jobs) as engine:
                watching.planned(to_make, reused)
                ended = supervise(to_make, results, engine=engine, watcher=watching, policy=self.policy)
        except InterruptedRunsError:
            left = still_to_make(runs, results, spent=spent)
            done = f"interrupted: {len(runs) - len(left)} of {len(runs)} {noun}s are done"
            console.say("; ".join([done, *interrupted([store.folder_of(run, results) for run in left])]))
            console.say(f"resume with: {console.command(*sys.argv[1:])}")
            raise KeyboardInterrupt from None
        console.say(f"{count(len(ended), noun)} in {time.monotonic() - begin:.0f} s, {engine.about}")
        return ended

    def _leave(self, runs: Sequence[Run], need: Need, *, noun: str) -> None:
        folders = [store.folder_of(run, self.options.results) for run in runs]
        for run, folder in zip(runs, folders, strict=True):
            store.describe(run, folder)
        self.options.engine.leave(folders, need, jobs=self.options.jobs)
        console.say(f"{count(len(runs), noun)} of {self.spec.name}: queued or at work on {self.options.engine.name}")

    def _watcher(self) -> Watcher:
        return watcher(self.options.fmt, Console(stderr=True), put=console.put)


def _take_over(renamed: Iterable[store.Renamed], results: Path) -> None:
    """Move or copy runs that exist under earlier names to the plan's names, and say so."""
    tell = partial(console.say, style="yellow")
    for line in renamed_lines([each for each in renamed if store.put_in_place(each, results, tell=tell)]):
        console.say(line)


def _set_aside(runs: Iterable[Run], results: Path) -> None:
    """Rename folders that stand where a planned run goes but hold something else, and say so."""
    for run in runs:
        with suppress(StoreError):  # raised again when the run starts, and then recorded as its failure
            if line := store.set_aside(run, store.folder_of(run, results)):
                console.say(f"{line}; the run is made again", style="yellow")


def _tell_of_waiting(stage: Stage, ended: Ended, results: Path) -> None:
    """Name the arms that cannot be tuned because a trial left no readable result."""
    arms = listing(dict.fromkeys(each.arm.name for each in stage.waiting))
    lost = [(each, outcome) for each, outcome in ended if _left_no_result(store.folder_of(each, results))]
    if not lost:
        remedy = "restore or delete the folders named above and run the spec again: only those runs are made again"
        raise StoreError(f"{arms} cannot be tuned: a trial cannot be read", where=stage.question.spec, remedy=remedy)
    run, outcome = lost[0]
    console.say(f"{arms} cannot be tuned yet: {run} left no result ({outcome.reason})", style="yellow")


def _left_no_result(folder: Path) -> bool:
    """Whether a folder holds no outcome of its run."""
    return not (folder / store.RUN).exists() or store.read_outcome(folder) is None
