from dataclasses import replace

import pytest
from judging.claims.measured import answered, claim, haunted
from making import outcome_of
from report.shown import data, drawn, lines, text

from clipbench.judging.claims.answers import Answer
from clipbench.judging.claims.judge import judge, results_of
from clipbench.records import OWN, Record
from clipbench.report.claims import LEGEND, document, tally
from clipbench.report.render import FORMATS, Format


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    """One of each verdict; the two that are decided have a comparison at each of two steps."""
    records: list[Record] = [
        haunted({OWN: [4.0 + seed / 10, 2.0 + seed / 10], "adam": [1.0, 1.0]}, seed=seed) for seed in range(3)
    ]
    step = {"quantity": "directional_sharpness", "of": "sgd", "against": "adam", "each_step": True}
    claims = [
        claim(name="A", compare=step),
        claim(name="B", compare=step, expect="lower", statement="[bold] & a_b is lower."),
        claim(name="C", margin=2.5, statement="It lies between."),
        claim(name="D", compare=None, expect=None, unmeasured="it takes interventions"),
    ]
    return judge(claims, results_of([(answered(), records)]))


def test_the_answers_are_counted_in_one_line(answers: list[Answer]) -> None:
    assert [answer.verdict for answer in answers] == ["holds", "fails", "holds", "not measured"]
    assert tally(answers) == "2 hold, 1 fails, 0 undecided, 1 not measured"
    assert tally(answers[:1]) == "1 holds, 0 fail, 0 undecided, 0 not measured"


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_has_every_claim_with_its_verdict(answers: list[Answer], fmt: Format) -> None:
    shown = text(document(answers), fmt)
    assert all(word in shown for word in ("holds", "fails", "not measured", "akes interventions"))


def test_a_row_shows_the_comparison_that_counts_most_against_the_claim(answers: list[Answer]) -> None:
    page = text(document(answers[:1]), "markdown")
    assert (
        "Shown: directional_sharpness: sgd against adam, code_lm of quickstart on the trajectory of sgd, step 100."
        in page
    )
    assert "2.1×" in page  # (2.0 · 2.1 · 2.2)^(1/3) = 2.098, and not the 4.1 of the first step
    assert LEGEND.split(";")[0] in page


def test_a_narrow_terminal_has_the_sentences_beneath_and_cuts_no_word(answers: list[Answer]) -> None:
    rows = drawn(document(answers, each=True), width=60).splitlines()
    assert max(map(len, rows)) <= 60
    assert rows[0].split() == ["claim", "verdict", "estimate", "95", "%", "interval", "n"]
    assert rows[2].split() == ["+", "A", "holds", "2.1×", "1.86", "to", "2.36", "3"]  # 2.1 ×/÷ exp(t(0.975, 2) · s/√3)
    assert rows[3].startswith("    It is so. In all 2 comparisons.")
    assert "D      not measured" in " ".join(rows)
    assert rows[-1] == f"{tally(answers)}."
    assert any(line.startswith("    directional_sharpness: sgd against adam, code_lm of") for line in rows)


def test_every_comparison_is_shown_where_it_is_asked_for(answers: list[Answer]) -> None:
    whole = drawn(document(answers, each=True))
    assert all(f"step {step}" in whole for step in (50, 100))
    assert "step 50" not in drawn(document(answers[:1]))


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_keeps_its_width_and_reads_no_markup(answers: list[Answer], width: int) -> None:
    table = drawn(document(answers), width)
    assert max(map(len, table.splitlines())) <= width
    assert "[bold]" in table


def test_markdown_and_latex_escape_what_they_would_read_as_their_own(answers: list[Answer]) -> None:
    assert "\\[bold\\]" in text(document(answers), "markdown")
    page = text(document(answers), "latex")
    assert "[bold] \\& a\\_b" in page
    assert "p{0.4\\textwidth}" in page
    assert "95 \\% interval" in page


def test_csv_has_a_line_for_every_comparison_and_one_for_a_claim_without_any(answers: list[Answer]) -> None:
    rows = lines(document(answers))
    assert [(row["claim"], row["step"]) for row in rows] == [
        ("A", "50"),
        ("A", "100"),
        ("B", "50"),
        ("B", "100"),
        ("C", ""),
        ("D", ""),
    ]
    assert float(rows[0]["estimate"]) == pytest.approx((4.0 * 4.1 * 4.2) ** (1 / 3))
    assert (rows[0]["n"], rows[0]["used"], rows[0]["comparison"], rows[2]["comparison"]) == ("3", "3", "holds", "fails")
    assert (rows[-1]["estimate"], rows[-1]["why"]) == ("", "it takes interventions")


def test_json_has_the_same_numbers(answers: list[Answer]) -> None:
    first, *_, last = data(document(answers))
    assert (first["claim"], first["verdict"], first["margin"], first["scale"]) == ("A", "holds", 1.0, "ratio")
    assert first["comparisons"][0]["estimate"] == pytest.approx((4.0 * 4.1 * 4.2) ** (1 / 3))
    assert (last["verdict"], last["margin"], last["comparisons"]) == ("not measured", None, [])


def test_a_single_seed_has_no_interval_to_show() -> None:
    of = judge([claim()], results_of([(answered(), [haunted({OWN: [4.0], "adam": [1.0]})])]))
    page = text(document(of), "markdown")
    assert "4×" in page
    assert "nan" not in page
    assert "a single seed has no confidence interval" in page.lower()


def test_what_was_left_out_is_said() -> None:
    records = [haunted({OWN: [4.0 + seed, -1.0], "adam": [1.0, 1.0]}, seed=seed) for seed in range(3)]
    assert "(3 of 6 left out)" in text(document(judge([claim()], results_of([(answered(), records)]))), "markdown")
    diverged = replace(records[2], outcome=replace(outcome_of(records[2]), status="diverged"))
    answers = judge([claim()], results_of([(answered(), [*records[:2], diverged])]))
    assert "(2 of 4 left out, 1 seed left out)" in text(document(answers), "markdown")
    [row] = lines(document(answers))
    assert (row["n"], row["excluded"], row["left_out"]) == ("2", "2", "1")
