"""Did anything get worse? Two suites of runs, seed by seed → a verdict for each task, arm and metric.

Exact metrics are compared as they are. What varies with the seed is a mean of paired differences d with a one-sided t
interval, pairs that are copies counting once: regressed where the mean is above the tolerance and above 0 with 95 %
confidence for the suite as a whole (Holm, weighted); ok where it is below the tolerance with 95 %; inconclusive
otherwise. Times and memory are judged likewise, but only for runs made in turns on one machine.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from clipbench.judging.families import holm
from clipbench.judging.gate.arms import Matched, caveats
from clipbench.judging.gate.bits import repeats, weights
from clipbench.judging.gate.exact import flops, outcome, state
from clipbench.judging.gate.names import renamed
from clipbench.judging.gate.readings import Readings, readings
from clipbench.judging.gate.report import GRAVITY, GateReport, GateRow
from clipbench.judging.gate.rules import WEIGHTS, Rules
from clipbench.judging.gate.shift import Shift, seeds_to_decide, shift
from clipbench.judging.gate.suite import MEND, ArmResult, Suite, differences
from clipbench.judging.paired import MOST_SEEDS
from clipbench.judging.words import count, listing

UNREAD = f"What cannot be read leaves its arm undecided: {MEND}."
CHANGED = (
    "Bits have changed under an unchanged description: if that was meant, keep a new baseline (clipbench check RESULTS "
    "--save-baseline FILE); --fail-on regressed lets it pass."
)


def check(candidate: Suite, baseline: Suite, rules: Rules) -> GateReport:
    """The candidate against the baseline, joined by spec, task and arm."""
    ours = {arm.place: arm for arm in candidate.arms}
    theirs = {arm.place: arm for arm in baseline.arms}
    said = [*(f"In the baseline: {caveat}" for caveat in baseline.caveats), *candidate.caveats]
    said += renamed(candidate, baseline)
    rows = [*_unread(candidate, baseline)]
    unread = [row.place for row in rows]
    order = {place: number for number, place in enumerate(dict.fromkeys((*theirs, *ours, *unread)))}
    matched: list[Matched] = []
    for place in order:
        if place in ours and place in theirs:
            arm = Matched(theirs[place], ours[place])
            if changed := differences(arm.baseline.problem, arm.candidate.problem):
                rows.append(arm.row("arm", "not comparable", changed))
            else:
                matched.append(arm)
                said += caveats(arm)
        elif place not in unread:
            rows.append(_one_sided(ours.get(place) or theirs[place], here=place in ours))
    rows += _exact(matched)
    rows += _judged(matched, rules)
    rows.sort(key=lambda row: (GRAVITY.index(row.verdict), order[row.place]))
    said += [UNREAD] if unread else []
    said += [CHANGED] if any(row.verdict == "changed" for row in rows) else []
    return GateReport(tuple(rows), tuple(dict.fromkeys(said)), rules)


def _unread(candidate: Suite, baseline: Suite) -> Iterator[GateRow]:
    """A row for each arm with runs that cannot be read: whatever the others say, of those nobody knows."""
    for place in dict.fromkeys(run.place for side in (baseline, candidate) for run in side.unread):
        found = {
            where: [run.found for run in side.unread if run.place == place]
            for where, side in (("here", candidate), ("in the baseline", baseline))
        }
        said = [f"{count(len(runs), 'run')} {where}: {listing(runs, 2)}" for where, runs in found.items() if runs]
        yield GateRow(*place, "arm", "inconclusive", f"cannot be read: {'; '.join(said)}")


def _one_sided(arm: ArmResult, *, here: bool) -> GateRow:
    detail = f"{count(len(arm.seeds), 'run')} {'here' if here else 'in the baseline'} alone"
    return GateRow(*arm.place, "arm", "new" if here else "missing", detail)


def _exact(matched: Sequence[Matched]) -> Iterator[GateRow]:
    repeating = {arm.candidate.place[:2] for arm in matched if repeats(arm)}  # by spec and task
    for arm in matched:
        bits = weights(arm, repeating=arm.candidate.place[:2] in repeating)
        yield from (row for row in (outcome(arm), bits, state(arm), flops(arm)) if row)


def _judged(matched: Sequence[Matched], rules: Rules) -> Iterator[GateRow]:
    """Every reading with its verdict; those that are put to a test share one 5 % between them, by their WEIGHTS."""
    drafts: list[Readings] = []
    for arm in matched:
        for found in readings(arm):
            if isinstance(found, Readings):
                drafts.append(found)
            else:
                yield found
    tested = {
        place: shift(of.differences, resolution=of.resolution)
        for place, of in enumerate(drafts)
        if len(of.differences) > 1 and not (of.identical or of.advice)
    }
    weights_of = [WEIGHTS[drafts[place].metric] for place in tested]
    judged = holm([found.p for found in tested.values()], weights_of)
    levels = {place: of.level for place, of in zip(tested, judged, strict=True)}
    for place, of in enumerate(drafts):
        row = GateRow(
            *(of.spec, of.task, of.arm, of.metric, "inconclusive", ""),
            seeds=len(of.differences),
            change=sum(of.differences) / len(of.differences),
            tolerance=rules.tolerances[of.metric],
        )
        change = _percent(row.change, of)
        if of.advice:
            yield replace(row, verdict="advice", detail=f"{change} ({of.advice})")
        elif of.identical:
            yield replace(row, verdict="ok", detail="identical", low=0.0, high=0.0)
        elif place not in tested:
            yield replace(row, detail=f"{change} on 1 seed, no interval: two are needed, five serve well")
        else:
            yield _tested(row, of, tested[place], level=levels[place])


def _tested(row: GateRow, of: Readings, found: Shift, *, level: float) -> GateRow:
    tolerance = row.tolerance or 0.0
    row = replace(row, low=found.low(level), high=found.high())
    said = f"{_percent(found.mean, of)}{of.scale} on {count(found.n, 'seed')}"
    if found.p <= level and found.mean > tolerance:
        return replace(row, verdict="regressed", detail=f"{said}, {_percent(row.low, of)} at least")
    said = f"{said}, {_percent(row.high, of)} at most"
    if row.high < tolerance and not of.reservation:
        return replace(row, verdict="ok", detail=said)
    if of.reservation:
        return replace(row, detail=f"{said}: {of.reservation}")
    needed = seeds_to_decide(found, tolerance, level=level)
    many = count(needed, "seed") if needed else f"more than {MOST_SEEDS} seeds"
    return replace(row, detail=f"{said}: {many} might decide", seeds_needed=needed)


def _percent(change: float, of: Readings) -> str:
    """A share, or the logarithm of a ratio as the percentage it is: +5 %, and from twice as much on ×2."""
    if of.scale:
        return f"{change * 100:+.2g} %"
    share = math.expm1(min(change, 700.0))  # beyond, floats end
    return f"{share * 100:+.2g} %" if share < 0.995 else f"×{share + 1:.2g}"
