import pytest

from clipbench.errors import ClipbenchError
from clipbench.judging.gate.rules import COUNTED, METRICS, TOLERANCES, VARYING, GateVerdict, rules
from clipbench.quantities import quantity


def test_a_regression_and_a_change_fail_unless_something_else_is_asked_for() -> None:
    usual = rules([], [], strict=False)
    assert usual.fail("regressed", "loss")
    assert usual.fail("changed", "weights")
    assert not usual.fail("undecided", "loss")
    assert not rules(["changed"], [], strict=False).fail("regressed", "loss")
    assert not rules(["regressed"], [], strict=False).fail("changed", "weights")


def test_every_metric_is_named_once_and_the_losses_have_most_of_the_five_percent() -> None:
    assert len(METRICS) == len(set(METRICS)) == 4 + len(COUNTED) + len(VARYING)
    weight = {each.metric: each.weight for each in VARYING}
    assert weight["loss"] / (weight["loss"] + weight["steps"] + weight["sharpness"]) == 0.8


def test_of_what_varies_less_is_better() -> None:
    assert {quantity(each.quantity).better for each in VARYING} == {"lower"}


@pytest.mark.parametrize("word", ["undecided", "inconclusive"])
def test_the_earlier_name_of_undecided_is_still_taken(word: str) -> None:
    chosen = rules([f"{word}:loss"], [], strict=False)
    assert (chosen.fail("undecided", "loss"), chosen.fail("undecided", "steps")) == (True, False)


def test_strict_adds_all_that_is_not_decided() -> None:
    strict = rules([], [], strict=True)
    barred: tuple[GateVerdict, ...] = ("regressed", "changed", "not comparable", "missing", "undecided")
    assert all(strict.fail(verdict, "loss") for verdict in barred)
    passed: tuple[GateVerdict, ...] = ("new", "improved", "advice", "ok")
    assert not any(strict.fail(verdict, "loss") for verdict in passed)
    assert rules(["new"], [], strict=True).fail("new", "loss")


def test_a_verdict_may_be_asked_of_one_metric() -> None:
    chosen = rules(["regressed:loss", "not-comparable"], [], strict=False)
    assert chosen.fail("regressed", "loss")
    assert not chosen.fail("regressed", "time")
    assert chosen.fail("not comparable", "steps")


def test_a_tolerance_is_for_one_metric_or_for_all() -> None:
    assert rules([], ["loss=0.5"], strict=False).tolerances == {**TOLERANCES, "loss": 0.5}
    assert set(rules([], ["0.3"], strict=False).tolerances.values()) == {0.3}
    assert rules([], ["0.3", "loss=0"], strict=False).tolerances["loss"] == 0.0


@pytest.mark.parametrize(
    ("fail_on", "tolerance", "said"),
    [
        (
            "regresed",
            "0",
            "--fail-on does not know 'regresed'\n  did you mean 'regressed'? it is one of: regressed, changed",
        ),
        ("ok", "0", "--fail-on does not know 'ok'"),
        ("advice", "0", "--fail-on does not know 'advice'"),
        ("improved", "0", "--fail-on does not know 'improved'"),
        ("changed:los", "0", "--fail-on does not know 'los'\n  did you mean 'loss'?"),
        ("changed", "los=0", "--tolerance does not know 'los'"),
        ("changed", "weights=0", "--tolerance does not know 'weights'"),
        ("changed", "loss=2%", "--tolerance: '2%' is not a fraction"),
        ("changed", "-0.1", "--tolerance: '-0.1' is not a fraction"),
        ("changed", "nan", "--tolerance: 'nan' is not a fraction"),
        ("changed", "inf", "--tolerance: 'inf' is not a fraction"),
    ],
)
def test_what_is_misspelt_is_refused(fail_on: str, tolerance: str, said: str) -> None:
    with pytest.raises(ClipbenchError) as refused:
        rules([fail_on], [tolerance], strict=False)
    assert said in str(refused.value)
