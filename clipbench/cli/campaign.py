"""The runs of one spec, made: the trials, as long as others follow from those that have ended; then what is reported.

What is said along the way goes to stderr; stdout has the events of `--format jsonl`.
"""

import sys
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from clipbench import console, store
from clipbench.cli import trying
from clipbench.cli.plan import outlook
from clipbench.errors import StoreError
from clipbench.judging.words import count, listing
from clipbench.planning.outlook import still_to_make
from clipbench.planning.staging import Stage
from clipbench.records import Outcome, Run
from clipbench.report.progress import Watcher, WatcherFormat, interrupted, watcher
from clipbench.report.renamed import renamed_lines
from clipbench.report.selection import beyond_the_edge, selection_line
from clipbench.running.engines import Engine, Need
from clipbench.running.engines.local import LocalEngine
from clipbench.running.supervisor import InterruptedRunsError, Policy, supervise
from clipbench.spec import Spec

ENGINE: type[Engine] = LocalEngine

Ended = list[tuple[Run, Outcome]]


@dataclass(frozen=True)
class RunOptions:
    """How runs are made, whatever they are: nothing here decides a number.

    `jobs` is the most runs at once, `timeout` the wall seconds that a run may take, and `retries` how often a crashed
    run is tried again. `extend_grid`: more trials while an arm's best lies at an edge.
    """

    results: Path
    fmt: WatcherFormat
    jobs: int | None
    timeout: float | None
    retries: int
    extend_grid: bool


def carried_out(spec: Spec, options: RunOptions, *, failing: trying.FailingRuns) -> Ended:
    """Make the missing runs of a spec.

    Args:
        spec: what to run.
        options: how.
        failing: the runs that failed a try at their first steps; they get their outcome without being made.

    Raises:
        StoreError: a trial cannot be read, so that its arm cannot be tuned.
        KeyboardInterrupt: this process was asked to stop; the runs at work have left a checkpoint.
    """
    policy = Policy(options.timeout, options.retries, diverged=spec.diverged)
    campaign = _Campaign(spec, options, policy, frozenset(run.key for run, _ in failing))
    return [*trying.record(failing, options.results, fmt=options.fmt), *campaign.carried_out()]


@dataclass(frozen=True)
class _Campaign:
    """`without` has the keys of the runs that are not to be made."""

    spec: Spec
    options: RunOptions
    policy: Policy
    without: frozenset[str]

    def carried_out(self) -> Ended:
        stage, ended = self._tuned()
        if stage.waiting:
            _tell_of_waiting(stage, ended, self.options.results)
        self._tell_what_was_selected(stage)
        return [*ended, *self._supervised(stage.runs, noun="run")] if stage.runs else ended

    def _tuned(self) -> tuple[Stage, Ended]:
        """Make trials until none follows from those that have ended; the stage after that, and how they ended."""
        results = self.options.results
        ended: Ended = []
        done: set[str] = set()
        while True:
            now = outlook(self.spec, results, extend=self.options.extend_grid)
            _take_over(now.renamed, results)
            stage = now.stage
            store.write_question(stage.question, results)
            trials = [each for each in stage.trials if each.key not in done]
            if not trials:
                return stage, ended
            ended += self._supervised(trials, noun="trial run", spent=stage.spent)
            done |= {each.key for each in trials}

    def _tell_what_was_selected(self, stage: Stage) -> None:
        for tuning in stage.tunings:
            console.say(selection_line(tuning))
        if advice := beyond_the_edge(stage.question, extended=self.options.extend_grid):
            console.say(advice, style="yellow")
        if crashed := [each for each in stage.trials if each.key in stage.spent]:
            folder = store.folder_of(crashed[0], self.options.results)
            said = f"{count(len(crashed), 'trial run')} crashed and {'is' if len(crashed) == 1 else 'are'} spent"
            again = "with its folder deleted it is made anew, and another setting may be selected"
            console.say(f"{said}; why: {console.command('show', folder)}; {again}", style="yellow")

    def _supervised(self, runs: Sequence[Run], *, noun: str, spent: Collection[str] = ()) -> Ended:
        """Make the missing runs; what is said afterwards waits until the live display is gone."""
        runs, results = [run for run in runs if run.key not in self.without], self.options.results
        if not runs:
            return []
        to_make = still_to_make(runs, results, spent=spent)
        if not to_make:
            with self._watcher() as watching:
                watching.planned(len(runs), len(runs))
            console.say(f"nothing to do: all {len(runs)} {noun}s of {self.spec.name} are there already")
            return []
        _set_aside(to_make, results)
        begin = time.monotonic()
        need = Need(to_make[0].device, to_make[0].threads)
        try:
            with self._watcher() as watching, ENGINE(need, jobs=self.options.jobs) as engine:
                watching.planned(len(runs), len(runs) - len(to_make))
                ended = supervise(to_make, results, engine=engine, watcher=watching, policy=self.policy)
        except InterruptedRunsError:
            left = still_to_make(runs, results, spent=spent)
            done = f"interrupted: {len(runs) - len(left)} of {len(runs)} {noun}s are there"
            console.say("; ".join([done, *interrupted([store.folder_of(run, results) for run in left])]))
            console.say(f"go on with: {console.command(*sys.argv[1:])}")
            raise KeyboardInterrupt from None
        console.say(f"{count(len(ended), noun)} in {time.monotonic() - begin:.0f} s, {len(engine.slots)} at a time")
        return ended

    def _watcher(self) -> Watcher:
        return watcher(self.options.fmt, Console(stderr=True), put=console.put)


def _take_over(renamed: Iterable[store.Renamed], results: Path) -> None:
    """Put what is there under other names where the plan has it, and say so."""
    tell = partial(console.say, style="yellow")
    for line in renamed_lines([each for each in renamed if store.put_in_place(each, results, tell=tell)]):
        console.say(line)


def _set_aside(runs: Iterable[Run], results: Path) -> None:
    """Clear the folders of the runs to make of what is not theirs, and say so."""
    for run in runs:
        with suppress(StoreError):  # which comes again when the run is to start, and is the reason that it failed
            if line := store.set_aside(run, store.folder_of(run, results)):
                console.say(f"{line}, and the run is made anew", style="yellow")


def _tell_of_waiting(stage: Stage, ended: Ended, results: Path) -> None:
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
