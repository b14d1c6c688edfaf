"""The gate's rows with statistics: paired differences, judged together.

Each row has the mean of paired differences (copies count once) and one-sided t bounds. A row is regressed if its mean
is above the tolerance and is above 0 with 95 % confidence for the whole suite (weighted Holm); improved likewise on
the other side; ok if it is below the tolerance with 95 % confidence; undecided otherwise. Times and memory are judged
only for runs that alternated between the two sides on the same machine.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clipbench.judging.families import Test, Verdict, judge
from clipbench.judging.gate.arms import Matched, Pair, same_bits
from clipbench.judging.gate.report import GateRow
from clipbench.judging.gate.rules import VARYING, Rules, Varying
from clipbench.judging.paired import MOST_SEEDS, Paired, Sample, paired
from clipbench.judging.words import count, number, seeds_named
from clipbench.quantities import Reading, quantity
from clipbench.questions import Scale


@dataclass(frozen=True)
class Draft:
    """A metric of an arm, before it is judged with the other metrics.

    - `row`: its numbers, before there is a verdict; `weight`: its share of the 5 %.
    - `difference`: how much worse the candidate is; `identical`: equal final weights show that it is not worse.
    - `share_of`: what the difference is a share of; empty for log ratios.
    - `lost`: seeds on which only the baseline has the metric.
    - `advice`: why there can be no verdict; empty if there can.
    """

    row: GateRow
    weight: float
    difference: Paired
    identical: bool
    share_of: str = ""
    lost: tuple[int, ...] = ()
    advice: str = ""

    @property
    def tested(self) -> bool:
        """Whether there is a p-value: there are pairs, no identical bits, and nothing speaks against a verdict."""
        return self.difference.n > 1 and not self.identical and not self.advice

    def test(self, difference: Paired) -> Test:
        """Whether a difference is above the tolerance."""
        return Test(difference, "higher", self.row.tolerance, self.weight)


def judged(matched: Sequence[Matched], rules: Rules) -> Iterator[GateRow]:
    """Every row that varies, with its verdict; those that are tested share one 5 % between them, by their weights."""
    varying = [replace(each, tolerance=rules.tolerances[each.metric]) for each in VARYING]
    drafts: list[Draft] = []
    for arm in matched:
        for rule in varying:
            drafted = _loss(arm, rule) if rule.metric == "loss" else _drafted(arm, rule)
            if isinstance(drafted, Draft):
                drafts.append(drafted)
            elif drafted is not None:
                yield drafted
    tested = [draft for draft in drafts if draft.tested]
    worse = judge([draft.test(draft.difference) for draft in tested])
    better = judge([draft.test(draft.difference.turned()) for draft in tested])
    yield from (_with_lost(_untested(draft), draft.lost) for draft in drafts if not draft.tested)
    yield from (_with_lost(_row(*each), each[0].lost) for each in zip(tested, worse, better, strict=True))


def _loss(arm: Matched, rule: Varying) -> Draft | GateRow | None:
    if not arm.pairs:
        return None
    if all(theirs.status == "diverged" and (ours.sound or ours.status == "diverged") for theirs, ours in arm.pairs):
        return arm.row("loss", "ok", "the baseline diverged on every seed: nothing can be worse")
    if not arm.sound:
        return arm.row("loss", "undecided", "no seed finished on both sides")
    if all(run.final_loss > 0 for pair in arm.sound for run in pair):
        return _drafted(arm, rule)
    gains = [theirs.first_loss - theirs.final_loss for theirs, _ in arm.sound]
    gain = sum(gains) / len(gains)
    if not 0 < gain < math.inf:
        return arm.row("loss", "undecided", "a loss is not positive, and the baseline's loss did not fall")
    return _drafted(arm, rule, gain=gain)


def _drafted(arm: Matched, rule: Varying, *, gain: float = 0.0) -> Draft | GateRow | None:
    """The metric on both sides; a row where only one side has it, None where neither has."""
    if rule.metric == "steps" and not arm.same_target and arm.baseline.target is not None:
        return arm.row("steps", "not comparable", f"the target was {arm.baseline.goal} and is {arm.candidate.goal}")
    machine = quantity(rule.quantity).noise == "machine"
    theirs, ours = (_sample(arm.sound, side, rule, gain) for side in (0, 1))
    advice = _why_advice([pair for pair in arm.sound if pair[0].seed in theirs]) if machine else ""
    lost = () if advice else tuple(sorted(theirs.keys() - ours.keys()))
    difference = paired(ours, theirs, _scale(gain), ends=None if machine else arm.ends)
    if not difference.n:
        return _one_sided(arm, rule, lost, new=bool(ours) and not theirs and not machine)
    compared = [pair for pair in arm.sound if pair[0].seed in difference.differences]
    identical = not difference.at_least and not any(difference.differences.values()) and all(map(same_bits, compared))
    share_of = f" of the fall of the baseline's loss ({number(gain)}), as a loss is not positive" if gain else ""
    numbers = {
        "seeds": difference.n,
        "change": difference.mean,
        "tolerance": rule.tolerance,
        "misses": bool(difference.behind),
    }
    row = arm.row(rule.metric, "undecided", "", **numbers)
    return Draft(row, rule.weight, difference, identical, share_of, lost, advice)


def _one_sided(arm: Matched, rule: Varying, lost: Sequence[int], *, new: bool) -> GateRow | None:
    if lost:
        return arm.row(rule.metric, "missing", f"measured only in the baseline ({seeds_named(lost)})")
    return arm.row(rule.metric, "new", "not measured in the baseline") if new else None


def _sample(pairs: Sequence[Pair], side: int, rule: Varying, gain: float) -> Sample:
    """One side's readings by seed, as their ratios are to be compared, or as shares of the gain; those that can be."""
    recorded = {pair[side].seed: pair[side].readings.get(rule.metric) for pair in pairs}
    readings = {
        seed: _shared(reading, gain) if gain else _for_ratios(reading, rule)
        for seed, reading in recorded.items()
        if reading is not None
    }
    return {seed: reading for seed, reading in readings.items() if math.isfinite(reading.on(_scale(gain)))}


def _scale(gain: float) -> Scale:
    return "linear" if gain else "log"


def _shared(reading: Reading, gain: float) -> Reading:
    return replace(reading, value=reading.value / gain, rounding=reading.rounding / gain)


def _for_ratios(reading: Reading, rule: Varying) -> Reading:
    rounding = reading.rounding_on("log", given=quantity(rule.quantity).scale)
    return replace(reading, value=max(reading.value, rule.least), rounding=rounding)


def _why_advice(pairs: Sequence[Pair]) -> str:
    """Why times and memory of these runs are no ground for a verdict; empty where they are."""
    runs = [run for pair in pairs for run in pair]
    if len({run.machine_id for run in runs}) != 1 or not runs[0].machine_id:
        return "different machine"
    if any(run.side_by_side > 1 for run in runs):
        return "timed beside other runs"
    if any(run.started == 0 for run in runs):
        return "start times unknown"
    # Taken in turns, each run stands beside its partner: whatever the machine did meanwhile, it did to both.
    order = [run.seed for run in sorted(runs, key=lambda run: run.started)]
    return "" if order[::2] == order[1::2] else "the two sides did not run in turns"


def _untested(draft: Draft) -> GateRow:
    change = _change(draft)
    if draft.advice:
        return replace(draft.row, verdict="advice", detail=f"{change} ({draft.advice})")
    if draft.identical:
        return replace(draft.row, verdict="ok", detail=f"identical{_pairs(draft)}", low=0.0, high=0.0)
    detail = f"{change} on 1 seed{_pairs(draft)}, no confidence interval: two are needed, five are better"
    return replace(draft.row, detail=detail)


def _row(draft: Draft, worse: Verdict, better: Verdict) -> GateRow:
    difference = draft.difference
    row = replace(draft.row, low=worse.low, high=worse.high)
    detail = f"{_change(draft)}{draft.share_of} on {count(difference.n, 'seed')}{_pairs(draft)}"
    if worse.word == "higher":
        return replace(row, verdict="regressed", detail=f"{detail}, {_percent(row.low, draft)} at least")
    if better.word == "higher" and not difference.behind:  # a missed target outweighs a better mean
        row = replace(row, verdict="improved", low=-better.high, high=-better.low)
    elif difference.at_least:  # what is only known to be at least so much has no bound above
        return replace(row, detail=detail)
    elif worse.word == "not higher":
        row = replace(row, verdict="ok")
    detail = f"{detail}, {_percent(row.high, draft)} at most"
    if row.verdict != "undecided" or draft.lost:
        return replace(row, detail=detail)
    needed = int(worse.seeds_needed) if math.isfinite(worse.seeds_needed) else None
    many = count(needed, "seed") if needed else f"more than {MOST_SEEDS} seeds"
    return replace(row, detail=f"{detail}: {many} would decide in 80 % of cases", seeds_needed=needed)


def _with_lost(row: GateRow, lost: Sequence[int]) -> GateRow:
    """The row of a metric that the candidate lacks on some seeds: missing, where it is not regressed on the others."""
    if not lost:
        return row
    detail = f"{row.detail}; no value on {seeds_named(lost)}, unlike in the baseline"
    return replace(row, verdict=row.verdict if row.verdict == "regressed" else "missing", detail=detail)


def _change(draft: Draft) -> str:
    """The mean; where a target was missed on one side alone, as the bound that it is."""
    difference = draft.difference
    behind, ahead = difference.behind, difference.ahead
    bound = "≥ " if behind and not ahead else "≤ " if ahead and not behind else ""
    return f"{bound}{_percent(difference.mean, draft)}"


def _pairs(draft: Draft) -> str:
    """How many of the pairs reached the target on each side, where not all did."""
    difference = draft.difference
    n, parts = difference.n, []
    if difference.at_least:
        parts.append(f"the target reached on {n - difference.behind} of {n} against {n - difference.ahead} of {n}")
    if difference.neither:
        parts.append(f"both missed the target on {count(difference.neither, 'seed')}")
    return f" ({'; '.join(parts)})" if parts else ""


def _percent(change: float, draft: Draft) -> str:
    """A share, or the logarithm of a ratio as the percentage it is: +5 %, and from twice as much on ×2."""
    if draft.share_of:
        return f"{change * 100:+.2g} %"
    share = math.expm1(min(change, 700.0))  # beyond, floats end
    return f"{share * 100:+.2g} %" if share < 0.995 else f"×{share + 1:.2g}"
