"""Rules on what is missing: runs that were planned, seeds that only some arms have, more seeds than there are."""

import math
from collections.abc import Iterator

from clipbench.judging.audit.evidence import Evidence, grouped
from clipbench.judging.audit.findings import NOTHING_RUN, Finding, failed, gravest, not_applicable, passed, warned
from clipbench.judging.cells import Cell
from clipbench.judging.comparability import copied
from clipbench.judging.copies import once, said
from clipbench.judging.doubts import FEW_SEEDS
from clipbench.judging.metrics import status
from clipbench.judging.paired import seeds_to_show, so_many
from clipbench.judging.statistics import estimate
from clipbench.judging.tuning.trials import has_crashed
from clipbench.judging.words import count, listing, number, seeds_named
from clipbench.quantities import final_loss


def nothing_dropped(evidence: Evidence) -> Finding:
    if not evidence.made:
        return NOTHING_RUN
    planned, there = evidence.question.keys, {record.identity for record in evidence.records}
    found = []
    absent = [key for key in planned if key not in there]
    if absent:
        found.append(failed(f"{len(absent)} of {count(len(planned), 'planned run')} are not here", absent))
    arms = {run.arm.name for run in evidence.runs}
    gone = [arm for arm in evidence.question.arms if arm not in arms]
    if gone and not absent:
        found.append(failed(f"{listing(gone)} {'has' if len(gone) == 1 else 'have'} no run", gone))
    waiting = [record.run for record in evidence.records if record.outcome is None]
    if waiting:
        found.append(failed(f"{count(len(waiting), 'run')} did not end", waiting))
    crashed = [record.run for record in evidence.records if has_crashed(record)]
    if crashed:
        found.append(warned(f"{count(len(crashed), 'run')} crashed: what they would have shown is not known", crashed))
    ended = [record for record in evidence.records if status(record) == "finished"]
    endless = [record.run for record in ended if not math.isfinite(final_loss(record))]
    if endless:
        what = f"{count(len(endless), 'run')} finished without a finite loss: no mean with it is a number"
        found.append(warned(what, endless))
    found += _trials_dropped(evidence)
    if not planned:
        found.append(warned("no plan is on record, so whether runs were left out cannot be told"))
    return gravest(found, otherwise=passed("every planned run is here and ended; divergence counts as an end"))


def _trials_dropped(evidence: Evidence) -> Iterator[Finding]:
    for effort in evidence.efforts:
        of = f"of {effort.arm} on {effort.task}"
        if effort.absent:
            yield failed(
                f"{len(effort.absent)} of {count(len(effort.keys), 'trial run')} {of} are not here", effort.absent
            )
        if effort.crashed:
            what = f"{count(len(effort.crashed), 'trial run')} {of} crashed"
            yield warned(f"{what}: the arm had fewer settings to pick from than were tried", effort.crashed)


def same_seeds(evidence: Evidence) -> Finding:
    found = []
    for task, runs in evidence.by_task.items():
        every = {run.seed for run in runs}
        for arm, of_arm in grouped(runs, lambda run: run.arm.name).items():
            lacking = sorted(every - {run.seed for run in of_arm})
            if lacking:
                found.append(failed(f"{arm} on {task} lacks {seeds_named(lacking)} that others have", [arm]))
    return gravest(found, otherwise=passed("every arm has the same seeds"))


def enough_seeds(evidence: Evidence) -> Finding:
    effect = evidence.question.effect
    enough = _enough_for_anything(evidence) if effect is None else _enough_to_show(effect, evidence)
    return gravest([*_copies(evidence), enough], otherwise=enough)


def _copies(evidence: Evidence) -> Iterator[Finding]:
    for cell in evidence.cells:
        for seeds in copied(cell):
            copies = [record.run for record in cell.records if record.run.seed in seeds]
            yield failed(said(seeds, f"{cell.arm} on {cell.task}"), copies)


def _enough_to_show(effect: float, evidence: Evidence) -> Finding:
    if not evidence.made:
        return not_applicable("the spread over seeds is known after running")
    found = [finding for cell in evidence.cells for finding in _enough_for_effect(cell, evidence)]
    size = f"{number(effect * 100)} %"
    if not found:
        return not_applicable(f"there is no difference to show {size} of")
    return gravest(found, otherwise=passed(f"there are seeds enough to show a difference of {size}"))


def _enough_for_anything(evidence: Evidence) -> Finding:
    arms = grouped(evidence.runs, lambda run: f"{run.task.name}/{run.arm.name}")
    copies = {f"{cell.task}/{cell.arm}": len(cell.runs) - len(cell.own) for cell in evidence.cells}
    sizes = {name: len({run.seed for run in of_arm}) - copies.get(name, 0) for name, of_arm in arms.items()}
    few = [name for name, size in sizes.items() if size < FEW_SEEDS]
    if few:
        least = min(sizes.values())
        advice = f"with {count(least, 'seed')} only large differences are decided; {FEW_SEEDS} are a fair beginning"
        return warned(f"{advice}, and `effect:` in the spec says how many are enough", few)
    return passed(f"every arm has at least {FEW_SEEDS} seeds; the spec declares no effect to be shown")


def _enough_for_effect(cell: Cell, evidence: Evidence) -> Iterator[Finding]:
    """One finding for each arm that differs from the baseline; none where the baseline's loss allows no ratio."""
    effect, baseline = evidence.question.effect, evidence.question.baseline
    rival = next((each for each in evidence.cells if (each.task, each.arm) == (cell.task, baseline)), None)
    if effect is None or rival is None or cell.arm == baseline:
        return
    theirs = rival.final_losses
    ours = once(cell.final_losses, theirs, cell.ends, rival.ends)
    scale = estimate([theirs[seed] for seed in ours]).mean
    if not scale > 0:
        return
    name, n = f"{cell.arm} on {cell.task}", len(ours)
    if n < 2:
        yield failed(f"{name} has one seed in common with {baseline}: that has no spread to judge by", [cell.arm])
        return
    relative = estimate([(loss - theirs[seed]) / scale for seed, loss in ours.items()])
    spread = relative.standard_error * math.sqrt(n)
    needed = seeds_to_show(effect, spread)
    size = f"{number(effect * 100)} % with a paired spread of {number(spread * 100, 2)} %"
    yield (
        failed(f"{name} has {count(n, 'seed')} and needs {so_many(needed)} to show {size}", [cell.arm])
        if n < needed
        else passed(f"{name} needs {so_many(needed)} seeds to show {size}")
    )
