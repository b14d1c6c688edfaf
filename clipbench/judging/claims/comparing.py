"""The comparisons of a claim: directions at shared points, or arms along their own paths."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clipbench.judging.cells import Cell
from clipbench.judging.claims.answers import Comparison, Site, Tally, comparison
from clipbench.judging.claims.selecting import OF_A_RUN, STEPS_TO_TARGET, Measured, fits, fits_against, named, of_run
from clipbench.judging.metrics import status
from clipbench.records import OWN, Arm, Question, Record
from clipbench.spec.claims import Claim, Compare, Scale


@dataclass(frozen=True)
class Results:
    """The runs of one spec, in cells, with the question they answer."""

    question: Question
    cells: tuple[Cell, ...]


def comparisons(claim: Claim, wanted: Compare, results: Sequence[Results]) -> list[Comparison]:
    """Every comparison that the runs allow, with the first of the claim's quantities that gives any."""
    for quantity in (wanted.quantity,) if isinstance(wanted.quantity, str) else wanted.quantity:
        tallies: dict[Site, Tally] = {}
        for each in results:
            at = _shared if wanted.at == "shared" else _own
            for site, tally in at(wanted, quantity, each).items():
                tallies[site] = tally
        found = [
            comparison(site, quantity, tally, claim=claim, scale=wanted.how)
            for site, tally in tallies.items()
            if tally.by_seed or tally.excluded or tally.lost
        ]
        if found:
            return found
    return []


def _shared(wanted: Compare, quantity: str, results: Results) -> dict[Site, Tally]:
    """Directions within one run at the same steps: the same weights, gradients and batches."""
    found: dict[Site, Tally] = {}
    for cell in results.cells:
        if not named(cell.task, wanted.tasks) or not fits(cell.described, wanted.on):
            continue
        for record in cell.records:
            run = Measured(record)
            for ours, theirs, between in _pairs(wanted, run.directions):
                values = run.values(ours, quantity)
                others = run.values(theirs, wanted.against_quantity or quantity)
                for step in sorted(values.keys() & others.keys()):
                    site = Site(results.question.spec, cell.task, cell.arm, between, step if wanted.each_step else None)
                    tally = found.setdefault(site, Tally.empty())
                    tally.add(record.run.seed, _compared(values[step], others[step], wanted.how))
    return found


def _own(wanted: Compare, quantity: str, results: Results) -> dict[Site, Tally]:
    """Arms of one task, each on its own path, paired by seed."""
    found: dict[Site, Tally] = {}
    for task in dict.fromkeys(cell.task for cell in results.cells if named(cell.task, wanted.tasks)):
        cells = {cell.arm: cell for cell in results.cells if cell.task == task}
        for ours, theirs, between in _pairs(wanted, {name: cell.described for name, cell in cells.items()}):
            site = Site(results.question.spec, task, "", between)
            tally = found.setdefault(site, Tally.empty())
            others = {record.run.seed: record for record in cells[theirs].records}
            for record in cells[ours].records:
                if record.run.seed in others:
                    _add_seed(tally, record, others[record.run.seed], wanted, quantity, results.question.target)
    return found


def _pairs(wanted: Compare, arms: Mapping[str, Arm]) -> Iterator[tuple[str, str, str]]:
    """Whose values are compared with whose, by the keys of `arms`, and how that is called.

    Without `against` an arm stands alone, beside itself: another quantity of it, or nothing.
    """
    for ours, arm in arms.items():
        if not fits(arm, wanted.of):
            continue
        if wanted.against is None:
            yield ours, ours, arm.name
            continue
        for theirs, other in arms.items():
            if fits_against(arm, other, wanted.against):
                yield ours, theirs, f"{arm.name} against {other.name}"


def _add_seed(tally: Tally, ours: Record, theirs: Record, wanted: Compare, quantity: str, target: float | None) -> None:
    """One seed's value: over a run as a whole, or the mean over the steps of what was measured along its own path."""
    if ours.outcome is None or theirs.outcome is None:
        return
    if status(ours) != "finished" and status(theirs) == "finished":
        tally.lost += 1
    if quantity in OF_A_RUN:
        pair = [of_run(record, quantity, target=target) for record in (ours, theirs)]
        if quantity == STEPS_TO_TARGET:
            if target is None:
                return
            pair = _censored(pair, (ours, theirs))
        value = None if pair[0] is None or pair[1] is None else _compared(pair[0], pair[1], wanted.how)
        tally.add(ours.run.seed, value)
        return
    first = Measured(ours).values(OWN, quantity)
    second = Measured(theirs).values(OWN, wanted.against_quantity or quantity)
    for step in sorted(first.keys() & second.keys()):
        tally.add(ours.run.seed, _compared(first[step], second[step], wanted.how))


def _censored(steps: Sequence[float | None], records: Sequence[Record]) -> list[float | None]:
    """A miss counts as the steps the run had: that understates how much slower it is. Two misses say nothing."""
    if all(each is None or math.isinf(each) for each in steps):
        return [None, None]
    return [
        float(record.outcome.steps) if each is not None and math.isinf(each) and record.outcome else each
        for each, record in zip(steps, records, strict=True)
    ]


def _compared(ours: float, theirs: float, scale: Scale) -> float | None:
    """ln of a ratio, a difference, or the value alone; None for a ratio of what is not positive."""
    if scale == "value":
        return ours
    if scale == "difference":
        return ours - theirs
    positive = 0 < ours < math.inf and 0 < theirs < math.inf
    return math.log(ours) - math.log(theirs) if positive else None
