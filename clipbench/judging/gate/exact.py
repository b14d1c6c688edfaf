"""The metrics of the gate that need no statistics: how runs ended, the optimizer's state and its operations.

How many passes a step makes is none of them: clipbench steps without a closure, so that no optimizer can ask for a
second one, and what it multiplies on its own account is among its operations.
"""

import math
from collections.abc import Callable, Sequence

from clipbench.judging.gate.arms import Matched, Pair, no_common_seed, same_id
from clipbench.judging.gate.report import GateRow
from clipbench.judging.gate.rules import Metric
from clipbench.judging.gate.suite import SeedResult
from clipbench.judging.words import count, listing, seeds_named


def outcome(arm: Matched) -> GateRow:
    """How the runs ended: a seed that the baseline finished must finish here, with a loss that is a number."""
    if not arm.pairs:
        return arm.row("outcome", "inconclusive", no_common_seed(arm))
    n = len(arm.pairs)
    broken: dict[str, list[int]] = {}
    for theirs, ours in arm.pairs:
        if theirs.sound and _broke(ours):
            broken.setdefault(_ending(ours), []).append(ours.seed)
    if broken:
        said = listing((f"{seeds_named(seeds)} {ending}" for ending, seeds in broken.items()), 4)
        return arm.row("outcome", "regressed", f"the baseline finished, here {said}", seeds=n)
    waiting = [ours.seed for _, ours in arm.pairs if ours.status == "unfinished"]
    crashed = [ours.seed for _, ours in arm.pairs if ours.status == "failed"]
    if waiting or crashed:
        open_ones = ((waiting, "not ended"), (crashed, "failed"))
        said = "; ".join(f"{seeds_named(seeds)} {what}" for seeds, what in open_ones if seeds)
        return arm.row("outcome", "inconclusive", said, seeds=n)
    left = [ours.seed for _, ours in arm.pairs if not ours.sound]
    said = f"{seeds_named(left)} diverged, as in the baseline" if left else f"{count(n, 'seed')} finished"
    return arm.row("outcome", "ok", said, seeds=n)


def state(arm: Matched) -> GateRow | None:
    """The bytes that the optimizer keeps: exact, so any increase is a regression. None where not on record."""
    return _no_more(arm, "state", arm.sound, lambda run: run.state_bytes, unit="bytes")


def flops(arm: Matched) -> GateRow | None:
    """The operations of a step, likewise, where both sides compute alike: kernels differ in how they count."""
    alike = [(theirs, ours) for theirs, ours in arm.sound if same_id(theirs.numerics_id, ours.numerics_id)]
    return _no_more(arm, "flops", alike, lambda run: run.step_flops, unit="FLOPs a step")


def _no_more(
    arm: Matched, metric: Metric, pairs: Sequence[Pair], of: Callable[[SeedResult], int | None], *, unit: str
) -> GateRow | None:
    both = [(of(theirs), of(ours)) for theirs, ours in pairs]
    read = [(before, after) for before, after in both if before is not None and after is not None]
    if not read:
        return None
    before, after = max(read, key=lambda pair: pair[1] - pair[0])
    change = math.log(max(after, 1) / max(before, 1))  # nothing at all counts as one
    said = f"{after:,} {unit}" if after == before else f"{before:,} {unit} became {after:,}"
    return arm.row(metric, "regressed" if after > before else "ok", said, change=change, seeds=len(read))


def _broke(run: SeedResult) -> bool:
    return not run.sound and run.status != "unfinished"


def _ending(run: SeedResult) -> str:
    how = f"ended with a loss of {run.final_loss}" if run.status == "finished" else run.status
    return how + (f" ({run.reason})" if run.reason else "")
