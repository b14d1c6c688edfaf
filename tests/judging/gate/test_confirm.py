from judging.gate.sides import FIVE, arm, judged, scaled, suite

from clipbench.judging.gate.confirm import Extra, extra_seeds

WORSE = (1.1, 1.11, 1.09, 1.1, 1.1)


def test_seeds_to_confirm_with_are_those_that_the_baseline_has_and_the_candidate_has_not() -> None:
    ours, theirs = arm(scaled(FIVE, *WORSE)), arm({**FIVE, 7: 3.0, 8: 3.0, 9: 3.0})
    report = judged(ours, theirs)
    assert extra_seeds(report, suite(ours), suite(theirs), most=2) == [Extra("quickstart", "sgd", (7, 8))]


def test_a_baseline_without_further_seeds_has_none_to_offer() -> None:
    ours, theirs = arm(scaled(FIVE, *WORSE)), arm(FIVE)
    assert extra_seeds(judged(ours, theirs), suite(ours), suite(theirs), most=2) == [Extra("quickstart", "sgd", ())]


def test_nothing_is_confirmed_where_nothing_that_a_seed_can_change_regressed() -> None:
    ours, theirs = arm(FIVE, outcome={"state_bytes": 2}), arm({**FIVE, 7: 3.0}, outcome={"state_bytes": 1})
    report = judged(ours, theirs)
    assert report.exit_code == 1
    assert extra_seeds(report, suite(ours), suite(theirs), most=2) == []
