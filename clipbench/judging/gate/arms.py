"""One arm on both sides of the gate, its common seeds side by side, and what to know of how the sides were made."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clipbench.judging.copies import alike, counted, said
from clipbench.judging.gate.report import GateRow
from clipbench.judging.gate.rules import Metric, Verdict
from clipbench.judging.gate.suite import ArmResult, SeedResult, differences
from clipbench.judging.words import capital, listing, seeds_named

Pair = tuple[SeedResult, SeedResult]  # baseline, candidate; of one seed


@dataclass(frozen=True)
class Matched:
    """One arm on both sides, its common seeds side by side."""

    baseline: ArmResult
    candidate: ArmResult

    @property
    def pairs(self) -> tuple[Pair, ...]:
        ours = {result.seed: result for result in self.candidate.seeds}
        return tuple((theirs, ours[theirs.seed]) for theirs in self.baseline.seeds if theirs.seed in ours)

    @property
    def sound(self) -> tuple[Pair, ...]:
        """The pairs in which both finished, each with a loss that is a number."""
        return tuple(pair for pair in self.pairs if pair[0].sound and pair[1].sound)

    @property
    def counted(self) -> tuple[Pair, ...]:
        """The sound pairs, of copies the first."""
        sides = [{pair[side].seed: pair[side].weights for pair in self.sound} for side in (0, 1)]
        own = counted(sides[0], *sides)
        return tuple(pair for pair in self.sound if pair[0].seed in own)

    @property
    def reached(self) -> tuple[Pair, ...]:
        """Those of them in which at least one side reached its target."""
        return tuple(pair for pair in self.counted if any(run.hit for run in pair))

    def row(self, metric: Metric, verdict: Verdict, detail: str, **numbers: Any) -> GateRow:
        return GateRow(*self.candidate.place, metric, verdict, detail, **numbers)


def caveats(arm: Matched) -> Iterator[str]:
    """What a reader of the rows should know of how the two sides were made."""
    name = f"{arm.candidate.arm} on {arm.candidate.task}"
    changed = differences(arm.baseline.described, arm.candidate.described)
    if changed:
        yield f"{name} is not described as in the baseline ({changed}): its bits are not compared."
    ours = {run.seed for run in arm.candidate.seeds}
    theirs = {run.seed for run in arm.baseline.seeds}
    for seeds, where in ((theirs - ours, "in the baseline alone"), (ours - theirs, "here alone")):
        if seeds:
            yield f"{name}: {seeds_named(sorted(seeds))} {'is' if len(seeds) == 1 else 'are'} {where}, and in no row."
    yield from _copies(arm, name)
    if lost := [theirs.seed for theirs, ours in arm.pairs if ours.sound and not theirs.sound]:
        yield (
            f"{name}: {seeds_named(lost)} had no result in the baseline, so that only the outcome "
            f"looks at {'it' if len(lost) == 1 else 'them'}."
        )
    if any(
        theirs.sound and ours.sound and not same_id(theirs.numerics_id, ours.numerics_id) for theirs, ours in arm.pairs
    ):
        yield f"{name} was made under another numerical set-up than the baseline: its bits are not compared."
    alike = arm.baseline.goal == arm.candidate.goal
    if alike and arm.candidate.target is not None and arm.sound and not arm.reached:
        yield f"{name} reaches the target on neither side: its steps are in no row."


def _copies(arm: Matched, name: str) -> Iterator[str]:
    for side, where in ((arm.baseline, " in the baseline"), (arm.candidate, "")):
        groups = alike({run.seed: [run.weights] for run in side.seeds if run.sound})
        yield from (f"{capital(said(seeds, name + where))}." for seeds in groups if len(seeds) > 1)


def same_id(theirs: str, ours: str) -> bool:
    """Whether two identities are known and equal."""
    return theirs == ours != ""


def no_common_seed(arm: Matched) -> str:
    theirs, ours = ([run.seed for run in side.seeds] for side in (arm.baseline, arm.candidate))
    return f"no seed in common (the baseline has {listing(theirs)}, here are {listing(ours)})"
