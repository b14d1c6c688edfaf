"""Checks of how the settings of each arm were chosen."""

from collections.abc import Callable, Iterator, Sequence

from clipbench.judging.cells import grouped, is_twin, rates_in_words
from clipbench.judging.checks.efforts import family
from clipbench.judging.checks.evidence import Check, Effort, Evidence, Finding, Severity, split
from clipbench.judging.words import count, listing, number, seeds_named
from clipbench.quantities import STEPS_TO_TARGET
from clipbench.records import EVAL_LOSS, Arm

NO_TRIALS = Finding("not applicable", "No trials are on record.")
NO_TUNING = Finding("not applicable", "The spec declares no tuning.")


def choice_on_record(evidence: Evidence) -> Iterator[Finding]:
    """How the settings of each arm were chosen, as far as the results say it."""
    tuning = evidence.question.tuning
    if not evidence.efforts:
        yield Finding(
            "warn",
            "Learning rates come from the spec and were not tuned: other rates may change the order of the arms. To "
            "tune them, add a tuning section to the spec.",
        )
    if tuning is None or not tuning.arms:
        return
    plain = {EVAL_LOSS: "final evaluation loss", STEPS_TO_TARGET: "steps to the target"}
    by = plain.get(tuning.select, f"{tuning.select} ({tuning.better} is better)")
    trials = listing(sorted({len(tuned.trials) for tuned in tuning.arms}))
    how = f"by {by} from {trials} trials per arm ({tuning.search}) on {seeds_named(tuning.seeds)}"
    yield Finding("note", f"Settings are selected {how}; each trial has the full budget.")
    for tuned in tuning.arms:
        if tuned.selected is None and evidence.has_results:
            name = f"{tuned.arm} on {tuned.task}"
            yield Finding("note", f"No setting of {name} is selected: trials did not end, or none finished.")


def baseline_tuned(evidence: Evidence) -> Iterator[Finding]:
    """Tasks on which arms had trials and the baseline had none."""
    tuned = _tuned(evidence)
    if not tuned:
        yield NO_TRIALS
        return
    baseline = _family(evidence.question.baseline, evidence)
    lacking = [task for task in evidence.by_task if (task, baseline) not in tuned]
    if lacking:
        arms = listing(sorted({arm for _, arm in tuned}))
        sentence = f"The baseline {baseline} was not tuned on {listing(lacking)}, but {arms} had trials."
        yield Finding(_gravity(evidence), sentence, [baseline])


def equal_trials(evidence: Evidence) -> Iterator[Finding]:
    """Tasks whose arms were tuned with unequal numbers of trials."""
    yield from _unequal(evidence, lambda effort: effort.trials) if _tuned(evidence) else (NO_TRIALS,)


def equal_compute(evidence: Evidence) -> Iterator[Finding]:
    """Tasks whose arms were tuned at unequal cost."""
    yield from _unequal(evidence, lambda effort: dict(effort.spent)) if _declared(evidence) else (NO_TUNING,)


def _unequal(evidence: Evidence, amount: Callable[[Effort], object]) -> Iterator[Finding]:
    for task, efforts in _of_reported_arms(evidence).items():
        odd = split(efforts, amount).odd
        if odd:
            yield Finding(_gravity(evidence), _tuned_unequally(task, efforts), [effort.arm for effort in odd])


def _tuned_unequally(task: str, efforts: Sequence[Effort]) -> str:
    """Trials and compute of all arms in one sentence: whatever of it is unequal, a reader wants it all, and once."""
    amounts = listing([f"{effort.arm} {_amount(effort)}" for effort in efforts], limit=12)
    return f"Arms on {task} were tuned unequally ({amounts}): arms with more trials find better settings."


def _amount(effort: Effort) -> str:
    spent = " and ".join(f"{number(amount, 6)} {unit}" for unit, amount in effort.spent.items())
    return f"{count(effort.trials, 'trial')} of {spent}" if spent else count(effort.trials, "trial")


def bracketed(evidence: Evidence) -> Iterator[Finding]:
    """An unbracketed arm may be better than it is shown: that is grave where it is the baseline, which others beat."""
    if not _tuned(evidence):
        yield NO_TRIALS
    if not evidence.has_results:
        yield Finding("not applicable", "The best value is not known before running.")
        return
    baseline = _family(evidence.question.baseline, evidence)
    for effort in evidence.efforts:
        for edge in effort.edges:
            grave = effort.declared and effort.arm == baseline
            beyond = "the baseline may be tuned too little" if grave else "a better value may lie beyond"
            yield Finding("fail" if grave else "warn", f"The best {edge}: {beyond}.", [effort.arm])


def fresh_seeds(evidence: Evidence) -> Iterator[Finding]:
    """Seeds that settings were chosen on and that are reported."""
    if not _declared(evidence):
        yield NO_TUNING
    for effort in evidence.efforts if _declared(evidence) else ():
        again = [run for run in evidence.by_task.get(effort.task, ()) if run.seed in effort.seeds]
        if again:
            seeds = seeds_named(sorted({run.seed for run in again}))
            yield Finding(
                "fail", f"{effort.arm} on {effort.task} was tuned on {seeds} and is also reported there.", again
            )


def selection_apart(evidence: Evidence) -> Iterator[Finding]:
    """Runs that chose a setting and are reported as its result."""
    if not _tuned(evidence):
        yield NO_TRIALS
    elif not _declared(evidence):
        arms = sorted({effort.arm for effort in evidence.efforts if effort.trials > 1})
        points = f"Every point of {count(len(arms), 'grid')} is in the table"
        yield Finding("warn", f"{points}: the best point looks better than it is (selection bias).", arms)
    else:
        trials = {key for effort in evidence.efforts for key in effort.keys}
        keys = [each.identity for each in evidence.records] or [run.key for run in evidence.runs]  # as they were made
        reported = dict(zip(keys, evidence.runs, strict=True))
        both = [run for key, run in reported.items() if key in trials]
        if both:
            yield Finding("fail", "Runs that selected the settings are also reported as results.", both)


def twins_tuned_alike(evidence: Evidence) -> Iterator[Finding]:
    """A clip's own fraction is paid for from the same budget, so a clipped arm may search one option more."""
    if not any(run.arm.clip for run in evidence.runs):
        yield Finding("not applicable", "No arm has a clip.")
        return
    twins = list(_twins(evidence))
    yield from _twins_missing(evidence, {(task, arm.name) for task, arm, _ in twins})
    if not _tuned(evidence):
        yield from _rates_of_twins(twins)
        return
    by_task = _of_reported_arms(evidence)
    efforts = {(effort.task, effort.arm): effort for effort in evidence.efforts}
    for task, arm, twin in twins:
        ours, theirs = (efforts.get((task, _family(name, evidence))) for name in (arm.name, twin.name))
        if ours is None or theirs is None:
            continue
        sentence = _searched_unlike(ours, theirs)
        if ours.trials != theirs.trials:
            sentence = _tuned_unequally(task, by_task[task])
        if sentence:
            yield Finding(_gravity(evidence), sentence, [arm.name, twin.name])


def _twins(evidence: Evidence) -> Iterator[tuple[str, Arm, Arm]]:
    """Each clipped arm of a task with each of its twins."""
    for task, runs in evidence.by_task.items():
        arms = {run.arm.name: run.arm for run in runs}.values()
        for arm in arms:
            yield from ((task, arm, twin) for twin in arms if is_twin(arm, twin))


def _twins_missing(evidence: Evidence, paired: set[tuple[str, str]]) -> Iterator[Finding]:
    clipped = dict.fromkeys((run.task.name, run.arm.name) for run in evidence.runs if run.arm.clip)
    for task, arm in clipped:
        if (task, arm) not in paired:
            lacks = f"{arm} has no twin on {task} (the same arm without its clip)"
            yield Finding("note", f"{lacks}: its clip is not judged.", [arm])


def _rates_of_twins(twins: Sequence[tuple[str, Arm, Arm]]) -> Iterator[Finding]:
    pairs: dict[str, tuple[str, str]] = {}
    for _, arm, twin in twins:
        if arm.learning_rates != twin.learning_rates:
            rates = " against ".join(filter(None, map(rates_in_words, (arm, twin))))
            pairs[f"{arm.name} and its twin {twin.name} ({rates})"] = arm.name, twin.name
    if pairs:
        names = dict.fromkeys(name for pair in pairs.values() for name in pair)
        differ = f"{listing(pairs)} have different learning rates"
        yield Finding("warn", f"{differ}, and no tuning explains why.", tuple(names))
    else:
        yield Finding("not applicable", "No trials are on record, and every twin has its clipped arm's learning rate.")


def _searched_unlike(arm: Effort, twin: Effort) -> str:
    searched = {option for option in arm.searched if option.partition(".")[0] != "clip"}
    if searched == set(twin.searched):
        return ""
    options = " and ".join(listing(sorted(each)) or "nothing" for each in (searched, twin.searched))
    return f"{arm.arm} and its twin {twin.arm} searched different options on {arm.task}: {options}."


def _tuned(evidence: Evidence) -> set[tuple[str, str]]:
    """The tasks and arms that had a choice: an arm of a single setting had none."""
    return {(effort.task, effort.arm) for effort in evidence.efforts if effort.trials > 1}


def _declared(evidence: Evidence) -> bool:
    return any(effort.declared for effort in evidence.efforts)


def _gravity(evidence: Evidence) -> Severity:
    return "fail" if _declared(evidence) else "warn"


def _of_reported_arms(evidence: Evidence) -> dict[str, tuple[Effort, ...]]:
    """The efforts by task; an arm that is reported and was never tuned stands there with no trial."""
    by_task = grouped(evidence.efforts, lambda effort: effort.task)
    for task, runs in evidence.by_task.items():
        known = {effort.arm for effort in by_task.get(task, ())}
        arms = dict.fromkeys(_family(run.arm.name, evidence) for run in runs)
        untuned = tuple(Effort(task, arm, 0, (), (), {}) for arm in arms if arm not in known)
        by_task[task] = by_task.get(task, ()) + untuned
    return by_task


def _family(arm: str, evidence: Evidence) -> str:
    """The tuned arm that a reported one is a setting of: `sgd` for `sgd[lr=0.1]`, unless that was tuned itself."""
    names = {effort.arm for effort in evidence.efforts}
    return arm if arm in names or family(arm) not in names else family(arm)


CHECKS = (
    Check("choice on record", "The results show how each arm's settings were chosen.", choice_on_record),
    Check("baseline tuned", "If any arm was tuned, the baseline was tuned too.", baseline_tuned),
    Check("equal trials", "Every arm was tuned with the same number of trials.", equal_trials),
    Check("equal tuning compute", "Every arm's tuning had the same budget.", equal_compute),
    Check("twins tuned alike", "A clipped arm and its twin were tuned alike.", twins_tuned_alike),
    Check("bracketed", "No arm's best value is the outermost value tried.", bracketed),
    Check("fresh seeds", "No tuning seed is reported.", fresh_seeds),
    Check("selection apart", "No run that selected a setting is reported as a result.", selection_apart),
)
