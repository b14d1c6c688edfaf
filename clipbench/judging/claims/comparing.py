"""The comparisons of a claim: directions at shared points, or arms along their own paths.

Nothing of a run that diverged, failed or has not ended is in a number; its seed is counted beside it. It is the rule of
the tables of `compare`, and `judging.shared_points` gives its reasons. Copies of one run count once (`judging.copies`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from clipbench.judging.cells import Cell, grouped
from clipbench.judging.claims.answers import ClaimComparison, Site, Tally, comparison, points
from clipbench.judging.claims.selecting import (
    OF_A_RUN,
    directions,
    fits,
    fits_against,
    named,
    of_run,
    values,
)
from clipbench.judging.copies import counted
from clipbench.judging.current import InForce
from clipbench.quantities import FINAL_LOSS, Reading
from clipbench.quantities import quantity as quantity_of
from clipbench.questions import Scale, Target
from clipbench.records import OWN, Arm, Record
from clipbench.spec.claims import Claim, ClaimScale, Compare


def comparisons(claim: Claim, results: Sequence[InForce]) -> list[ClaimComparison]:
    """Every comparison that the runs allow, with the first of the claim's quantities that gives any."""
    wanted = claim.compare
    if wanted is None:
        return []
    for quantity in (wanted.quantity,) if isinstance(wanted.quantity, str) else wanted.quantity:
        tallies: dict[Site, Tally] = {}
        for result in results:
            at = _shared if wanted.at == "shared" else _own
            tallies |= at(wanted, result, quantity=quantity)
        compared = [comparison(site, tally, quantity=quantity, claim=claim) for site, tally in tallies.items()]
        if compared:
            return compared
    return []


def _shared(wanted: Compare, results: InForce, *, quantity: str) -> dict[Site, Tally]:
    """Directions within one run at the same steps: the same weights, gradients and batches."""
    tallies: dict[Site, Tally] = {}
    left_out: dict[Site, set[int]] = {}
    for cell in results.cells:
        if not named(cell.task, wanted.tasks) or not fits(cell.described, wanted.on):
            continue
        for record in cell.own:
            for ours, theirs, between in _pairs(wanted, directions(record.run)):
                site = Site(results.question.spec, cell.task, cell.arm, between)
                if record.status != "finished":
                    left_out.setdefault(site, set()).add(record.run.seed)
                for step, pair in _by_step(wanted, (record, ours), (record, theirs), quantity).items():
                    place = replace(site, step=step) if wanted.each_step else site
                    tally = tallies.setdefault(place, Tally(points(wanted.how)))
                    if record.status == "finished":
                        tally.points.add(record.run.seed, *pair)
    for site, tally in tallies.items():
        tally.left_out = left_out.get(replace(site, step=None), ())
    return tallies


def _own(wanted: Compare, results: InForce, *, quantity: str) -> dict[Site, Tally]:
    """Arms of one task, each on its own path, paired by seed."""
    tallies: dict[Site, Tally] = {}
    chosen = (cell for cell in results.cells if named(cell.task, wanted.tasks))
    for task, of_task in grouped(chosen, lambda cell: cell.task).items():
        cells = {cell.arm: cell for cell in of_task}
        for ours, theirs, between in _pairs(wanted, {name: cell.described for name, cell in cells.items()}):
            records, partners = cells[ours].by_seed, cells[theirs].by_seed
            tally, left_out, measured = Tally(points(wanted.how)), records.keys() ^ partners.keys(), False
            copied = _copied(cells[ours], cells[theirs])
            for seed in (seed for seed in records if seed in partners):
                record, partner = records[seed], partners[seed]
                of_seed, roundings = _of_seed(wanted, (record, partner), quantity, cells[ours].target)
                measured |= bool(of_seed)
                if seed in copied:
                    continue
                if record.status == "finished" and partner.status == "finished":
                    for pair in of_seed:
                        tally.points.add(seed, *pair)
                    tally.roundings += roundings
                    continue
                left_out.add(seed)
                if of_seed and quantity in OF_A_RUN and record.outcome is not None and partner.status == "finished":
                    tally.lost += 1
            if measured:
                tally.left_out = left_out
                tallies[Site(results.question.spec, task, "", between)] = tally
    return tallies


def _copied(ours: Cell, theirs: Cell) -> set[int]:
    """The seeds on which both arms finished as copies of what they did on another seed."""
    both = ours.final_losses.keys() & theirs.final_losses.keys()
    return both.difference(counted(both, ours.ends, theirs.ends))


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
        for theirs, opponent in arms.items():
            if fits_against(arm, opponent, wanted=wanted.against):
                yield ours, theirs, f"{arm.name} against {opponent.name}"


def _of_seed(
    wanted: Compare, pair: tuple[Record, Record], quantity: str, target: Target | None
) -> tuple[list[tuple[float, float]], tuple[float, ...]]:
    """One seed's pairs of values, and how far their differences are off as they were read in steps.

    They are of the runs as a whole, or of each step of what was measured along their own paths.
    """
    if quantity not in OF_A_RUN:
        return list(_by_step(wanted, (pair[0], OWN), (pair[1], OWN), quantity).values()), ()
    if quantity != FINAL_LOSS and target is None:
        return [], ()
    ours, theirs = (of_run(record, quantity, target) for record in pair)
    if ours is None or theirs is None or (ours.at_least and theirs.at_least):  # two misses say nothing
        return [(math.nan, math.nan)], ()
    against = 0.0 if wanted.how == "value" else theirs.value
    return [(ours.value, against)], (_rounding((ours, theirs), quantity_of(quantity).scale, wanted.how),)


def _by_step(
    wanted: Compare, ours: tuple[Record, str], theirs: tuple[Record, str], quantity: str
) -> dict[int, tuple[float, float]]:
    """Both values at each step at which either was measured; NaN where a probe left it out. A value alone is beside 0.

    `ours` and `theirs` are each a run and a direction in it; `quantity` is that of ours.
    """
    first = values(*ours, quantity)
    second = (
        dict.fromkeys(first, 0.0) if wanted.how == "value" else values(*theirs, wanted.against_quantity or quantity)
    )
    if not (first and second):
        return {}
    steps = sorted(first.keys() | second.keys())
    return {step: (first.get(step, math.nan), second.get(step, math.nan)) for step in steps}


def _rounding(pair: tuple[Reading, Reading], scale: Scale, how: ClaimScale) -> float:
    """How far one difference is off, as a standard deviation, since both sides were read in steps."""
    off = [each.rounding_on("log" if how == "ratio" else "linear", given=scale) for each in pair]
    return off[0] if how == "value" else math.hypot(*off)
