"""Checks of seeds: the same for all arms, what they vary, enough of them, and no run counted under two names."""

import math
from collections.abc import Iterator

from clipbench.judging.cells import Cell, grouped
from clipbench.judging.checks.evidence import Check, Evidence, Finding
from clipbench.judging.copies import alike, copies_sentence, once
from clipbench.judging.paired import half_width, seeds_to_show, so_many
from clipbench.judging.statistics import estimate
from clipbench.judging.words import capital, count, listing, number, seeds_named
from clipbench.records import INITIAL_WEIGHTS

FEW_SEEDS = 5  # with fewer, a paired t interval is so wide that ordinary effects stay undecided


def same_seeds(evidence: Evidence) -> Iterator[Finding]:
    """Seeds of a task that some of its arms lack; and what seeds cannot vary."""
    yield from same_weights(evidence)
    for task, runs in evidence.by_task.items():
        every = {run.seed for run in runs}
        lacking: dict[tuple[int, ...], list[str]] = {}
        for arm, group in grouped(runs, lambda run: run.arm.name).items():
            lacking.setdefault(tuple(sorted(every - {run.seed for run in group})), []).append(arm)
        for seeds, arms in lacking.items():
            if seeds:
                lacks = f"{listing(arms)} on {task} {'lacks' if len(arms) == 1 else 'lack'} {seeds_named(seeds)}"
                loss = "differences use the common seeds, means use all"
                yield Finding("fail", f"{lacks} that others have: {loss}.", arms)


def same_weights(evidence: Evidence) -> Iterator[Finding]:
    """Tasks that start from the same weights whatever the seed: loaded ones, by their option or by fingerprint."""
    starts: dict[str, dict[int, str]] = {}
    for record in evidence.records:
        if record.outcome and (weights := record.outcome.fingerprints.get(INITIAL_WEIGHTS)):
            starts.setdefault(record.run.task.name, {})[record.run.seed] = weights
    tasks = [
        task
        for task, runs in evidence.by_task.items()
        if runs[0].task.options.get("pretrained") is True
        or (len(by_seed := starts.get(task, {})) > 1 and len(set(by_seed.values())) == 1)
    ]
    if tasks:
        start = f"{listing(tasks)} {'starts' if len(tasks) == 1 else 'start'} from"
        varied = "the order of the examples, dropout and new layers alone"
        yield Finding("note", f"Seeds do not vary the weights that {start}: they vary {varied}.", tasks)


def enough_seeds(evidence: Evidence) -> Iterator[Finding]:
    """Too few seeds to show the declared effect or, where none is declared, an ordinary one; and copies among them."""
    yield from copies(evidence)
    if evidence.question.effect is None:
        yield from _few_seeds(evidence)
    elif not evidence.has_results:
        yield Finding("not applicable", "The spread over seeds is not known before running.")
    else:
        yield from _enough_to_show(evidence.question.effect, evidence)


def copies(evidence: Evidence) -> Iterator[Finding]:
    """Seeds that end with the same weights: a sentence for all arms of a task, since the task is the usual cause."""
    arms: dict[tuple[str, tuple[int, ...]], list[Cell]] = {}
    for cell in evidence.cells:
        for seeds in alike({record.run.seed: [record.weights] for record in cell.finished}):
            if len(seeds) > 1:
                arms.setdefault((cell.task, seeds), []).append(cell)
    for (task, seeds), cells in arms.items():
        runs = [record.run for cell in cells for record in cell.records if record.run.seed in seeds]
        yield Finding(
            "fail", f"{capital(copies_sentence(seeds, f'{listing(cell.arm for cell in cells)} on {task}'))}.", runs
        )


def _few_seeds(evidence: Evidence) -> Iterator[Finding]:
    arms = grouped(evidence.runs, lambda run: f"{run.task.name}/{run.arm.name}")
    sizes = {name: len({run.seed for run in runs}) for name, runs in arms.items()}
    few = [name for name, size in sizes.items() if size < FEW_SEEDS]
    if few:
        least = min(sizes.values())
        beyond = (
            f"With {least} seeds, a verdict needs a mean difference above "
            f"{number(half_width(least) / least**0.5, 2)} standard deviations of the paired differences"
            if least > 1
            else "With 1 seed, a difference has no standard error and no verdict"
        )
        advice = f"Start with {FEW_SEEDS} seeds; if the spec declares an effect, the audit says how many seeds it needs"
        yield Finding("warn", f"{beyond}. {advice}.", few)


def _enough_to_show(effect: float, evidence: Evidence) -> Iterator[Finding]:
    size = f"{number(effect * 100)} %"
    baselines = {cell.task: cell for cell in evidence.cells if cell.arm == evidence.question.baseline}
    pairs = [(cell, baselines[cell.task]) for cell in evidence.cells if cell.task in baselines]
    differences = [(cell, _relative(cell, baseline)) for cell, baseline in pairs if cell is not baseline]
    if not any(losses for _, losses in differences):
        yield Finding(
            "not applicable", f"No difference from the baseline can be compared with the declared effect of {size}."
        )
    for cell, losses in differences:
        name, n = f"{cell.arm} on {cell.task}", len(losses)
        spread = estimate(losses).standard_error * math.sqrt(n)
        needed = seeds_to_show(effect, spread) if n > 1 else math.inf
        if n == 1:
            yield Finding(
                "fail", f"{name} has a single seed in common with the baseline: the spread is unknown.", [cell.arm]
            )
        elif 1 < n < needed:
            needs = f"needs {so_many(needed)} to show {size} with a paired spread of {number(spread * 100, 2)} %"
            yield Finding("fail", f"{name} has {count(n, 'seed')} and {needs}.", [cell.arm])


def _relative(cell: Cell, baseline: Cell) -> list[float]:
    """Differences of final losses, copies once, over the baseline's mean; none where that mean is not above zero."""
    theirs = baseline.final_losses
    ours = once(cell.final_losses, theirs, cell.ends, baseline.ends)
    scale = estimate([theirs[seed] for seed in ours]).mean
    return [(loss - theirs[seed]) / scale for seed, loss in ours.items()] if scale > 0 else []


def arms_differ(evidence: Evidence) -> Iterator[Finding]:
    """Arms whose runs end with the very same weights: one optimizer under two names, whatever the spec calls them."""
    ends: dict[tuple[str, int, str], list[str]] = {}
    for cell in evidence.cells:
        for seed, weights in cell.ends.items():
            if weights:
                ends.setdefault((cell.task, seed, weights), []).append(cell.arm)
    same: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for (task, seed, _), arms in ends.items():
        if len(arms) > 1:
            same.setdefault((task, tuple(arms)), []).append(seed)
    for (task, names), seeds in same.items():
        ends_alike = f"end with the same weights on {task}, {seeds_named(sorted(seeds))}"
        yield Finding("warn", f"{listing(names)} {ends_alike}: the options that differ had no effect.", names)


CHECKS = (
    Check("same seeds", "All arms on a task have the same seeds.", same_seeds),
    Check(
        "enough seeds",
        f"There are enough seeds to show the declared effect ({FEW_SEEDS} if the spec declares none), and no two seeds "
        "of an arm end with the same weights.",
        enough_seeds,
    ),
    Check("arms differ", "No two arms end with the same weights.", arms_differ, needs_runs=True),
)
