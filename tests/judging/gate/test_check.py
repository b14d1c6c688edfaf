"""Each rule of the gate, branch by branch, on records made by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, row, scaled, suite
from judging.made import question, record, run

from clipbench.budget import Budget
from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import STRICT, Rules
from clipbench.judging.gate.suite import Suite, Unread, gathered
from clipbench.records import Choice, Measure


def test_the_very_same_runs_pass_with_every_row_ok() -> None:
    report = judged(arm(FIVE, sharpness=[1.0]), arm(FIVE, sharpness=[1.0]), target=3.3)
    assert {each.metric: each.verdict for each in report.rows if each.metric != "time"} == dict.fromkeys(
        ("outcome", "weights", "loss", "steps", "sharpness"), "ok"
    )
    assert report.exit_code == 0
    assert report.sentence.endswith("the gate passes")


# Rule 0: the join


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "d" * 64}, "data was nothing and is dddddddddddd"),
        ({"budget": Budget(300, "steps")}, "budget was 200 steps and is 300 steps"),
        ({"measure": Measure(evaluate_every=5, probe_every=50)}, "evaluation was every 50 steps and is every 5 steps"),
        (
            {"task": Choice("code_lm", "code_lm", "clipbench.tasks.code_lm:build", {"width": 32})},
            "width was nothing and is 32",
        ),
        (
            {"task": Choice("code_lm", "code_lm", "clipbench.tasks.code_lm:build", source="new")},
            "the task's code was nothing and is new",
        ),
    ],
)  # fmt: skip
def test_another_problem_is_not_comparable_whatever_its_losses(changes: Mapping[str, Any], said: str) -> None:
    changed = [replace(each, run=replace(each.run, **changes)) for each in arm(FIVE)]
    report = judged(changed, arm(FIVE))
    (only,) = report.rows
    assert (only.metric, only.verdict, only.detail) == ("arm", "not comparable", said)
    assert report.exit_code == 3
    assert "not decided (sgd on code_lm)" in report.sentence


def test_arms_on_one_side_alone_are_missing_and_new_and_say_nothing() -> None:
    report = judged(arm(FIVE, name="lion"), arm(FIVE, name="sgd"))
    assert [(each.arm, each.verdict) for each in report.rows] == [("sgd", "missing"), ("lion", "new")]
    assert report.exit_code == 3
    assert "not decided (sgd on code_lm)" in report.sentence


def test_an_arm_that_is_not_here_is_undecided_and_fails_where_it_is_asked_to() -> None:
    """Who leaves an arm out could hide by it that it got worse."""
    both = arm(FIVE) + arm(FIVE, name="lion")
    partial = judged(arm(FIVE), both)
    assert (partial.exit_code, partial.undecided) == (3, (("quickstart", "code_lm", "lion"),))
    assert "not decided (lion on code_lm)" in partial.sentence
    strict = Rules(tuple((verdict, None) for verdict in STRICT))
    assert judged(arm(FIVE), both, rules=strict).exit_code == 1
    assert judged(both, arm(FIVE), rules=strict).exit_code == 0  # a new arm is no fault


def test_an_arm_that_could_not_be_decided_never_passes_beside_one_that_could() -> None:
    other = arm({0: 3.0}, name="lion", environment=ELSEWHERE)
    report = judged(arm(FIVE) + other, arm(FIVE) + arm({0: 3.01}, name="lion"))
    assert row(report, "loss").verdict == "ok"
    assert row(report, "loss", "lion").verdict == "undecided"
    assert report.exit_code == 3
    assert "not decided (lion on code_lm)" in report.sentence


# Rule 0b: the seeds

TWO = {0: 3.0, 1: 3.2}
LACKS = "A missing seed leaves its arm undecided: run it, or select the seeds to compare with --seeds."


NONE_THERE = "no seed in common (the baseline has none requested, the candidate 0)"
NONE_ASKED = "no seed in common (the baseline has none requested, the candidate none requested)"


@pytest.mark.parametrize(
    ("ours", "theirs", "asked", "said"),
    [
        (TWO, {**TWO, 5: 1.0, 6: 1.0}, None, "seeds 5 and 6 are only in the baseline"),
        (TWO, {**TWO, 5: 1.0, 6: 1.0}, (0, 1, 5), "seed 5 is only in the baseline"),
        (TWO, {**TWO, 5: 1.0, 6: 1.0}, (0, 1), ""),
        (TWO, TWO, (0, 1, 2), "seed 2 is requested but on neither side"),
        (TWO, {**TWO, 5: 1.0}, (0, 2, 5), "seed 5 is only in the baseline; seed 2 is requested but on neither side"),
        ({**TWO, 7: 9.0}, TWO, None, ""),
        ({**TWO, 7: 9.0}, TWO, (0, 1, 7), "seed 7 is requested but not in the baseline"),
        (
            {0: 3.0, 1: 3.2},
            {5: 3.0, 6: 3.2},
            None,
            "no seed in common (the baseline has 5 and 6, the candidate 0 and 1)",
        ),
        ({0: 3.0, 1: 3.2}, {5: 3.0, 6: 3.2}, (0,), NONE_THERE),
        (TWO, TWO, (3, 4), NONE_ASKED),
    ],
)
def test_a_seed_that_is_asked_for_and_not_here_is_an_undecided_row(
    ours: Mapping[int, float], theirs: Mapping[int, float], asked: tuple[int, ...] | None, said: str
) -> None:
    report = judged(arm(ours), arm(theirs), rules=Rules(seeds=asked))
    assert [(each.verdict, each.detail) for each in report.rows if each.metric == "seeds"] == (
        [("undecided", said)] if said else []
    )
    assert (report.exit_code, LACKS in report.caveats) == ((3, True) if said else (0, False))
    strict = Rules(tuple((verdict, None) for verdict in STRICT), seeds=asked)
    assert judged(arm(ours), arm(theirs), rules=strict).exit_code == (1 if said else 0)


def test_a_worse_seed_cannot_be_left_out() -> None:
    """Without it the rest is as good as it was; the same bits on every seed that is left do not excuse it."""
    theirs = arm(FIVE)
    for left_out in FIVE:
        report = judged([each for each in theirs if each.run.seed != left_out], theirs)
        assert (row(report, "weights").verdict, row(report, "loss").verdict) == ("ok", "ok")
        assert report.exit_code == 3
        assert report.sentence.endswith("not decided (sgd on code_lm)")


def test_seeds_of_the_candidate_alone_are_named_and_in_no_row() -> None:
    report = judged(arm({0: 3.0, 1: 3.2, 7: 9.0}), arm({0: 3.0, 1: 3.2}))
    assert row(report, "loss").seeds == 2
    assert "sgd on code_lm: seed 7 is only in the candidate, so in no row." in report.caveats


# Rule 1: how runs ended


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_seed_that_the_baseline_finished_must_not_break(status: Any) -> None:
    broken = [*arm({0: 3.0, 1: 3.2}), record(run(seed=2), [5.0], status=status, reason="loss nan at step 3")]
    report = judged(broken, arm({0: 3.0, 1: 3.2, 2: 3.1}))
    assert row(report, "outcome").verdict == "regressed"
    assert row(report, "outcome").detail == f"the baseline finished, but seed 2 {status} (loss nan at step 3)"
    assert row(report, "loss").seeds == 2
    assert report.exit_code == 1


def test_seeds_that_broke_alike_share_a_sentence() -> None:
    crashed = [record(run(seed=seed), [5.0], status="failed", reason="no memory") for seed in (0, 1, 3)]
    wild = record(run(seed=2), [5.0], status="diverged", reason="loss nan at step 3")
    report = judged([*crashed, wild], arm({0: 3.0, 1: 3.2, 2: 3.1, 3: 3.0}))
    said = "the baseline finished, but seeds 0, 1 and 3 failed (no memory) and seed 2 diverged (loss nan at step 3)"
    assert row(report, "outcome").detail == said


@pytest.mark.parametrize("status", ["diverged", "failed", "unfinished"])
def test_a_seed_without_a_result_in_the_baseline_is_named_and_in_no_loss(status: Any) -> None:
    broken = [*arm({0: 3.0, 1: 3.2}), record(run(seed=2), [5.0], status=status)]
    report = judged(arm({0: 3.0, 1: 3.2, 2: 3.1}), broken)
    assert row(report, "loss").seeds == 2
    said = "sgd on code_lm: seed 2 had no result in the baseline, and counts only in the outcome row."
    assert said in report.caveats
    assert not any("had no result" in caveat for caveat in judged(broken, broken).caveats)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_counts_as_broken_though_the_run_finished(loss: float) -> None:
    report = judged(arm({0: 3.0, 1: loss}), arm({0: 3.0, 1: 3.2}))
    assert row(report, "outcome").verdict == "regressed"
    assert f"seed 1 ended with a loss of {loss}" in row(report, "outcome").detail


def test_divergence_that_the_baseline_has_too_is_no_regression() -> None:
    wild = [record(run("wild", seed=seed), [5.0, 90.0], status="diverged") for seed in range(2)]
    report = judged(wild, wild)
    assert row(report, "outcome", "wild").detail == "seeds 0 and 1 diverged, as in the baseline"
    assert row(report, "loss", "wild").verdict == "ok"
    assert report.exit_code == 0


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_that_finishes_where_the_baseline_broke_is_an_improvement(status: Any) -> None:
    wild = [record(run(seed=0), [5.0, 90.0], status=status), *arm({1: 3.2, 2: 3.1})]
    report = judged(arm({0: 3.0, 1: 3.2, 2: 3.1}), wild)
    assert row(report, "outcome").verdict == "improved"
    assert row(report, "outcome").detail == "3 seeds finished; the baseline had no result on seed 0"
    assert row(report, "loss").seeds == 2


def test_an_arm_that_always_diverged_and_finishes_now_passes() -> None:
    wild = [record(run(seed=seed), [5.0, 90.0], status="diverged") for seed in range(2)]
    report = judged(arm({0: 3.0, 1: 3.1}), wild)
    assert row(report, "loss").detail == "the baseline diverged on every seed: nothing can be worse"
    assert report.exit_code == 0


@pytest.mark.parametrize("status", ["unfinished", "failed"])
def test_runs_without_a_result_leave_the_outcome_open(status: Any) -> None:
    """A crash that the baseline has as well is no regression, and no result either."""
    theirs = [*arm({0: 3.0, 1: 3.2}), record(run(seed=2), [5.0], status="failed")]
    ours = [*arm({0: 3.0, 1: 3.2}), record(run(seed=2), [5.0], status=status)]
    report = judged(ours, theirs)
    assert row(report, "outcome").verdict == "undecided"
    assert "seed 2" in row(report, "outcome").detail
    assert report.exit_code == 3  # whatever the other two say


def test_nothing_finished_is_not_decided() -> None:
    report = judged([record(run(seed=0), [5.0], status="unfinished")], arm({0: 3.0}))
    assert row(report, "loss").detail == "no seed finished on both sides"
    assert report.exit_code == 3


# Rule 2: exact metrics


def test_one_seed_with_the_same_bits_is_decided() -> None:
    report = judged(arm({0: 3.0}), arm({0: 3.0}))
    assert (row(report, "weights").verdict, row(report, "loss").verdict) == ("ok", "ok")
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("before", "after", "verdict", "said"),
    [
        (800, 1600, "regressed", "800 bytes became 1,600"),
        (800, 800, "ok", "800 bytes"),
        (800, 400, "improved", "800 bytes became 400"),
        (0, 400, "regressed", "0 bytes became 400"),
    ],
)
def test_an_optimizer_must_not_keep_more_than_it_did(before: int, after: int, verdict: str, said: str) -> None:
    report = judged(arm(FIVE, outcome={"state_bytes": after}), arm(FIVE, outcome={"state_bytes": before}))
    assert (row(report, "state").verdict, row(report, "state").detail) == (verdict, said)
    assert report.exit_code == (verdict == "regressed")


def test_a_seed_on_which_less_is_kept_does_not_make_up_for_one_on_which_more_is() -> None:
    theirs = arm({0: 3.0, 1: 3.2}, outcome={"state_bytes": 800})
    ours = arm({0: 3.0}, outcome={"state_bytes": 100}) + arm({1: 3.2}, outcome={"state_bytes": 900})
    found = row(judged(ours, theirs), "state")
    assert (found.verdict, found.detail) == ("regressed", "800 bytes became 900")


def test_state_that_the_baseline_did_not_record_is_in_no_row() -> None:
    report = judged(arm(FIVE, outcome={"state_bytes": 9}), arm(FIVE))
    assert not [each for each in report.rows if each.metric == "state"]


@pytest.mark.parametrize(("name", "metric"), [("state_bytes", "state"), ("step_flops", "flops")])
def test_what_the_candidate_did_not_record_is_missing_and_leaves_the_arm_undecided(name: str, metric: str) -> None:
    theirs = arm(FIVE, outcome={name: 9})
    some = [*theirs[:3], *arm({3: FIVE[3], 4: FIVE[4]})]
    for ours, seeds in ((arm(FIVE), "seeds 0, 1, 2, 3 and 4"), (some, "seeds 3 and 4")):
        report = judged(ours, theirs)
        assert row(report, metric).verdict == "missing"
        assert row(report, metric).detail == f"not recorded on {seeds}, unlike in the baseline"
        assert report.exit_code == 3


def test_a_step_must_not_take_more_operations_than_it_did() -> None:
    before, after = arm(FIVE, outcome={"step_flops": 800}), arm(FIVE, outcome={"step_flops": 1600})
    worse = row(judged(after, before), "flops")
    assert (worse.verdict, worse.detail) == ("regressed", "800 FLOPs a step became 1,600")
    assert row(judged(before, after), "flops").verdict == "improved"
    assert row(judged(before, before), "flops").detail == "800 FLOPs a step"


def test_operations_are_not_compared_where_another_machine_may_count_otherwise() -> None:
    before, after = arm(FIVE, outcome={"step_flops": 800}), arm(FIVE, outcome={"step_flops": 1600})
    elsewhere = [replace(each, environment=ELSEWHERE) for each in after]
    assert not [each for each in judged(elsewhere, before).rows if each.metric == "flops"]
    assert not [each for each in judged(after, arm(FIVE)).rows if each.metric == "flops"]


# Rule 5 and the report as a whole


def test_the_gravest_rows_come_first() -> None:
    ours = arm(FIVE, name="lion") + arm(scaled(FIVE, 1.1, 1.11, 1.09, 1.1, 1.1))
    report = judged(ours, arm(FIVE) + arm(FIVE, name="adam"))
    verdicts = [each.verdict for each in report.rows]
    assert verdicts[:2] == ["regressed", "changed"]
    assert verdicts.index("missing") < verdicts.index("new") < verdicts.index("advice") < verdicts.index("ok")


def test_rows_of_one_gravity_stand_in_the_order_of_the_baseline() -> None:
    both = arm(FIVE) + arm(FIVE, name="lion")
    here, there = (gathered([(question(*names), both)]) for names in (("lion", "sgd"), ("sgd", "lion")))
    report = check(here, there, Rules())
    ok = [each.arm for each in report.rows if each.verdict == "ok"]
    assert list(dict.fromkeys(ok)) == ["sgd", "lion"]


def test_an_arm_of_which_a_seed_broke_is_decided_though_its_loss_is_not() -> None:
    broken = [*arm({0: 3.1}, environment=ELSEWHERE), record(run(seed=1), [5.0], status="diverged")]
    report = judged(broken, arm({0: 3.0, 1: 3.2}))
    assert (row(report, "outcome").verdict, row(report, "loss").verdict) == ("regressed", "undecided")
    assert report.undecided == ()


def test_a_run_that_has_not_ended_says_nothing_of_its_numerical_set_up() -> None:
    waiting = record(run(seed=2), [5.0], status="unfinished", environment=ELSEWHERE)
    theirs = arm({0: 3.0, 1: 3.2, 2: 3.1})
    assert not [said for said in judged([*theirs[:2], waiting], theirs).caveats if "final weights are not" in said]
    moved = arm({0: 3.0, 1: 3.2, 2: 3.1}, environment=ELSEWHERE)
    assert [said for said in judged(moved, theirs).caveats if "final weights are not" in said]


def test_a_verdict_may_fail_for_one_metric_alone() -> None:
    ours, theirs = arm(FIVE, outcome={"state_bytes": 9}), arm(FIVE, outcome={"state_bytes": 8})
    assert judged(ours, theirs, rules=Rules((("regressed", "loss"),))).exit_code == 0
    assert judged(ours, theirs, rules=Rules((("regressed", "state"),))).exit_code == 1


def test_caveats_of_both_sides_are_kept_apart() -> None:
    report = check(replace(suite(arm(FIVE)), caveats=("a",)), replace(suite(arm(FIVE)), caveats=("b",)), Rules())
    assert report.caveats[:2] == ("In the baseline: b", "a")


def test_an_empty_suite_decides_nothing() -> None:
    report = check(Suite(()), Suite(()), Rules())
    assert report.exit_code == 3
    assert report.sentence.startswith("no rows")


# Runs that cannot be read

SGD = ("quickstart", "code_lm", "sgd")


@pytest.mark.parametrize(("here", "there"), [(1, 0), (0, 1), (2, 1)])
def test_a_run_that_cannot_be_read_leaves_its_arm_undecided_whatever_the_others_say(here: int, there: int) -> None:
    ours, theirs = suite(arm(FIVE) + arm(FIVE, name="lion")), suite(arm(FIVE) + arm(FIVE, name="lion"))
    broken = [Unread(SGD, f"r{i}/run.json: this is not a run") for i in range(2)]
    report = check(replace(ours, unread=tuple(broken[:here])), replace(theirs, unread=tuple(broken[:there])), Rules())
    assert row(report, "loss").verdict == "ok"
    assert row(report, "arm").verdict == "undecided"
    said = row(report, "arm").detail
    assert said.startswith("cannot be read: ")
    assert ("in the candidate: r0/run.json: this is not a run" in said) == (here > 0)
    assert ("1 run in the baseline: r0/run.json" in said) == (there > 0)
    assert report.exit_code == 3
    assert report.sentence.endswith("not decided (sgd on code_lm)")
    assert (
        "An unreadable run leaves its arm undecided: restore the run's folder, or delete it and run the spec again."
        in report.caveats
    )


def test_what_cannot_be_read_does_not_outweigh_a_regression() -> None:
    ours, theirs = suite(arm(FIVE, outcome={"state_bytes": 9})), suite(arm(FIVE, outcome={"state_bytes": 8}))
    assert check(replace(ours, unread=(Unread(SGD, "gone"),)), theirs, Rules()).exit_code == 1


def test_an_arm_none_of_whose_runs_can_be_read_is_not_called_missing() -> None:
    ours = replace(suite(arm(FIVE, name="lion")), unread=(Unread(SGD, "gone"),))
    report = check(ours, suite(arm(FIVE) + arm(FIVE, name="lion")), Rules())
    assert row(report, "arm").verdict == "undecided"
    assert report.exit_code == 3
