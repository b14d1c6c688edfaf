"""The runs of a spec to make now, given the existing runs: first trials, then the selected settings.

A crashed trial counts as a trial of its arm and ranks last, as a diverged trial does. Once its arm has a selected
setting, the trial is spent: it is not made again automatically. The cause of a crash may be the setting (a matrix that
is singular at this rate) or the machine (its memory), and the supervisor cannot tell them apart. But a repeated trial
is a trial more than other arms had, and could change the selection after results were reported. So `--retries` repeats
a crashed trial at once, before the selection; later a person must delete the run's folder. If no trial of an arm
finished, nothing is reported of it, and its crashed trials are made again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from clipbench.errors import ClipbenchError
from clipbench.judging.endings import as_read
from clipbench.judging.tuning.summary import ArmTuning, tunings
from clipbench.judging.tuning.trials import TrialResult, best, criterion, tried
from clipbench.planning.extending import EXTENSIONS, extension
from clipbench.planning.runs import plan, trials
from clipbench.questions import Question, Trial, Tuned, Tuning
from clipbench.records import Choice, Options, Record, Run
from clipbench.spec import Spec, question


@dataclass(frozen=True)
class Stage:
    """What is known of a spec's runs so far.

    - `trials`: all that are to be made at this point; more may follow when they have ended. `spent` has the keys of
      those that crashed and are not made again.
    - `runs`: those to report, of every arm that is selected or has nothing to tune.
    - `waiting`: as many runs as will be reported of arms whose trials have not ended, each with the first setting to
      be tried in place of the one that will be selected: for counts and costs, not to be made.
    - `tunings`: what the trials tell so far.
    """

    question: Question
    trials: tuple[Run, ...]
    runs: tuple[Run, ...]
    waiting: tuple[Run, ...]
    tunings: tuple[ArmTuning, ...]
    spent: frozenset[str] = frozenset()


def staged(spec: Spec, records: Sequence[Record], *, extend: bool = False) -> Stage:
    """What is to be run now.

    The question's keys are those of the whole plan, whatever arms are asked for.

    Args:
        spec: what is asked.
        records: the runs of this spec that there are.
        extend: give every arm another trial while an arm's best lies at the edge of its grid, at most EXTENSIONS
            times. Extensions that were made before count without it.

    Raises:
        ClipbenchError: the seeds make no sense, or there is no grid that could be extended for all arms alike.
    """
    if extend:
        _check_extendable(spec)
    by_key = {record.identity: record for record in as_read(records, spec.diverged)}
    searches = [search for task in spec.tasks for search in _searches(spec, task, by_key, extend=extend)]
    arms = {arm.name: arm for arm in spec.searched}
    selected = {
        (search.tuned.task, search.tuned.arm): arms[search.tuned.arm].selected(search.tuned.selected)
        if search.tuned.selected is not None
        else None
        for search in searches
        if search.has_ended
    }
    pending = {
        (search.tuned.task, search.tuned.arm): arms[search.tuned.arm].selected(search.tuned.trials[0].settings)
        for search in searches
        if not search.has_ended
    }
    runs = plan(spec, device=spec.device, selected=selected)
    tuning, asked = _tuning(spec, searches), question(spec)
    longer = tuning is not None and any(len(tuned.trials) > tuned.planned for tuned in tuning.arms)
    command = (*asked.command, "--extend-grid") if asked.command and longer else asked.command
    asked = replace(asked, keys=tuple(run.key for run in runs), tuning=tuning, command=command)
    ordered = [run for seed in _seeds(spec) for search in searches for run in search.runs if run.seed == seed]
    there = {(run.seed, run.task.name, run.arm.name) for run in runs}
    waiting = [
        run
        for run in plan(spec, device=spec.device, selected={**selected, **pending})
        if (run.seed, run.task.name, run.arm.name) not in there
    ]
    return Stage(
        question=asked,
        trials=tuple(run for run in ordered if spec.wants(run.trial_of)),
        runs=tuple(run for run in runs if spec.wants(run.arm.name)),
        waiting=tuple(run for run in waiting if spec.wants(run.arm.name)),
        tunings=tuple(each for each in tunings(records, asked) if spec.wants(each.arm)),
        spent=frozenset(key for search in searches for key in _spent(search, by_key)),
    )


@dataclass(frozen=True)
class _Search:
    """An arm's search on a task: its record, the runs of its trials, and what came of these."""

    tuned: Tuned
    runs: tuple[Run, ...]
    tried: tuple[TrialResult, ...]

    @property
    def has_ended(self) -> bool:
        return all(each.ended for each in self.tried)


def _searches(spec: Spec, task: Choice, by_key: Mapping[str, Record], *, extend: bool) -> list[_Search]:
    """The searches of all arms on one task, with the extensions that are to be made or were."""
    if spec.tuning is None:
        return []
    settings = {arm.name: list(arm.settings) for arm in spec.searched}
    searches = _carried_out(spec, task, settings, by_key)
    for _ in range(EXTENSIONS if spec.tuning.search == "grid" else 0):
        if not all(each.ended for search in searches for each in search.tried):
            break
        further = extension({search.tuned.arm: search.tried for search in searches})
        if not further:
            break
        longer = {name: [*tries, *([further[name]] if name in further else [])] for name, tries in settings.items()}
        extended = _carried_out(spec, task, longer, by_key)
        if not extend and not all(each.ended for search in extended for each in search.tried):
            break
        settings, searches = longer, extended
    return searches


def _carried_out(
    spec: Spec, task: Choice, settings: Mapping[str, Sequence[Options]], by_key: Mapping[str, Record]
) -> list[_Search]:
    assert spec.tuning is not None
    runs = trials(spec, task, settings, device=spec.device)
    searches = []
    for arm in spec.searched:
        pairs = zip(settings[arm.name], runs[arm.name], strict=True)
        tries = tuple(Trial(options, tuple(run.key for run in of_one)) for options, of_one in pairs)
        tuned = Tuned(task.name, arm.name, arm.spaces, tries, planned=len(arm.settings))
        by = criterion(*spec.selection, spec.terms_of(task.name).target, spec.quantities)
        results = tried(tuned, by_key, by=by)
        leader = best(results)
        tuned = replace(tuned, selected=None if leader is None else leader.settings)
        searches.append(_Search(tuned, tuple(run for of_one in runs[arm.name] for run in of_one), tuple(results)))
    return searches


def _spent(search: _Search, by_key: Mapping[str, Record]) -> Iterator[str]:
    """The keys of crashed trials that a selection stands on."""
    if search.tuned.selected is not None:
        yield from (run.key for run in search.runs if run.key in by_key and by_key[run.key].status == "failed")


def _tuning(spec: Spec, searches: Sequence[_Search]) -> Tuning | None:
    if spec.tuning is None:
        return None
    select, better = spec.selection
    tuned = tuple(search.tuned for search in searches)
    return Tuning(spec.tuning.seeds, spec.tuning.search, select, tuned, better)


def _seeds(spec: Spec) -> tuple[int, ...]:
    return spec.tuning.seeds if spec.tuning else ()


def _check_extendable(spec: Spec) -> None:
    tuning = spec.tuning
    if tuning is None:
        reason, remedy = "nothing is tuned in it, so there is no grid to extend", "add a `tuning` section to the spec"
    elif tuning.search != "grid":
        reason, remedy = f"its search is {tuning.search}, not a grid", "widen the spaces in the spec instead"
    elif spec.only is not None:
        reason, remedy = "an extension gives every arm a trial", "leave out --filter"
    else:
        return
    raise ClipbenchError(f"--extend-grid makes no sense here: {reason}", where=spec.name, remedy=remedy)
