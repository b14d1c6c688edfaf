"""The gate's report in every format."""

import csv
import io
import json
from dataclasses import replace

import pytest
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, scaled
from rich.console import Console

from clipbench.errors import ClipbenchError
from clipbench.judging.gate.report import GateReport
from clipbench.judging.gate.rules import Rules
from clipbench.report.check import FIELDS, render


@pytest.fixture
def report() -> GateReport:
    """sgd regressed, lion is fine, adam is undecided, adafactor is missing."""
    ours = [
        *arm(scaled(FIVE, 1.1, 1.11, 1.09, 1.1, 1.1)),
        *arm(FIVE, name="lion"),
        *arm({0: 3.0, 1: 4.0}, name="adam", environment=ELSEWHERE),
    ]
    theirs = [*arm({**FIVE, 9: 3.0}), *arm(FIVE, name="lion"), *arm({0: 3.3, 1: 3.6}, name="adam")]
    return judged(ours, [*theirs, *arm({0: 1.0}, name="adafactor")])


def drawn(report: GateReport, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(render(report, "table"))
    return captured.get()


def test_every_format_holds_every_finding_and_every_caveat(report: GateReport) -> None:
    shown = {fmt: str(render(report, fmt)) for fmt in ("markdown", "latex", "json")} | {"table": drawn(report)}
    for fmt, text in shown.items():
        for word in ("regressed", "undecided", "missing", "adafactor", "at least", "the gate fails", "seed 9"):
            assert word in text, (fmt, word)
    assert "regressed" in str(render(report, "csv"))


def test_programs_get_one_row_for_each_metric_with_every_digit(report: GateReport) -> None:
    lines = list(csv.DictReader(io.StringIO(str(render(report, "csv")))))
    rows = json.loads(str(render(report, "json")))["rows"]
    assert len(lines) == len(rows) == len(report.rows)
    assert tuple(lines[0]) == tuple(rows[0]) == FIELDS
    loss = next(row for row in report.rows if row.metric == "loss" and row.arm == "sgd")
    first = next(row for row in rows if row["metric"] == "loss" and row["arm"] == "sgd")
    assert (first["change"], first["low"], first["fails"]) == (loss.change, loss.low, True)
    assert json.loads(str(render(report, "json")))["exit_code"] == 1
    assert next(row for row in rows if row["metric"] == "outcome")["change"] is None


def test_what_calls_for_no_action_is_one_row_an_arm(report: GateReport) -> None:
    lines = [line for line in str(render(report, "markdown")).splitlines() if "| lion" in line]
    ok = [line for line in lines if line.startswith("| ok")]
    assert len(ok) == 1
    assert "3 metrics" in ok[0]
    assert "weights: the same bits on 5 seeds; loss: identical" in ok[0]


def test_a_verdict_that_fails_the_gate_beyond_a_regression_is_marked(report: GateReport) -> None:
    strict = replace(report, rules=Rules((("missing", None),)))
    assert "missing (fails)" in drawn(strict)
    assert "missing (fails)" not in drawn(report)


def test_a_narrow_terminal_loses_no_word(report: GateReport) -> None:
    narrow = "".join(drawn(report, 60).split())
    assert max(map(len, drawn(report, 60).splitlines())) <= 60
    for row in report.rows:
        if row.verdict in ("regressed", "missing"):
            assert row.verdict in narrow
            assert row.arm in narrow


def test_names_are_never_read_as_markup() -> None:
    odd = judged(arm(FIVE, name="a|b_c_[red]"), arm(FIVE, name="a|b_c_[red]"))
    assert r"a\|b_c\_\[red\]" in str(render(odd, "markdown"))
    assert "a|b_c_[red]" in drawn(odd)
    assert r"a|b\_c\_[red]" in str(render(odd, "latex"))


def test_two_specs_are_told_apart_only_where_there_are_two(report: GateReport) -> None:
    assert "quickstart/code_lm" not in drawn(report)
    other = replace(report, rows=(*report.rows, replace(report.rows[0], spec="other")))
    assert "quickstart/code_lm" in drawn(other)


def test_an_unknown_format_is_refused(report: GateReport) -> None:
    with pytest.raises(ClipbenchError, match="there is no format 'xml'"):
        render(report, "xml")
