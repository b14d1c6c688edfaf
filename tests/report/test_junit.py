"""The JUnit file, parsed back."""

from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

from judging.gate import ELSEWHERE, FIVE, arm, judged, scaled

from clipbench.judging.check_report import GateReport
from clipbench.judging.check_rules import STRICT, Rules
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


def test_every_row_is_a_test_that_failed_was_skipped_or_passed() -> None:
    root = parsed(report())
    assert len(list(root.iter("testcase"))) == len(report().rows)
    failure = case(root, "sgd: loss").find("failure")
    assert failure is not None
    assert failure.get("type") == "regressed"
    assert "at least" in str(failure.get("message"))
    assert case(root, "adam: loss").find("skipped") is not None
    assert [child.tag for child in case(root, "lion: loss")] == ["system-out"]
    assert case(root, "lion: loss").get("classname") == "quickstart.code_lm"
    assert [child.tag for child in case(root, "sgd: weights")] == ["system-out"]  # changed, and nobody asked


def test_the_counts_are_those_of_the_tests() -> None:
    root = parsed(report())
    (suite, caveats) = root.findall("testsuite")
    for element in (root, suite):
        assert element.get("tests") == str(len(report().rows))
        assert element.get("failures") == "1"
        assert element.get("skipped") == str(len(list(root.iter("skipped"))))
    assert "seed 9 is in the baseline alone" in str(caveats.findtext("system-out"))


def test_a_strict_gate_has_its_failures_in_the_file() -> None:
    strict = replace(report(), rules=Rules(tuple((verdict, None) for verdict in STRICT)))
    assert case(parsed(strict), "adam: loss").find("failure") is not None
    assert case(parsed(strict), "sgd: weights").find("failure") is not None


def test_names_that_xml_cannot_hold_are_still_a_file() -> None:
    odd = 'a<b>&"\x00\x1b'
    root = parsed(judged(arm(FIVE, name=odd), arm(FIVE, name=odd)))
    assert case(root, 'a<b>&"\ufffd\ufffd: loss').find("failure") is None
