"""Compares two suites of runs, seed by seed: a verdict for each task, arm and metric.

Exact metrics are compared as they are; what varies is judged by `varying`.
"""

from collections.abc import Iterator, Sequence

from clipbench.judging.gate import exact
from clipbench.judging.gate.arms import (
    Matched,
    began_alike,
    caveats,
    lacking,
    not_comparable,
    of_seeds,
    renamed,
)
from clipbench.judging.gate.report import GRAVITY, GateReport, GateRow
from clipbench.judging.gate.rules import COUNTED, Rules
from clipbench.judging.gate.suite import MEND, ArmResult, Suite
from clipbench.judging.gate.varying import judged
from clipbench.judging.words import count, listing

UNREAD = f"An unreadable run leaves its arm undecided: {MEND}."
LACKING = "A missing seed leaves its arm undecided: run it, or select the seeds to compare with --seeds."
CHANGED = (
    "Final weights changed although the spec did not: if you meant that, save a new baseline (clipbench check RESULTS "
    "--save-baseline FILE); --fail-on regressed lets it pass."
)


def check(candidate: Suite, baseline: Suite, rules: Rules) -> GateReport:
    """The candidate against the baseline, joined by spec, task and arm."""
    candidate, baseline = of_seeds(candidate, rules.seeds), of_seeds(baseline, rules.seeds)
    ours = {arm.place: arm for arm in candidate.arms}
    theirs = {arm.place: arm for arm in baseline.arms}
    rows = [*_unread(candidate, baseline)]
    unread = [row.place for row in rows]
    order = {place: number for number, place in enumerate(dict.fromkeys((*theirs, *ours, *unread)))}
    matched: list[Matched] = []
    for place in order:
        if place in ours and place in theirs:
            asked = rules.seeds or (run.seed for run in theirs[place].seeds)
            arm = Matched(theirs[place], ours[place], frozenset(asked))
            if why := not_comparable(arm):
                rows.append(arm.row("arm", "not comparable", why))
            else:
                matched.append(arm)
        elif place not in unread:
            rows.append(_one_sided(ours.get(place) or theirs[place], here=place in ours))
    lacks = [row for arm in matched if arm.candidate.place not in unread and (row := lacking(arm))]
    rows += [*lacks, *_exact(matched), *judged(matched, rules)]
    rows.sort(key=lambda row: (GRAVITY.index(row.verdict), order[row.place]))
    notes = [*(f"In the baseline: {caveat}" for caveat in baseline.caveats), *candidate.caveats]
    notes += [*renamed(candidate, baseline), *(caveat for arm in matched for caveat in caveats(arm))]
    notes += _not_known(matched)
    notes += [UNREAD] if unread else []
    notes += [LACKING] if lacks else []
    notes += [CHANGED] if any(row.verdict == "changed" for row in rows) else []
    return GateReport(tuple(rows), tuple(dict.fromkeys(notes)), rules)


def _unread(candidate: Suite, baseline: Suite) -> Iterator[GateRow]:
    """A row for each arm with runs that cannot be read: whatever the others say, of those nobody knows."""
    for place in dict.fromkeys(run.place for side in (baseline, candidate) for run in side.unread):
        reasons = {
            where: [run.reason for run in side.unread if run.place == place]
            for where, side in (("in the candidate", candidate), ("in the baseline", baseline))
        }
        parts = [f"{count(len(runs), 'run')} {where}: {listing(runs, 2)}" for where, runs in reasons.items() if runs]
        yield GateRow(*place, "arm", "undecided", f"cannot be read: {'; '.join(parts)}")


def _one_sided(arm: ArmResult, *, here: bool) -> GateRow:
    detail = f"{count(len(arm.seeds), 'run')}, only in the {'candidate' if here else 'baseline'}"
    return GateRow(*arm.place, "arm", "new" if here else "missing", detail)


def _exact(matched: Sequence[Matched]) -> Iterator[GateRow]:
    repeating = {arm.candidate.place[:2] for arm in matched if exact.repeats(arm)}  # by spec and task
    for arm in matched:
        if arm.pairs:
            bits = exact.weights(arm, repeating=arm.candidate.place[:2] in repeating)
            rows = (exact.outcome(arm), bits, *(exact.counted(arm, each) for each in COUNTED))
            yield from (row for row in rows if row)


def _not_known(matched: Sequence[Matched]) -> Iterator[str]:
    """Which arms nothing shows to have begun alike, which bars no verdict."""
    if names := [f"{arm.candidate.arm} on {arm.candidate.task}" for arm in matched if not began_alike(arm)]:
        yield (
            f"{listing(names, 3)} may have begun with other weights or batches than the baseline: a side has no "
            "fingerprints, or the numerical set-ups differ."
        )
