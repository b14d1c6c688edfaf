"""What was renamed between a baseline and a candidate: arms that only their names keep apart."""

from collections.abc import Iterator, Sequence

from clipbench.judging.gate.suite import ArmResult, Suite
from clipbench.judging.words import listing

_KINDS = ("spec", "task", "arm")  # as they stand in a place
_IF_MEANT = "rename it back, or keep a new baseline (clipbench check RESULTS --save-baseline FILE)"


def renamed(candidate: Suite, baseline: Suite) -> Iterator[str]:
    """A sentence where no arm is on both sides, and one for each name that has probably become another.

    An arm that is on one side alone was probably renamed where the other side has one alone that is described alike,
    its problem included; of several such the one that shares most names is meant.
    """
    here, there = ({arm.place for arm in side.arms} for side in (candidate, baseline))
    ours = [arm for arm in candidate.arms if arm.place not in there]
    theirs = [arm for arm in baseline.arms if arm.place not in here]
    if ours and theirs and not here & there:
        yield f"No arm is on both sides: {_all_of(theirs)} in the baseline, {_all_of(ours)} here."
    found: dict[tuple[str, str, str], None] = {}
    for old in theirs:
        alike = [new for new in ours if (new.problem, new.described) == (old.problem, old.described)]
        if alike:
            new = max(alike, key=lambda arm: _shared(arm, old))
            names = zip(_KINDS, old.place, new.place, strict=True)
            found |= {(kind, before, after): None for kind, before, after in names if before != after}
    for kind, before, after in found:
        yield f"The baseline has the {kind} '{before}', here is '{after}', described alike: if renamed, {_IF_MEANT}."


def _shared(one: ArmResult, other: ArmResult) -> int:
    return sum(a == b for a, b in zip(one.place, other.place, strict=True))


def _all_of(arms: Sequence[ArmResult]) -> str:
    return listing((f"{arm.spec}/{arm.task}/{arm.arm}" for arm in arms), limit=3)
