from dataclasses import replace

import pytest
from judging.checks.unfair import asked, fair, last
from report.shown import data, drawn, lines, text

from clipbench.budget import Budget
from clipbench.judging.checks.audit import CHECKS, Audit, AuditVerdict, CheckAnswer, audit
from clipbench.report.audit import document, summary


@pytest.fixture(scope="module")
def unfair() -> Audit:
    """One fault (the budget) and two warnings (no trials, few seeds), under a name that looks like markup."""
    records = last(fair(3), budget=Budget(100, "steps"))
    return audit(records, replace(asked(records), spec="a_b [bold]"))


def test_the_one_line_counts_the_verdicts() -> None:
    verdicts: list[AuditVerdict] = ["pass", "warn", "not applicable", "pass", "fail", "pass"]
    of = Audit("x", tuple((CHECKS[0], CheckAnswer(verdict, "")) for verdict in verdicts))
    assert summary(of) == "audit: 3 pass, 1 warn, 1 fail"


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_every_rule_with_its_finding_whatever_its_width(unfair: Audit, width: int) -> None:
    table = drawn(document([unfair]), width)
    assert "a_b [bold]" in table
    assert all(rule.name in table for rule in CHECKS)
    assert summary(unfair) in " ".join(table.split())
    assert max(map(len, table.splitlines())) <= width


def test_demands_are_said_where_they_are_asked_for(unfair: Audit) -> None:
    demand = "All runs on a task have the same budget."
    assert demand not in text(document([unfair]), "markdown")
    assert f"{demand} Found: Runs of code_lm differ in their budget" in text(
        document([unfair], explain=True), "markdown"
    )


def test_markdown_is_a_table_with_the_line_beneath(unfair: Audit) -> None:
    page = text(document([unfair]), "markdown")
    assert page.startswith("**a_b \\[bold\\]**")
    assert "| x  | same budget" in page
    assert page.endswith(summary(unfair))


def test_latex_escapes_what_it_would_read_as_its_own(unfair: Audit) -> None:
    page = text(document([unfair]), "latex")
    assert "p{0.4\\textwidth}" in page
    assert "code\\_lm" in page
    assert "code_lm" not in page


def test_csv_has_a_line_for_each_rule_and_every_run(unfair: Audit) -> None:
    rows = lines(document([unfair]))
    assert [row["rule"] for row in rows] == [rule.name for rule in CHECKS]
    [budget] = [row for row in rows if row["rule"] == "same budget"]
    assert (budget["verdict"], budget["runs"], budget["spec"]) == ("fail", "code_lm/adam/seed 2", "a_b [bold]")
    assert budget["demand"] == "All runs on a task have the same budget."


def test_json_has_a_list_of_audits_with_their_counts(unfair: Audit) -> None:
    one, two = data(document([unfair, unfair]))
    assert one == two
    assert (one["spec"], one["warn"], one["fail"]) == ("a_b [bold]", 2, 1)
    assert one["pass"] == len(unfair.of("pass"))
    assert [rule["rule"] for rule in one["rules"]] == [rule.name for rule in CHECKS]
