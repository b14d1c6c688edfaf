"""The gate's rule for final weights: when other bits are a change, and when they are nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, row, scaled
from judging.made import HERE, run

from clipbench.judging.gate.rules import Rules
from clipbench.records import Record

SHIFTED = scaled(FIVE, 1.001, 1.0011, 1.0009, 1.001, 1.001)
OTHER_MACHINE = replace(HERE, machine_id="m2")
GPU = replace(HERE, device="cuda:0", numerics_id="g1")
LATER = {"started": 2e9}


def recoded(records: Sequence[Record]) -> list[Record]:
    described = run().arm
    other = replace(described, optimizer=replace(described.optimizer, source="another"))
    return [replace(each, run=replace(each.run, arm=other)) for each in records]


def test_other_bits_under_one_description_on_one_machine_fail_though_the_loss_is_as_good() -> None:
    report = judged(arm(SHIFTED), arm(FIVE))
    assert row(report, "weights").verdict == "changed"
    said = "different bits on 5 of 5 seeds, although the spec is unchanged: its code did not, but something it uses did"
    assert row(report, "weights").detail == said
    assert row(report, "loss").verdict == "ok"
    assert report.exit_code == 1
    assert judged(arm(SHIFTED), arm(FIVE), rules=Rules((("regressed", None),))).exit_code == 0


def test_a_change_says_what_to_do_if_it_was_meant_and_what_is_as_it_was_does_not() -> None:
    (said,) = [caveat for caveat in judged(arm(SHIFTED), arm(FIVE)).caveats if "if you meant that" in caveat]
    assert "clipbench check RESULTS --save-baseline FILE" in said
    assert "--fail-on regressed" in said
    assert not [caveat for caveat in judged(arm(FIVE), arm(FIVE)).caveats if "meant" in caveat]


def test_a_change_of_the_optimizers_code_is_named() -> None:
    assert row(judged(recoded(arm(SHIFTED)), arm(FIVE)), "weights").detail.endswith(": its code changed")


@pytest.mark.parametrize("change", [list, recoded])
def test_seeds_that_agree_beside_seeds_that_do_not_point_to_what_does_not_repeat_itself(change: Any) -> None:
    found = row(judged(change(arm({**SHIFTED, 3: FIVE[3]})), arm(FIVE)), "weights")
    assert found.verdict == "changed"
    assert found.detail.startswith("different bits on 4 of 5 seeds")
    assert found.detail.endswith("as the other seeds agree, a computation may be nondeterministic")


def test_other_bits_from_another_machine_are_advice_and_equal_ones_still_decide() -> None:
    report = judged(arm(SHIFTED, environment=OTHER_MACHINE), arm(FIVE))
    assert row(report, "weights").verdict == "advice"
    said = "different bits on 5 of 5 seeds: made on a different machine, whose kernels may round differently"
    assert row(report, "weights").detail == said
    assert report.exit_code == 0  # the loss has decided
    same = judged(arm({0: 3.0}, environment=OTHER_MACHINE), arm({0: 3.0}))
    assert row(same, "weights").verdict == "ok"


def test_of_runs_from_several_machines_those_from_one_are_a_change() -> None:
    mixed = [*arm({0: 3.1}), *arm({1: 3.3, 2: 3.2}, environment=OTHER_MACHINE)]
    assert row(judged(mixed, arm({0: 3.0, 1: 3.2, 2: 3.1})), "weights").verdict == "changed"
    same_here = [*arm({0: 3.0}), *arm({1: 3.3, 2: 3.2}, environment=OTHER_MACHINE)]
    assert row(judged(same_here, arm({0: 3.0, 1: 3.2, 2: 3.1})), "weights").verdict == "advice"


def test_a_machine_that_is_not_known_is_no_machine_of_the_baseline() -> None:
    nowhere = replace(HERE, machine_id="")
    found = judged(arm(SHIFTED, environment=nowhere), arm(FIVE, environment=nowhere))
    assert row(found, "weights").verdict == "advice"


def test_other_bits_from_a_gpu_are_advice_where_nothing_shows_that_it_repeats_itself() -> None:
    found = row(judged(arm(SHIFTED, environment=GPU), arm(FIVE, environment=GPU)), "weights")
    assert found.verdict == "advice"
    assert found.detail.endswith("some GPU kernels are nondeterministic, and nothing shows that these are not")


def test_other_bits_from_a_gpu_are_a_change_where_another_arm_of_the_task_came_out_the_same() -> None:
    theirs = arm(FIVE, environment=GPU) + arm(FIVE, name="lion", environment=GPU)
    again = arm(FIVE, name="lion", environment=GPU, outcome=LATER)
    assert row(judged(arm(SHIFTED, environment=GPU) + again, theirs), "weights").verdict == "changed"
    # the same run on both sides shows nothing, nor does an arm of another task, nor one that agrees on some seeds
    copied = arm(FIVE, name="lion", environment=GPU)
    assert row(judged(arm(SHIFTED, environment=GPU) + copied, theirs), "weights").verdict == "advice"
    digits = {"task": "digits"}
    theirs = arm(FIVE, environment=GPU) + arm(FIVE, name="lion", environment=GPU, of=digits)
    elsewhere = arm(FIVE, name="lion", environment=GPU, outcome=LATER, of=digits)
    assert row(judged(arm(SHIFTED, environment=GPU) + elsewhere, theirs), "weights").verdict == "advice"


def test_a_gpu_on_which_some_seeds_agree_and_others_do_not_has_not_repeated_itself() -> None:
    theirs = arm(FIVE, environment=GPU) + arm(FIVE, name="lion", environment=GPU)
    again = arm(FIVE, name="lion", environment=GPU, outcome=LATER)
    some = arm({**SHIFTED, 3: FIVE[3]}, environment=GPU)
    assert row(judged(some + again, theirs), "weights").verdict == "advice"


def test_bits_are_not_compared_across_numerical_set_ups() -> None:
    report = judged(arm(FIVE, environment=ELSEWHERE), arm(FIVE))
    assert not [each for each in report.rows if each.metric == "weights"]
    assert row(report, "loss").verdict == "ok"  # equal by the numbers
    said = "sgd on code_lm and the baseline have different numerical set-ups: final weights are not compared."
    assert said in report.caveats


def test_bits_are_compared_for_all_seeds_or_for_none() -> None:
    """Four seeds of another set-up are not decided by the bits of the fifth."""
    mixed = [*arm({0: 3.0}), *arm({1: 3.3, 2: 3.0}, environment=ELSEWHERE)]
    report = judged(mixed, arm({0: 3.0, 1: 3.2, 2: 3.1}))
    assert not [each for each in report.rows if each.metric == "weights"]
    assert report.exit_code == 3


def test_bits_are_not_compared_where_the_spec_says_something_else_of_the_arm() -> None:
    report = judged(arm(FIVE, of={"lr": 0.2}), arm(FIVE))
    assert not [each for each in report.rows if each.metric == "weights"]
    assert (
        "sgd on code_lm is described differently in the baseline (lr was 0.1 and is 0.2): final weights are not "
        "compared." in report.caveats
    )
