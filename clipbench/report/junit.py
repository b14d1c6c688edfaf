"""The gate's verdicts as JUnit XML, which CI services show as tests."""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from clipbench.errors import UNDECIDED
from clipbench.harmless import on_one_line
from clipbench.judging.gate.report import GateReport, GateRow


def as_junit(report: GateReport) -> str:
    """The report as a JUnit file: a test for each row, in a suite for each task.

    A test is a failure if its row fails the gate, an error if the row leaves its arm undecided, skipped if the row has
    no verdict, and passed otherwise. If nothing could be decided and no row says why, an extra test is the error.
    Caveats are the output of an extra suite.
    """
    root = Element("testsuites", name="clipbench check")
    for spec, task in dict.fromkeys((row.spec, row.task) for row in report.rows):
        rows = [row for row in report.rows if (row.spec, row.task) == (spec, task)]
        suite = SubElement(root, "testsuite", name=on_one_line(f"{spec}/{task}"))
        for row in rows:
            _case(suite, row, report)
        _count(suite)
    if report.exit_code == UNDECIDED and not report.open_rows:
        suite = SubElement(root, "testsuite", name="clipbench check")
        case = SubElement(suite, "testcase", classname="clipbench", name="the gate", time="0")
        SubElement(case, "error", message=on_one_line(report.sentence), type="not decided")
        _count(suite)
    _count(root)
    if report.caveats:
        suite = SubElement(root, "testsuite", name="caveats", tests="0", failures="0", errors="0", skipped="0")
        SubElement(suite, "system-out").text = "\n".join(map(on_one_line, report.caveats))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _case(suite: Element, row: GateRow, report: GateReport) -> None:
    name = f"{row.arm}: {row.metric}"
    case = SubElement(
        suite, "testcase", classname=on_one_line(f"{row.spec}.{row.task}"), name=on_one_line(name), time="0"
    )
    message = on_one_line(f"{row.verdict}: {row.detail}")
    if report.fails(row):
        SubElement(case, "failure", message=message, type=row.verdict)
    elif row in report.open_rows:
        SubElement(case, "error", message=message, type=row.verdict)
    elif row.verdict in ("ok", "improved", "changed", "regressed"):
        SubElement(case, "system-out").text = message
    else:
        SubElement(case, "skipped", message=message)


def _count(suite: Element) -> None:
    cases = list(suite.iter("testcase"))
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", str(sum(case.find("error") is not None for case in cases)))
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
