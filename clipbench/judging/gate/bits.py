"""The final weights, bit for bit: where they must agree, and where other bits mean nothing."""

from collections.abc import Sequence

from clipbench.judging.gate.arms import Matched, Pair, same_id
from clipbench.judging.gate.report import GateRow
from clipbench.judging.words import count


def repeats(arm: Matched) -> bool:
    """Whether the arm was run a second time on one machine and gave the same bits on every seed.

    That shows what no record says: that on this device the task's kernels repeat themselves.
    """
    pairs = _computed_alike(arm)
    return bool(pairs) and all(
        _same_bits(pair) and _one_machine(pair) and pair[0].started != pair[1].started for pair in pairs
    )


def weights(arm: Matched, *, repeating: bool) -> GateRow | None:
    """The final weights, where both sides compute alike and the spec says the same of the arm.

    None where bits need not agree: another numerical set-up, another description, or no weights on record. Other bits
    are a change only where nothing but a change explains them; elsewhere they are advice.

    Args:
        arm: both sides of it.
        repeating: another arm of the task `repeats`.
    """
    pairs = _computed_alike(arm)
    if not pairs:
        return None
    differ = [pair for pair in pairs if not _same_bits(pair)]
    seeds = count(len(pairs), "seed")
    if not differ:
        return arm.row("weights", "ok", f"the same bits on {seeds}", seeds=len(pairs))
    said = f"other bits on {len(differ)} of {seeds}"
    some_agree = any(_same_bits(pair) and _one_machine(pair) for pair in pairs)
    if excuse := _excuse(differ, repeating=repeating and not some_agree):
        return arm.row("weights", "advice", f"{said}: {excuse}", seeds=len(pairs))
    why = (
        "its code changed" if arm.baseline.code != arm.candidate.code else "its code did not, something beneath it did"
    )
    if some_agree:
        why += "; but that the other seeds agree points to a computation that does not repeat itself"
    return arm.row("weights", "changed", f"{said}, though the spec says the same of it: {why}", seeds=len(pairs))


def _computed_alike(arm: Matched) -> list[Pair]:
    """The pairs whose bits can be compared: all that ended alike, or none."""
    pairs = [(theirs, ours) for theirs, ours in arm.pairs if theirs.status == ours.status and theirs.weights]
    alike = all(same_id(theirs.numerics_id, ours.numerics_id) and ours.weights for theirs, ours in pairs)
    return pairs if alike and arm.baseline.described == arm.candidate.described else []


def _excuse(differ: Sequence[Pair], *, repeating: bool) -> str:
    """What else than a change explains other bits; empty where nothing does.

    Libraries choose kernels by the model of the CPU, of which the numerical set-up says no more than its instruction
    set. On a GPU torch is asked for deterministic kernels, and takes others where it has none.
    """
    if not any(map(_one_machine, differ)):
        return "it was made on another machine, whose kernels may round otherwise"
    if any(ours.device not in ("", "cpu") for _, ours in differ) and not repeating:
        return "some kernels of a GPU never repeat themselves, and nothing shows that these do"
    return ""


def _same_bits(pair: Pair) -> bool:
    return pair[0].weights == pair[1].weights


def _one_machine(pair: Pair) -> bool:
    return same_id(pair[0].machine_id, pair[1].machine_id)
