"""Rules on how the settings of each arm were chosen."""

from collections.abc import Iterator, Sequence

from clipbench.judging.audit.evidence import Effort, Evidence, grouped, odd_ones
from clipbench.judging.audit.findings import Finding, failed, gravest, not_applicable, passed, warned
from clipbench.judging.twins import is_twin
from clipbench.judging.words import count, listing, number
from clipbench.records import Arm

NO_TRIALS = not_applicable("no trials are on record")
NO_TUNING = not_applicable("the spec declares no tuning")


def choice_on_record(evidence: Evidence) -> Finding:
    declared = {effort.arm for effort in evidence.efforts if effort.declared}
    if declared:
        return passed(f"the trials behind {listing(sorted(declared))} are on record")
    if evidence.efforts:
        return passed("every setting of the grids is an arm of the table")
    return warned("how the rates were chosen is not in these results; a `tuning` section puts the trials on record")


def baseline_tuned(evidence: Evidence) -> Finding:
    tuned = _tuned(evidence.efforts)
    if not tuned:
        return NO_TRIALS
    baseline = _family(evidence.question.baseline, evidence.efforts)
    lacking = [task for task in evidence.by_task if (task, baseline) not in tuned]
    if not lacking:
        return passed(f"the baseline {baseline} was tuned as the others were")
    others = sorted({arm for _, arm in tuned})
    said = f"{listing(others)} had trials and the baseline {baseline} had none on {listing(lacking)}"
    return (failed if _declared(evidence) else warned)(said, [baseline])


def equal_trials(evidence: Evidence) -> Finding:
    if not _tuned(evidence.efforts):
        return NO_TRIALS
    found = []
    for task, efforts in _of_reported_arms(evidence).items():
        values, odd = odd_ones(efforts, lambda effort: effort.trials)
        if len(values) > 1:
            said = listing([f"{effort.arm} {effort.trials}" for effort in efforts], limit=12)
            unequal = f"trials on {task} are unequal ({said}): more of them find a better best"
            found.append((failed if _declared(evidence) else warned)(unequal, [effort.arm for effort in odd]))
    had = " or ".join(count(trials, "trial") for trials in dict.fromkeys(each.trials for each in evidence.efforts))
    return gravest(found, otherwise=passed(f"every arm had as many as the others ({had})"))


def equal_compute(evidence: Evidence) -> Finding:
    if not _declared(evidence):
        return NO_TUNING
    found = []
    for task, efforts in _of_reported_arms(evidence).items():
        values, odd = odd_ones(efforts, lambda effort: dict(effort.spent))
        if len(values) > 1:
            said = listing([f"{effort.arm} {_spent(effort)}" for effort in efforts], limit=12)
            found.append(failed(f"tuning on {task} cost unequally ({said})", [effort.arm for effort in odd]))
    return gravest(found, otherwise=passed("every arm's trials cost the same"))


def bracketed(evidence: Evidence) -> Finding:
    """An unbracketed arm may be better than it is shown: that is grave where it is the baseline, which others beat."""
    if not _tuned(evidence.efforts):
        return NO_TRIALS
    if not evidence.made:
        return not_applicable("where the best value lies is known after running")
    baseline = _family(evidence.question.baseline, evidence.efforts)
    found = []
    for effort in evidence.efforts:
        if effort.edges:
            where = f"the best {listing(effort.edges)} of {effort.arm} on {effort.task} is the outermost one tried"
            if effort.declared and effort.arm == baseline:
                found.append(failed(f"{where}, and it is the baseline: others may beat only its grid", [effort.arm]))
            else:
                found.append(warned(where, [effort.arm]))
    return gravest(found, otherwise=passed("every best value has tried ones on both sides"))


def fresh_seeds(evidence: Evidence) -> Finding:
    if not _declared(evidence):
        return NO_TUNING
    found = []
    for effort in evidence.efforts:
        again = [run for run in evidence.by_task.get(effort.task, ()) if run.seed in effort.seeds]
        if again:
            seeds = sorted({run.seed for run in again})
            found.append(failed(f"{effort.arm} was tuned on {listing(seeds)}, and seeds reported are the same", again))
    return gravest(found, otherwise=passed("no seed of the tuning is reported"))


def selection_apart(evidence: Evidence) -> Finding:
    if not _tuned(evidence.efforts):
        return NO_TRIALS
    if not _declared(evidence):
        arms = sorted({effort.arm for effort in evidence.efforts if effort.trials > 1})
        whole = f"every point of {count(len(arms), 'grid')} is reported"
        return warned(f"{whole}: the best of them, picked from this table, is flattered by its pick", arms)
    trials = {key for effort in evidence.efforts for key in effort.keys}
    both = [run for key, run in evidence.by_key.items() if key in trials]
    if both:
        return failed("runs that chose the settings are reported as results", both)
    return passed("what is reported chose nothing")


def twins_tuned_alike(evidence: Evidence) -> Finding:
    """A clip's own fraction is paid for from the same budget, so a clipped arm may search one option more."""
    if not any(run.arm.clip for run in evidence.runs):
        return not_applicable("no arm has a clip")
    if not _tuned(evidence.efforts):
        return _twins_without_trials(evidence)
    by_arm = {(effort.task, effort.arm): effort for effort in evidence.efforts}
    found = {}
    for task, arm, twin in _twins(evidence):
        ours = by_arm.get((task, _family(arm.name, evidence.efforts)))
        theirs = by_arm.get((task, _family(twin.name, evidence.efforts)))
        unlike = _unlike(ours, theirs)
        if unlike:
            found[unlike] = (failed if _declared(evidence) else warned)(unlike, [arm.name, twin.name])
    return gravest(list(found.values()), otherwise=passed("clipped arms and their twins were tuned alike"))


def _twins(evidence: Evidence) -> Iterator[tuple[str, Arm, Arm]]:
    """Each clipped arm of a task with each of its twins."""
    for task, runs in evidence.by_task.items():
        arms = {run.arm.name: run.arm for run in runs}.values()
        for arm in arms:
            if arm.clip is not None:
                yield from ((task, arm, other) for other in arms if is_twin(arm, other))


def _twins_without_trials(evidence: Evidence) -> Finding:
    unlike = [
        f"{arm.name} and its twin {twin.name} have different rates"
        for _, arm, twin in _twins(evidence)
        if arm.optimizer.options != twin.optimizer.options
    ]
    if not unlike:
        return not_applicable("no trials are on record, and every twin has its clipped arm's rate")
    return warned(f"{listing(dict.fromkeys(unlike))}, and no trials are on record to say why")


def _unlike(ours: Effort | None, theirs: Effort | None) -> str:
    if ours is None or theirs is None:
        return ""
    names = f"{ours.arm} and its twin {theirs.arm}"
    if ours.trials != theirs.trials:
        return f"{names} had {ours.trials} and {theirs.trials} trials on {ours.task}"
    searched = {option for option in ours.searched if option.partition(".")[0] != "clip"}
    if searched != set(theirs.searched):
        of = " and ".join(listing(sorted(options)) or "nothing" for options in (searched, theirs.searched))
        return f"{names} searched different options on {ours.task}: {of}"
    return ""


def _tuned(efforts: Sequence[Effort]) -> set[tuple[str, str]]:
    """The tasks and arms that had a choice: an arm of a single setting had none."""
    return {(effort.task, effort.arm) for effort in efforts if effort.trials > 1}


def _declared(evidence: Evidence) -> bool:
    return any(effort.declared for effort in evidence.efforts)


def _of_reported_arms(evidence: Evidence) -> dict[str, tuple[Effort, ...]]:
    """The efforts by task; an arm that is reported and was never tuned stands there with no trial."""
    by_task = grouped(evidence.efforts, lambda effort: effort.task)
    for task, runs in evidence.by_task.items():
        known = {effort.arm for effort in by_task.get(task, ())}
        arms = dict.fromkeys(_family(run.arm.name, evidence.efforts) for run in runs)
        untuned = tuple(Effort(task, arm, 0, (), (), {}) for arm in arms if arm not in known)
        by_task[task] = by_task.get(task, ()) + untuned
    return by_task


def _family(arm: str, efforts: Sequence[Effort]) -> str:
    """The tuned arm that a reported one is a setting of: `sgd` for `sgd[lr=0.1]`."""
    names = {effort.arm for effort in efforts}
    grid = arm.partition("[")[0]
    return grid if arm not in names and grid in names else arm


def _spent(effort: Effort) -> str:
    return " and ".join(f"{number(amount, 6)} {unit}" for unit, amount in effort.spent.items()) or "nothing"
