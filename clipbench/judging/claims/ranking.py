"""Whether arms stand in the same order by two quantities: Spearman's rank correlation, seed by seed."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import StatisticsError, correlation, median

from clipbench.judging.cells import Cell, grouped
from clipbench.judging.claims.answers import ClaimComparison, Site, Tally, comparison
from clipbench.judging.claims.selecting import directions, fits, named, of_run, values
from clipbench.judging.copies import alike
from clipbench.judging.current import InForce
from clipbench.judging.paired import Points
from clipbench.records import OWN, Record
from clipbench.spec.claims import Claim, Rank

StepsByArm = Mapping[
    str, tuple[Record, str]
]  # by arm: the run that a step of it was measured on, and its direction there


def rank_comparisons(claim: Claim, results: Sequence[InForce]) -> list[ClaimComparison]:
    """One correlation for each task and trajectory, with its interval over seeds.

    Over the arms that have a direction there and a run of their own with the same seed; of fewer arms than the claim
    needs nothing is said. Seeds of which all these runs are copies count once. A trajectory that did not finish is left
    out and counted. An arm whose own run diverged or failed keeps its place in the order, the last: without it, what
    foretells the others would be flattered.
    """
    wanted = claim.rank
    if wanted is None:
        return []
    ordered: dict[Site, dict[int, tuple[float, tuple[str, ...]]]] = {}  # the correlation and all weights, by seed
    left_out: dict[Site, set[int]] = {}
    called = wanted.by if wanted.rather_than is None else f"{wanted.by} rather than {wanted.rather_than}"
    for result in results:
        chosen = (cell for cell in result.cells if named(cell.task, wanted.tasks))
        for task, cells in grouped(chosen, lambda cell: cell.task).items():
            for trajectory, seed, steps, ended in _steps(wanted, cells):
                ends = _ends(wanted, cells, seed)
                by = [wanted.by] if wanted.rather_than is None else [wanted.by, wanted.rather_than]
                table = _table(steps, by, ends)
                site = Site(result.question.spec, task, trajectory, f"{called}, and {wanted.to}")
                if not ended:
                    left_out.setdefault(site, set()).add(seed)
                if len(table) >= claim.needs.arms:
                    by_seed = ordered.setdefault(site, {})
                    if ended:
                        by_seed[seed] = _correlation(table), _weights(steps, cells, seed, arms=ends)
    compared = []
    for site, by_seed in ordered.items():
        tally = Tally(Points("linear"), left_out=left_out.get(site, ()))
        for seed, *_ in alike({seed: weights for seed, (_, weights) in by_seed.items()}):
            tally.points.add_difference(seed, by_seed[seed][0])
        compared.append(comparison(site, tally, quantity=wanted.by, claim=claim))
    return compared


def spearman(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Pearson's correlation of the ranks, ties sharing the mean of theirs; NaN where all of one side are equal."""
    try:
        return correlation(_ranks(ours), _ranks(theirs))
    except StatisticsError:
        return math.nan


def _steps(wanted: Rank, cells: Sequence[Cell]) -> Iterator[tuple[str, int, StepsByArm, bool]]:
    """Trajectory and seed with the steps of arms there, and whether it finished.

    All at one run's points, or each at its own, where there is no such run.
    """
    if wanted.at == "own":
        chosen = [cell for cell in cells if fits(cell.described, wanted.of)]
        for seed in sorted({seed for cell in chosen for seed in cell.by_seed}):
            yield "", seed, {cell.arm: (cell.by_seed[seed], OWN) for cell in chosen if seed in cell.by_seed}, True
        return
    for cell in cells:
        for record in cell.records if fits(cell.described, wanted.on) else ():
            arms = ((direction, arm) for direction, arm in directions(record.run).items() if fits(arm, wanted.of))
            steps = {arm.name: (record, direction) for direction, arm in arms}
            yield cell.arm, record.run.seed, steps, record.status == "finished"


def _ends(wanted: Rank, cells: Sequence[Cell], seed: int) -> dict[str, float]:
    """How each arm's own run with this seed ended; one that did so without a finite loss stands behind all others."""
    ends = {}
    for cell in cells:
        record = cell.by_seed.get(seed)
        if record is None or record.outcome is None:
            continue
        end = of_run(record, wanted.to, cell.target)
        if end is not None and not end.at_least and math.isfinite(end.value):
            ends[cell.arm] = end.value
        elif end is not None or record.status != "finished":
            ends[cell.arm] = math.inf
    return ends


def _weights(steps: StepsByArm, cells: Sequence[Cell], seed: int, *, arms: Collection[str]) -> tuple[str, ...]:
    """What the runs ended with that steps were measured on, and those of the same arms that say how each ended.

    A run that broke stands last whatever it left: that it broke is all it says.
    """
    measured = [record for arm, (record, _) in steps.items() if arm in arms]
    of_arms = [cell.by_seed.get(seed) for cell in cells if cell.arm in arms and cell.arm in steps]
    runs = [*measured, *(record for record in of_arms if record)]
    return tuple(run.weights if run.status == "finished" else run.status for run in runs)


def _table(steps: StepsByArm, by: Sequence[str], ends: Mapping[str, float]) -> list[tuple[float, ...]]:
    """A row for each arm that has all of it: the typical values of each quantity, and how its run ended."""
    rows = []
    for arm, (record, direction) in steps.items():
        typical = [_typical(record, direction, quantity) for quantity in by]
        whole = [value for value in typical if value is not None]
        if arm in ends and len(whole) == len(by):
            rows.append((*whole, ends[arm]))
    return rows


def _correlation(table: Sequence[tuple[float, ...]]) -> float:
    """The correlation with the ends, or by how much that of the first quantity exceeds that of the second."""
    *quantities, ends = zip(*table, strict=True)
    correlations = [spearman(values_of, ends) for values_of in quantities]
    return correlations[0] if len(correlations) == 1 else correlations[0] - correlations[1]


def _typical(record: Record, direction: str, quantity: str) -> float | None:
    """The median over steps, which a negative value or a wild one does not spoil; `-x` has its sign turned."""
    name = quantity.removeprefix("-")
    finite = [value for value in values(record, direction, name).values() if math.isfinite(value)]
    if not finite:
        return None
    return -median(finite) if quantity.startswith("-") else median(finite)


def _ranks(numbers: Sequence[float]) -> list[float]:
    """1 for the least; equal values share the mean of their ranks."""
    order = sorted(numbers)
    return [order.index(value) + (order.count(value) + 1) / 2 for value in numbers]
