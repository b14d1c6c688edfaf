"""The JUnit file, parsed back."""

from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, scaled, suite
from judging.made import record, run

from clipbench.judging.gate.check import check
from clipbench.judging.gate.report import GateReport
from clipbench.judging.gate.rules import STRICT, Rules
from clipbench.judging.gate.suite import Suite, Unread
from clipbench.report.junit import as_junit


def report() -> GateReport:
    """sgd regressed, lion is fine, adam is undecided."""
    ours = [*arm(scaled(FIVE, 1.1, 1.11, 1.09, 1.1, 1.1)), *arm(FIVE, name="lion")]
    theirs = [*arm({**FIVE, 9: 3.0}), *arm(FIVE, name="lion")]
    return judged(
        [*ours, *arm({0: 3.0, 1: 4.0}, name="adam", environment=ELSEWHERE)],
        [*theirs, *arm({0: 3.3, 1: 3.6}, name="adam")],
    )


def parsed(of: GateReport) -> Element:
    return fromstring(as_junit(of))


def case(root: Element, name: str) -> Element:
    (found,) = [each for each in root.iter("testcase") if each.get("name") == name]
    return found


def test_every_row_is_a_test_that_failed_is_open_was_skipped_or_passed() -> None:
    root = parsed(report())
    assert len(list(root.iter("testcase"))) == len(report().rows)
    failure = case(root, "sgd: loss").find("failure")
    assert failure is not None
    assert failure.get("type") == "regressed"
    assert "at least" in str(failure.get("message"))
    error = case(root, "adam: loss").find("error")
    assert error is not None
    assert error.get("type") == "undecided"
    assert "seeds would decide" in str(error.get("message"))
    assert case(root, "adam: time").find("skipped") is not None
    assert [child.tag for child in case(root, "lion: loss")] == ["system-out"]
    assert case(root, "lion: loss").get("classname") == "quickstart.code_lm"
    assert case(root, "sgd: weights").find("failure") is not None
    lenient = replace(report(), rules=Rules((("regressed", None),)))
    assert [child.tag for child in case(parsed(lenient), "sgd: weights")] == ["system-out"]  # changed, as was allowed


def test_the_counts_are_those_of_the_tests() -> None:
    root = parsed(report())
    (suite, caveats) = root.findall("testsuite")
    for element in (root, suite):
        assert element.get("tests") == str(len(report().rows))
        assert element.get("failures") == str(len(list(root.iter("failure")))) == "2"
        assert element.get("errors") == str(len(list(root.iter("error")))) == "2"
        assert element.get("skipped") == str(len(list(root.iter("skipped"))))
    assert "A missing seed leaves" in str(caveats.findtext("system-out"))


@pytest.mark.parametrize(
    "of",
    [
        judged(arm({0: 3.1}, environment=ELSEWHERE), arm({0: 3.0})),
        judged(arm({0: 3.0, 1: 3.1}), arm({5: 3.0})),
        judged(arm(FIVE, of={"task": "digits"}), arm(FIVE)),
        judged(arm(FIVE, name="lion"), arm(FIVE)),
        judged([record(run(seed=0), [5.0], status="unfinished"), *arm({1: 3.0})], arm({0: 3.0, 1: 3.0})),
        check(replace(suite(arm(FIVE)), unread=(Unread(("a", "b", "c"), "no run"),)), suite(arm(FIVE)), Rules()),
        check(Suite(()), Suite(()), Rules()),
    ],
    ids=["one seed", "no common seed", "not comparable", "nothing shared", "not ended", "unread", "empty"],
)
def test_a_gate_that_is_not_decided_has_an_error_in_the_file_and_no_failure(of: GateReport) -> None:
    assert of.exit_code == 3
    root = parsed(of)
    for element in (root, *(each for each in root.findall("testsuite") if each.find("testcase") is not None)):
        for attribute, tag in (("tests", "testcase"), ("errors", "error"), ("failures", "failure")):
            assert element.get(attribute) == str(len(list(element.iter(tag))))
    assert root.get("failures") == "0"
    assert int(str(root.get("errors"))) >= 1


def test_a_strict_gate_has_its_failures_in_the_file() -> None:
    strict = replace(report(), rules=Rules(tuple((verdict, None) for verdict in STRICT)))
    assert case(parsed(strict), "adam: loss").find("failure") is not None
    assert case(parsed(strict), "sgd: weights").find("failure") is not None


def test_names_that_xml_cannot_hold_are_still_a_file() -> None:
    odd = 'a<b>&"\x00\x1b'
    root = parsed(judged(arm(FIVE, name=odd), arm(FIVE, name=odd)))
    assert case(root, 'a<b>&"\\x00\\x1b: loss').find("failure") is None
