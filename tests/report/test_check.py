"""The gate's report in every format."""

from dataclasses import replace

import pytest
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, scaled
from report.shown import data, drawn, lines, text

from clipbench.judging.gate.report import GateReport
from clipbench.judging.gate.rules import Rules
from clipbench.report.check import document
from clipbench.report.render import FORMATS


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


def test_every_format_holds_every_finding_and_every_caveat(report: GateReport) -> None:
    for fmt in FORMATS:
        shown = text(document(report), fmt)
        for word in ("regressed", "undecided", "missing", "adafactor"):
            assert word in shown, (fmt, word)
        for word in ("at least", "the gate fails", "seed 9"):
            assert fmt == "csv" or word in shown, (fmt, word)


def test_programs_get_one_row_for_each_metric_with_every_digit(report: GateReport) -> None:
    in_csv, rows = lines(document(report)), data(document(report))["rows"]
    assert len(in_csv) == len(rows) == len(report.rows)
    assert list(in_csv[0]) == list(rows[0])
    loss = next(row for row in report.rows if row.metric == "loss" and row.arm == "sgd")
    first = next(row for row in rows if row["metric"] == "loss" and row["arm"] == "sgd")
    assert (first["change"], first["low"], first["fails"]) == (loss.change, loss.low, True)
    assert data(document(report))["exit_code"] == 1
    assert next(row for row in rows if row["metric"] == "outcome")["change"] is None


def test_what_calls_for_no_action_is_one_row_an_arm(report: GateReport) -> None:
    of_lion = [line for line in text(document(report), "markdown").splitlines() if "| lion" in line]
    ok = [line for line in of_lion if line.startswith("| ok")]
    assert len(ok) == 1
    assert "3 metrics" in ok[0]
    assert "weights: equal bits on 5 seeds; loss: identical" in ok[0]


def test_a_verdict_that_fails_the_gate_beyond_a_regression_is_marked(report: GateReport) -> None:
    strict = replace(report, rules=Rules((("missing", None),)))
    assert "missing (fails)" in drawn(document(strict))
    assert "missing (fails)" not in drawn(document(report))


def test_a_narrow_terminal_loses_no_word(report: GateReport) -> None:
    narrow = "".join(drawn(document(report), 60).split())
    assert max(map(len, drawn(document(report), 60).splitlines())) <= 60
    for row in report.rows:
        if row.verdict in ("regressed", "missing"):
            assert row.verdict in narrow
            assert row.arm in narrow


def test_names_are_never_read_as_markup() -> None:
    odd = judged(arm(FIVE, name="a|b_c_[red]"), arm(FIVE, name="a|b_c_[red]"))
    assert r"a\|b_c\_\[red\]" in text(document(odd), "markdown")
    assert "a|b_c_[red]" in drawn(document(odd))
    assert r"a|b\_c\_[red]" in text(document(odd), "latex")


def test_two_specs_are_told_apart_only_where_there_are_two(report: GateReport) -> None:
    assert "quickstart/code_lm" not in drawn(document(report))
    other = replace(report, rows=(*report.rows, replace(report.rows[0], spec="other")))
    assert "quickstart/code_lm" in drawn(document(other))
