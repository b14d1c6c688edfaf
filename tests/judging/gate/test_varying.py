"""What the gate makes of metrics that vary: with the seed (its rule 3) and with the machine (its rule 4)."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, row, scaled, suite
from judging.made import HERE, ending, record, run

from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import STRICT, Rules
from clipbench.judging.paired import Paired
from clipbench.records import Measure, Record

# Rule 3: what varies with the seed


def shift(differences: Sequence[float], rounding: float = 0.0) -> Paired:
    return Paired("log", dict(enumerate(differences)), rounding)


def test_a_loss_that_is_five_percent_worse_on_five_seeds_is_a_regression() -> None:
    report = judged(arm(scaled(FIVE, 1.05, 1.055, 1.045, 1.05, 1.052)), arm(FIVE))
    found = row(report, "loss")
    assert found.verdict == "regressed"
    assert found.change == pytest.approx(math.log(1.05), abs=1e-3)
    assert 0 < found.low < found.change < found.high
    assert report.exit_code == 1


def test_a_loss_that_is_surely_better_by_more_than_the_tolerance_is_improved_and_fails_nothing() -> None:
    report = judged(arm(scaled(FIVE, 0.95, 0.955, 0.945, 0.95, 0.952)), arm(FIVE), rules=Rules((("regressed", None),)))
    found = row(report, "loss")
    assert (found.verdict, found.detail) == ("improved", "-5 % on 5 seeds, -4.6 % at most")
    assert found.low < found.change < found.high < 0
    assert report.exit_code == 0
    assert "1 improved" in report.sentence


@pytest.mark.parametrize(
    ("factors", "verdict"),
    [
        ((0.99, 0.9901, 0.9899, 0.99, 0.99), "ok"),  # surely better, by too little to matter
        ((0.9, 1.0, 0.93, 1.01, 0.95), "ok"),  # better by its mean alone
    ],
)
def test_a_loss_that_is_not_surely_better_by_more_than_the_tolerance_is_ok(
    factors: Sequence[float], verdict: str
) -> None:
    assert row(judged(arm(scaled(FIVE, *factors)), arm(FIVE)), "loss").verdict == verdict


def test_many_rows_make_the_gate_slower_to_praise() -> None:
    alone = scaled(FIVE, 0.95, 0.98, 0.94, 0.97, 0.99)
    quiet = [each for i in range(30) for each in arm(scaled(FIVE, 1.01, 0.99, 1.0, 0.995, 1.005), name=f"arm{i}")]
    theirs = [each for i in range(30) for each in arm(FIVE, name=f"arm{i}")]
    assert row(judged(arm(alone), arm(FIVE)), "loss").verdict == "improved"
    assert row(judged(arm(alone) + quiet, arm(FIVE) + theirs), "loss").verdict == "ok"


def test_a_sure_loss_within_the_tolerance_is_ok_and_beyond_a_smaller_one_a_regression() -> None:
    ours, theirs = arm(scaled(FIVE, 1.01, 1.0101, 1.0099, 1.01, 1.01)), arm(FIVE)
    assert row(judged(ours, theirs), "loss").verdict == "ok"
    tight = Rules(tolerances={**Rules().tolerances, "loss": 0.005})
    assert row(judged(ours, theirs, rules=tight), "loss").verdict == "regressed"


def test_a_loss_that_may_lie_beyond_the_tolerance_is_not_ok_though_its_mean_does_not() -> None:
    found = row(judged(arm(scaled(FIVE, 1.0, 1.03, 1.01, 1.02, 0.99)), arm(FIVE)), "loss")
    assert 0.02 < found.high < 0.03
    assert found.verdict == "undecided"


def test_a_noisy_loss_is_undecided_and_says_how_many_seeds_would_decide() -> None:
    report = judged(arm(scaled(FIVE, 1.2, 0.9, 1.1, 1.0, 1.05)), arm(FIVE), rules=Rules((("regressed", None),)))
    found = row(report, "loss")
    assert found.verdict == "undecided"
    assert found.seeds_needed is not None
    assert found.seeds_needed > 5
    assert f"{found.seeds_needed} seeds would decide in 80 % of cases" in found.detail
    assert row(report, "weights").verdict == "changed"
    assert report.exit_code == 3  # that the bits changed does not say that the loss did not


def test_one_seed_is_undecided_where_bits_are_no_help() -> None:
    report = judged(arm({0: 3.1}, environment=ELSEWHERE), arm({0: 3.0}))
    assert row(report, "loss").detail.startswith("+3.3 % on 1 seed, no confidence interval")
    assert report.exit_code == 3


def test_many_rows_make_the_gate_slower_to_cry() -> None:
    """Holm: what is a regression by itself is none as one of thirty rows."""
    alone = scaled(FIVE, 1.05, 1.02, 1.06, 1.03, 1.01)
    quiet = [each for i in range(30) for each in arm(scaled(FIVE, 1.01, 0.99, 1.0, 0.995, 1.005), name=f"arm{i}")]
    theirs = [each for i in range(30) for each in arm(FIVE, name=f"arm{i}")]
    assert row(judged(arm(alone), arm(FIVE)), "loss").verdict == "regressed"
    assert row(judged(arm(alone) + quiet, arm(FIVE) + theirs), "loss").verdict == "undecided"


def test_the_loss_has_most_of_the_five_percent_and_what_stands_beside_it_the_rest() -> None:
    """Two rows that chance explains: neither is rejected, and each is judged at its own share of 5 %.

    An upper bound is at 5 % by itself: what is let pass raises no alarm.
    """
    theirs = [record(run(seed=seed), [5.0, loss], sharpness=[1.0]) for seed, loss in FIVE.items()]
    noisy = scaled(FIVE, 1.01, 0.99, 1.0, 0.995, 1.005)
    sharp = (1.1, 0.9, 1.0, 1.2, 0.8)
    ours = [record(run(seed=seed), [5.0, loss], sharpness=[sharp[seed]]) for seed, loss in noisy.items()]
    report = judged(ours, theirs)
    loss = shift([math.log(noisy[seed] / FIVE[seed]) for seed in FIVE])
    assert row(report, "loss").low == pytest.approx(loss.bound(0.05 * 8 / 9, -1))
    assert row(report, "loss").high == pytest.approx(loss.bound(0.05, 1))
    sharpness = shift([math.log(value) for value in sharp])
    assert row(report, "sharpness").low == pytest.approx(sharpness.bound(0.05 / 9, -1))


def test_losses_that_are_not_positive_are_measured_by_what_training_gained() -> None:
    below = {0: -1.0, 1: -1.1, 2: -0.9, 3: -1.0}
    worse = {seed: loss + 0.6 + 0.01 * seed for seed, loss in below.items()}
    found = row(judged(arm(worse), arm(below)), "loss")
    assert found.verdict == "regressed"
    assert found.change == pytest.approx(0.615 / 6)  # from 5 to −1 on average
    assert "of the fall of the baseline's loss (6), as a loss is not positive" in found.detail


def test_losses_that_are_not_positive_and_gained_nothing_are_undecided() -> None:
    flat = [record(run(seed=seed), [0.0, 0.0]) for seed in range(3)]
    worse = [record(run(seed=seed), [0.0, 0.1]) for seed in range(3)]
    assert row(judged(worse, flat), "loss").verdict == "undecided"


def curve(seed: int, steps: int, *, every: int = 10, end: int = 400, **more: Any) -> Record:
    """A run of 400 steps that is under a loss of 1 from `steps` on."""
    losses = {step: (0.5 if step >= steps else 2.0) for step in range(0, end + 1, every)}
    measured = Measure(evaluate_every=every, probe_every=50)
    made = record(run(seed=seed, measure=measured), {0: 3.0, **losses} if steps else losses, **more)
    assert made.outcome
    return replace(made, outcome=replace(made.outcome, steps=end))


def curves(*steps: int) -> list[Record]:
    return [curve(seed, reached) for seed, reached in enumerate(steps)]


def test_twice_the_steps_to_the_target_are_a_regression() -> None:
    report = judged(curves(200, 220, 180, 210, 200), curves(100, 110, 90, 110, 100), target=1.0)
    assert row(report, "steps").verdict == "regressed"
    assert row(report, "loss").verdict == "ok"


def test_half_the_steps_are_an_improvement() -> None:
    assert row(judged(curves(50, 60, 50), curves(100, 110, 90), target=1.0), "steps").verdict == "improved"


def test_one_evaluation_later_on_every_seed_is_no_certainty() -> None:
    """Two readings to the nearest ten steps: their agreement is the clock's, not the runs'."""
    found = row(judged(curves(50, 50), curves(40, 40), target=1.0), "steps")
    assert found.verdict == "undecided"
    rounding = math.hypot(10 / 40, 10 / 50) / math.sqrt(12)
    assert found.high == pytest.approx(shift([math.log(50 / 40)] * 2, rounding).bound(0.05, 1))


def test_a_target_that_the_very_start_has_reached_counts_as_one_step() -> None:
    found = row(judged(curves(0, 0), curves(10, 10), target=1.0), "steps")
    assert found.change == pytest.approx(math.log(1 / 10))


HIT = (100, 110, 90, 100, 105)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "change", "said"),
    [
        # by hand: a miss counts as 400 steps and one evaluation of 10
        ((100, 110, 999), HIT[:3], "undecided", math.log(410 / 90) / 3, "≥ +66 % on 3 seeds |2 of 3 against 3 of 3|"),
        (HIT[:3], (100, 110, 999), "undecided", -math.log(410 / 90) / 3, "≤ -40 % on 3 seeds |3 of 3 against 2 of 3|"),
        ((999,) * 5, HIT, "regressed", None, "≥ ×4 on 5 seeds |0 of 5 against 5 of 5|, ×3.7 at least"),
        (HIT, (999,) * 5, "improved", None, "≤ -75 % on 5 seeds |5 of 5 against 0 of 5|, -73 % at most"),
        # a sixth of the steps on nine seeds does not outweigh the tenth
        ((50,) * 9 + (999,), (300,) * 10, "undecided", None, "≥ -79 % on 10 seeds |9 of 10 against 10 of 10|"),
        (
            (*HIT[:4], 999),
            (*HIT[:3], 999, HIT[4]),
            "undecided",
            math.log(100 / 110) / 5,
            "-1.9 % on 5 seeds |4 of 5 against 4 of 5|",
        ),
        (
            (*HIT[:3], 999, 999),
            (*HIT[:3], 999, 999),
            "ok",
            0.0,
            "identical (both missed the target on 2 seeds)",
        ),
    ],
)
def test_a_miss_can_show_slower_or_faster_and_never_passes(
    ours: Sequence[int], theirs: Sequence[int], verdict: str, change: float | None, said: str
) -> None:
    found = row(judged(curves(*ours), curves(*theirs), target=1.0), "steps")
    assert (found.verdict, found.detail) == (verdict, re.sub(r"\|(.*)\|", r"(the target reached on \1)", said))
    if change is not None:
        assert found.change == pytest.approx(change)


def test_a_target_that_neither_reached_is_a_caveat() -> None:
    report = judged(curves(999, 999), curves(999, 999), target=1.0)
    assert not [each for each in report.rows if each.metric == "steps"]
    assert "sgd on code_lm reaches the target on neither side: its steps have no row." in report.caveats


def test_steps_to_another_target_are_not_comparable() -> None:
    suite_of = suite(curves(100, 110), target=1.0)
    report = check(suite_of, suite(curves(100, 110), target=1.5), Rules())
    assert (row(report, "steps").verdict, row(report, "steps").detail) == (
        "not comparable",
        "the target was 1.5 and is 1",
    )
    held, once = (replace(suite_of, arms=(replace(suite_of.arms[0], consecutive=k),)) for k in (3, 1))
    assert row(check(held, once, Rules()), "steps").detail == "the target was 1 and is 1 in 3 evaluations in a row"
    missed = check(suite(curves(999, 999), target=1.0), suite(curves(999, 999), target=1.5), Rules())
    assert row(missed, "steps").verdict == "not comparable"
    assert not [caveat for caveat in missed.caveats if "reaches the target on neither side" in caveat]
    none = check(suite(curves(100, 110)), suite(curves(100, 110), target=1.5), Rules())
    assert row(none, "steps").detail == "the target was 1.5 and is none"
    assert {each.exit_code for each in (report, missed, none)} == {3}  # what the baseline measured is not known here
    first = check(suite(curves(100, 110), target=1.5), suite(curves(100, 110)), Rules())
    assert (row(first, "steps").verdict, first.exit_code) == ("new", 0)


def test_ten_times_the_sharpness_is_a_regression() -> None:
    ours = [record(run(seed=seed), [5.0, 3.0], sharpness=[10.0 + seed]) for seed in range(5)]
    theirs = [record(run(seed=seed), [5.0, 3.0], sharpness=[1.0 + seed / 10]) for seed in range(5)]
    found = row(judged(ours, theirs), "sharpness")
    assert found.verdict == "regressed"
    assert found.change == pytest.approx(math.log(10))
    assert found.detail.startswith("×10 on 5 seeds")


def test_sharpness_on_one_side_alone_has_its_own_row() -> None:
    measured, bare = arm(FIVE, sharpness=[1.0]), arm(FIVE)
    assert row(judged(bare, measured), "sharpness").verdict == "missing"
    assert row(judged(measured, bare), "sharpness").verdict == "new"


def sharp(*values: float | None) -> list[Record]:
    return [
        record(run(seed=seed), [5.0, 3.0], sharpness=() if value is None else [value])
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "said"),
    [
        ((-1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "missing", "identical; no value on seed 0, unlike in the baseline"),
        ((1.0, 1.1, None), (1.0, 1.0, 1.0), "missing", "+4.9 % on 2 seeds, +42 % at most; no value on seed 2, unlike"),
        ((None, 1.1, None), (1.0, 1.0, 1.0), "missing", "+10 % on 1 seed, no confidence interval: two are needed"),
        ((0.1, 0.1, None), (1.0, 1.0, 1.0), "missing", "-90 % on 2 seeds, -90 % at most; no value on seed 2, unlike"),
        ((9.0, 9.1, None), (1.0, 1.0, 1.0), "regressed", "×9 on 2 seeds, ×8.7 at least; no value on seed 2, unlike"),
        ((None, None, None), (1.0, 1.0, 1.0), "missing", "measured only in the baseline (seeds 0, 1 and 2)"),
        ((1.0, 1.0, 1.0), (1.0, 1.0, None), "ok", "identical"),
    ],
)  # fmt: skip
def test_a_quantity_measured_on_fewer_seeds_than_in_the_baseline_never_passes(
    ours: Sequence[float | None], theirs: Sequence[float | None], verdict: str, said: str
) -> None:
    report = judged(sharp(*ours), sharp(*theirs))
    assert row(report, "sharpness").verdict == verdict
    assert row(report, "sharpness").detail.startswith(said)
    assert report.exit_code == {"missing": 3, "regressed": 1, "ok": 0}[verdict]
    strict = Rules(tuple((name, None) for name in STRICT))
    assert judged(sharp(*ours), sharp(*theirs), rules=strict).exit_code == (verdict != "ok")


# Rule 4: what varies with the machine


def timed(started: Sequence[float], seconds: float = 0.01, **environment: Any) -> list[Record]:
    place = replace(HERE, **environment)
    at = dict(zip(FIVE, started, strict=True))

    def made(seed: int) -> list[Record]:
        outcome = {"started": at[seed], "peak_bytes": 10**9}
        return arm({seed: FIVE[seed]}, step_seconds=seconds * (1 + seed / 1e6), environment=place, outcome=outcome)

    return [each for seed in FIVE for each in made(seed)]


IN_TURNS = ([10.0, 31.0, 50.0, 71.0, 90.0], [20.0, 30.0, 60.0, 70.0, 95.0])
ONE_AFTER_THE_OTHER = ([10.0, 11.0, 12.0, 13.0, 14.0], [20.0, 21.0, 22.0, 23.0, 24.0])


BY_A_LOOP = ([20.0, 40.0, 60.0, 80.0, 100.0], [10.0, 30.0, 50.0, 70.0, 90.0])  # for each seed the old, then the new


@pytest.mark.parametrize("starts", [IN_TURNS, BY_A_LOOP])
def test_runs_made_in_turns_on_one_machine_are_judged_on_time(starts: Any) -> None:
    asked = Rules((("regressed", "time"),))
    slower = judged(timed(starts[0], 0.02), timed(starts[1], 0.01), rules=asked)
    assert (row(slower, "time").verdict, row(slower, "memory").verdict) == ("regressed", "ok")
    assert slower.exit_code == 1
    faster = judged(timed(starts[0], 0.01), timed(starts[1], 0.02), rules=asked)
    assert (row(faster, "time").verdict, faster.exit_code) == ("improved", 0)


def test_memory_that_is_not_on_record_is_missing_only_where_it_would_be_judged() -> None:
    ours = [ending(each, peak_bytes=None) for each in timed(BY_A_LOOP[0])]
    in_turns = judged(ours, timed(BY_A_LOOP[1]))
    assert row(in_turns, "memory").detail == "measured only in the baseline (seeds 0, 1, 2, 3 and 4)"
    assert (row(in_turns, "memory").verdict, in_turns.exit_code) == ("missing", 3)
    later = judged(ours, timed([10.0, 11.0, 12.0, 13.0, 14.0]))
    assert not [each for each in later.rows if each.metric == "memory"]


@pytest.mark.parametrize(
    ("starts", "ours", "why"),
    [
        (ONE_AFTER_THE_OTHER, {}, "the two sides did not run in turns"),
        (([0.0] * 5, [0.0] * 5), {}, "start times unknown"),
        (IN_TURNS, {"machine_id": "m2"}, "different machine"),
        (IN_TURNS, {"side_by_side": 2}, "timed beside other runs"),
    ],
)
def test_other_times_are_advice_and_fail_no_gate(starts: Any, ours: Mapping[str, Any], why: str) -> None:
    strict = Rules(tuple((verdict, None) for verdict in STRICT))
    report = judged(timed(starts[0], 0.02, **ours), timed(starts[1], 0.01), rules=strict)
    assert (row(report, "time").verdict, row(report, "time").detail) == ("advice", f"×2 ({why})")
    assert row(report, "memory").verdict == "advice"
    assert report.exit_code == 0


def test_times_on_no_record_have_no_row() -> None:
    report = judged(arm(FIVE, step_seconds=0.0), arm(FIVE, step_seconds=0.0))
    assert not [each for each in report.rows if each.metric in ("time", "memory")]
