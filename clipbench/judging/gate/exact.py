"""The gate's rows without statistics: outcomes, final weights and exact counts."""

import math
from collections.abc import Sequence

from clipbench.judging.gate.arms import Matched, Pair, same_bits, same_id
from clipbench.judging.gate.report import GateRow
from clipbench.judging.gate.rules import Counted, GateVerdict
from clipbench.judging.gate.suite import RunResult
from clipbench.judging.words import count, listing, seeds_named


def outcome(arm: Matched) -> GateRow:
    """How the runs ended: a seed that the baseline finished must finish here, with a loss that is a number."""
    n = len(arm.pairs)
    broken: dict[str, list[int]] = {}
    for theirs, ours in arm.pairs:
        if theirs.sound and not ours.sound and ours.status != "unfinished":
            broken.setdefault(_ending(ours), []).append(ours.seed)
    if broken:
        detail = listing((f"{seeds_named(seeds)} {ending}" for ending, seeds in broken.items()), 4)
        return arm.row("outcome", "regressed", f"the baseline finished, but {detail}", seeds=n)
    waiting = [ours.seed for _, ours in arm.pairs if ours.status == "unfinished"]
    crashed = [ours.seed for _, ours in arm.pairs if ours.status == "failed"]
    if waiting or crashed:
        open_ones = ((waiting, "not ended"), (crashed, "failed"))
        detail = "; ".join(f"{seeds_named(seeds)} {what}" for seeds, what in open_ones if seeds)
        return arm.row("outcome", "undecided", detail, seeds=n)
    mended = [ours.seed for theirs, ours in arm.pairs if ours.sound and theirs.status in ("diverged", "failed")]
    left = [ours.seed for _, ours in arm.pairs if not ours.sound]
    detail = f"{seeds_named(left)} diverged, as in the baseline" if left else f"{count(n, 'seed')} finished"
    if mended:
        return arm.row("outcome", "improved", f"{detail}; the baseline had no result on {seeds_named(mended)}", seeds=n)
    return arm.row("outcome", "ok", detail, seeds=n)


def counted(arm: Matched, count_rule: Counted) -> GateRow | None:
    """What is counted exactly: any increase is a regression. None where the baseline has none on record."""
    pairs = arm.sound
    if count_rule.alike:
        pairs = tuple(pair for pair in pairs if same_id(pair[0].numerics_id, pair[1].numerics_id))
    both = [
        (before, ours.exact.get(count_rule.quantity), ours.seed)
        for theirs, ours in pairs
        if isinstance(before := theirs.exact.get(count_rule.quantity), int)
    ]
    read = [(before, after) for before, after, _ in both if isinstance(after, int)]
    if lost := [seed for _, after, seed in both if not isinstance(after, int)]:
        return arm.row(count_rule.metric, "missing", f"not recorded on {seeds_named(lost)}, unlike in the baseline")
    if not read:
        return None
    before, after = max(read, key=lambda pair: pair[1] - pair[0])
    change = math.log(max(after, 1) / max(before, 1))  # nothing at all counts as one
    detail = f"{after:,} {count_rule.unit}" if after == before else f"{before:,} {count_rule.unit} became {after:,}"
    verdict: GateVerdict = "regressed" if after > before else "improved" if after < before else "ok"
    return arm.row(count_rule.metric, verdict, detail, change=change, seeds=len(read))


def repeats(arm: Matched) -> bool:
    """Whether the arm ran twice on the same machine with equal bits on every seed.

    This shows that the task's kernels are deterministic on this device, which no record tells.
    """
    pairs = _computed_alike(arm)
    return bool(pairs) and all(
        same_bits(pair) and _one_machine(pair) and pair[0].started != pair[1].started for pair in pairs
    )


def weights(arm: Matched, *, repeating: bool) -> GateRow | None:
    """The row of the final weights; None if they need not agree.

    They must agree if both sides have the same numerical set-up and description and recorded their weights. Different
    bits are a change only if nothing else explains them; otherwise they are advice. `repeating`: some arm of the task
    `repeats`.
    """
    pairs = _computed_alike(arm)
    if not pairs:
        return None
    if lost := [ours.seed for _, ours in pairs if not ours.weights]:
        return arm.row("weights", "missing", f"not recorded on {seeds_named(lost)}, unlike in the baseline")
    differ = [pair for pair in pairs if not same_bits(pair)]
    seeds = count(len(pairs), "seed")
    if not differ:
        return arm.row("weights", "ok", f"equal bits on {seeds}", seeds=len(pairs))
    detail = f"different bits on {len(differ)} of {seeds}"
    some_agree = any(same_bits(pair) and _one_machine(pair) for pair in pairs)
    if excuse := _excuse(differ, repeating=repeating and not some_agree):
        return arm.row("weights", "advice", f"{detail}: {excuse}", seeds=len(pairs))
    why = (
        "its code changed" if arm.baseline.code != arm.candidate.code else "its code did not, but something it uses did"
    )
    if some_agree:
        why += "; as the other seeds agree, a computation may be nondeterministic"
    return arm.row("weights", "changed", f"{detail}, although the spec is unchanged: {why}", seeds=len(pairs))


def _ending(run: RunResult) -> str:
    how = f"ended with a loss of {run.final_loss}" if run.status == "finished" else run.status
    return how + (f" ({run.reason})" if run.reason else "")


def _computed_alike(arm: Matched) -> list[Pair]:
    """The pairs whose bits can be compared: all that ended alike, or none."""
    pairs = [(theirs, ours) for theirs, ours in arm.pairs if theirs.status == ours.status and theirs.weights]
    alike = all(same_id(theirs.numerics_id, ours.numerics_id) for theirs, ours in pairs)
    return pairs if alike and arm.baseline.described == arm.candidate.described else []


def _excuse(differ: Sequence[Pair], *, repeating: bool) -> str:
    """An explanation of different bits other than a change; empty if there is none.

    Libraries choose kernels by the model of the CPU, but the numerical set-up records only its instruction set. On a
    GPU torch is asked for deterministic kernels, and falls back to nondeterministic kernels where it has no others.
    """
    if not any(map(_one_machine, differ)):
        return "made on a different machine, whose kernels may round differently"
    if any(ours.device not in ("", "cpu") for _, ours in differ) and not repeating:
        return "some GPU kernels are nondeterministic, and nothing shows that these are not"
    return ""


def _one_machine(pair: Pair) -> bool:
    return same_id(pair[0].machine_id, pair[1].machine_id)
