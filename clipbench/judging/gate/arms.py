"""An arm on both sides of the gate: its common seeds, and caveats about how both sides were made."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from clipbench.judging.copies import Ends, alike, copies_sentence
from clipbench.judging.gate.report import GateRow
from clipbench.judging.gate.rules import GateVerdict, Metric
from clipbench.judging.gate.suite import ArmResult, RunResult, Suite, differences
from clipbench.judging.words import capital, listing, seeds_named

Pair = tuple[RunResult, RunResult]  # baseline, candidate; of one seed
_IF_RENAMED = "rename it back, or save a new baseline (clipbench check RESULTS --save-baseline FILE)"


@dataclass(frozen=True)
class Matched:
    """An arm on both sides of the gate; `asked` are the seeds that must exist."""

    baseline: ArmResult
    candidate: ArmResult
    asked: frozenset[int]

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The baseline's and the candidate's run of each seed that both have."""
        ours = {result.seed: result for result in self.candidate.seeds}
        return tuple((theirs, ours[theirs.seed]) for theirs in self.baseline.seeds if theirs.seed in ours)

    @cached_property
    def sound(self) -> tuple[Pair, ...]:
        """The pairs in which both finished, each with a loss that is a number."""
        return tuple(pair for pair in self.pairs if pair[0].sound and pair[1].sound)

    @property
    def ends(self) -> tuple[Ends, Ends]:
        """The final weights of the sound pairs by seed, for those that are copies of each other."""
        theirs, ours = ({pair[side].seed: pair[side].weights for pair in self.sound} for side in (0, 1))
        return ours, theirs

    @property
    def same_target(self) -> bool:
        """Whether steps are counted to the same target on both sides."""
        return self.baseline.goal == self.candidate.goal

    def row(self, metric: Metric, verdict: GateVerdict, detail: str, **numbers: Any) -> GateRow:
        """The gate's row on one metric of this arm."""
        return GateRow(*self.candidate.place, metric, verdict, detail, **numbers)


def of_seeds(suite: Suite, seeds: Collection[int] | None) -> Suite:
    """The suite restricted to some seeds; None for all seeds."""
    if seeds is None:
        return suite
    arms = (replace(arm, seeds=tuple(run for run in arm.seeds if run.seed in seeds)) for arm in suite.arms)
    return replace(suite, arms=tuple(arms))


def not_comparable(arm: Matched) -> str:
    """Why the two sides are not comparable (a different problem, weights or batches); empty if they are.

    Fingerprints can be compared only under one numerics_id.
    """
    if changed := differences(arm.baseline.problem, arm.candidate.problem):
        return changed
    unlike: dict[str, list[int]] = {}
    for theirs, ours in arm.pairs:
        for name in theirs.fingerprints.keys() & ours.fingerprints.keys():
            if same_id(theirs.numerics_id, ours.numerics_id) and theirs.fingerprints[name] != ours.fingerprints[name]:
                unlike.setdefault(name, []).append(ours.seed)
    return "; ".join(f"different {name} from the baseline's on {seeds_named(seeds)}" for name, seeds in unlike.items())


def began_alike(arm: Matched) -> bool:
    """Whether fingerprints show of every sound pair that it began with the same weights and batches."""
    return all(
        same_id(theirs.numerics_id, ours.numerics_id) and theirs.fingerprints.keys() & ours.fingerprints.keys()
        for theirs, ours in arm.sound
    )


def lacking(arm: Matched) -> GateRow | None:
    """The row of the seeds that must exist but are missing; None if none are."""
    theirs, ours = ({run.seed for run in side.seeds} for side in (arm.baseline, arm.candidate))
    if not arm.pairs:
        has, here = (listing(sorted(seeds)) or "none requested" for seeds in (theirs, ours))
        return arm.row("seeds", "undecided", f"no seed in common (the baseline has {has}, the candidate {here})")
    parts = (
        (theirs & arm.asked - ours, "only in the baseline"),
        (arm.asked - theirs - ours, "requested but on neither side"),
        (arm.asked & ours - theirs, "requested but not in the baseline"),
    )
    details = [f"{seeds_named(sorted(seeds))} {_verb(seeds)} {where}" for seeds, where in parts if seeds]
    return arm.row("seeds", "undecided", "; ".join(details), seeds=len(arm.pairs)) if details else None


def caveats(arm: Matched) -> Iterator[str]:
    """Caveats about how the two sides were made."""
    name = f"{arm.candidate.arm} on {arm.candidate.task}"
    if changed := differences(arm.baseline.described, arm.candidate.described):
        yield f"{name} is described differently in the baseline ({changed}): final weights are not compared."
    if alone := {run.seed for run in arm.candidate.seeds} - {run.seed for run in arm.baseline.seeds}:
        yield f"{name}: {seeds_named(sorted(alone))} {_verb(alone)} only in the candidate, so in no row."
    yield from _copies(arm, name)
    if lost := [theirs.seed for theirs, ours in arm.pairs if ours.sound and not theirs.sound]:
        yield (
            f"{name}: {seeds_named(lost)} had no result in the baseline, and "
            f"{'counts' if len(lost) == 1 else 'count'} only in the outcome row."
        )
    if any(not same_id(theirs.numerics_id, ours.numerics_id) for theirs, ours in arm.sound):
        yield f"{name} and the baseline have different numerical set-ups: final weights are not compared."
    steps = [run.readings.get("steps") for pair in arm.sound for run in pair]
    if arm.same_target and arm.candidate.target is not None and steps and all(read and read.at_least for read in steps):
        yield f"{name} reaches the target on neither side: its steps have no row."


def _copies(arm: Matched, name: str) -> Iterator[str]:
    for side, where in ((arm.baseline, " in the baseline"), (arm.candidate, "")):
        groups = alike({run.seed: [run.weights] for run in side.seeds if run.sound})
        yield from (f"{capital(copies_sentence(seeds, name + where))}." for seeds in groups if len(seeds) > 1)


def same_id(theirs: str, ours: str) -> bool:
    """Whether two identities are known and equal."""
    return theirs == ours != ""


def same_bits(pair: Pair) -> bool:
    """Whether both runs are known to have ended with the very same weights."""
    return pair[0].weights == pair[1].weights != ""


def renamed(candidate: Suite, baseline: Suite) -> Iterator[str]:
    """Sentences about arms on a single side: that no arm is on both sides, and which arms were probably renamed.

    An arm was probably renamed if the other side has an arm with the same description and problem under a name that
    this side lacks; of several candidates the arm that shares most names is taken.
    """
    here, there = ({arm.place for arm in side.arms} for side in (candidate, baseline))
    ours = [arm for arm in candidate.arms if arm.place not in there]
    theirs = [arm for arm in baseline.arms if arm.place not in here]
    if ours and theirs and not here & there:
        yield f"No arm is on both sides: {_all_of(theirs)} in the baseline, {_all_of(ours)} in the candidate."
    changes: dict[tuple[str, str, str], None] = {}
    for old in theirs:
        alike = [new.place for new in ours if (new.problem, new.described) == (old.problem, old.described)]
        if alike:
            new = max(alike, key=lambda place: sum(a == b for a, b in zip(place, old.place, strict=True)))
            names = zip(("spec", "task", "arm"), old.place, new, strict=True)
            changes |= {(kind, before, after): None for kind, before, after in names if before != after}
    for kind, before, after in changes:
        yield f"The {kind} '{before}' of the baseline is described like '{after}' here: if renamed, {_IF_RENAMED}."


def _all_of(arms: Sequence[ArmResult]) -> str:
    return listing(("/".join(arm.place) for arm in arms), limit=3)


def _verb(seeds: Collection[int]) -> str:
    return "is" if len(seeds) == 1 else "are"
