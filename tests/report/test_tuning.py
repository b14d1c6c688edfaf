"""How the tuning of arms is shown: the same tables in every format."""

import io
import json
from dataclasses import replace

import pytest
from judging.made import question, record, run, trials, tuning
from rich.console import Console

from clipbench.judging.compare import compare
from clipbench.judging.extending import EXTENSIONS
from clipbench.judging.tuning import tunings
from clipbench.questions import Question, Trial
from clipbench.report.render import render
from clipbench.report.tuning import TuningTable, beyond_the_edge, selection_line, tables_of_tuning

GRID = (0.1, 0.3, 1.0)
ASKED = replace(question("sgd", "adam"), tuning=tuning({"sgd": GRID, "adam": GRID}, selected={"sgd": 0.3, "adam": 0.1}))
TRIALS = [
    *trials("sgd", dict(zip(GRID, (3.0, 2.0, 9.0), strict=True))),
    *trials("adam", dict(zip(GRID, (1.25, 1.5, 2.5), strict=True))),
]
REPORTED = [record(run(arm, seed=seed), [5.0, 2.0]) for arm in ("sgd", "adam") for seed in (0, 1)]
FOUND = tunings(TRIALS, ASKED)


def shown() -> list[TuningTable]:
    return list(tables_of_tuning(FOUND))


def test_what_was_selected_is_told_with_its_trials_its_loss_and_its_edges() -> None:
    selected, _, _ = shown()
    assert selected.rows == (
        ("sgd", "3, 1 diverged or failed", "lr=0.3", "2 ± ?", "no"),
        ("adam", "3", "lr=0.1", "1.25 ± ?", "lr (lowest tried)"),
    )


def test_rates_are_told_with_their_losses() -> None:
    _, rates, _ = shown()
    assert rates.rows == (
        ("sgd", "0.1 → 3, 0.3 → 2, 1 → x", "0.3"),
        ("adam", "0.1 → 1.25, 0.3 → 1.5, 1 → 2.5", "0.1"),
    )
    wide = tunings(trials("sgd", dict(zip(GRID, (2.05, 2.0, 2.09), strict=True))), ASKED)
    assert list(tables_of_tuning(wide))[1].rows[0][2] == "0.1 to 1 (10×)"


def test_the_expected_best_is_told_for_every_number_of_trials() -> None:
    *_, expected = shown()
    assert expected.headings == ("arm", "1", "2", "3")
    assert expected.rows == (("sgd", "∞", "2.333", "2"), ("adam", "1.75", "1.333", "1.25"))


def test_many_numbers_of_trials_are_told_by_powers_of_two() -> None:
    grid = [place / 10 for place in range(1, 12)]
    asked = replace(question("sgd"), tuning=tuning({"sgd": grid}))
    *_, expected = tables_of_tuning(tunings(trials("sgd", {lr: 1 + lr for lr in grid}), asked))
    assert expected.headings == ("arm", "1", "2", "4", "8", "11")


def test_a_search_that_goes_on_is_shown_as_far_as_it_is() -> None:
    selected, *rest = tables_of_tuning(tunings(TRIALS[:2], replace(ASKED, tuning=tuning({"sgd": GRID, "adam": GRID}))))
    assert selected.rows[0] == ("sgd", "3, 1 not ended", "–", "–", "–")
    assert [section.title for section in rest] == ["Tuning: final loss by learning rate"]


def test_where_nothing_was_tuned_there_is_no_section() -> None:
    assert list(tables_of_tuning(())) == []


def test_arms_on_several_tasks_are_told_apart() -> None:
    twice = (*FOUND, replace(FOUND[0], task="digits"))
    assert [row[0] for row in next(tables_of_tuning(twice)).rows] == ["code_lm/sgd", "code_lm/adam", "digits/sgd"]


@pytest.mark.parametrize("fmt", ["table", "markdown", "latex"])
def test_every_format_for_people_has_the_tables(fmt: str) -> None:
    console = Console(width=200, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(compare(TRIALS + REPORTED, ASKED), fmt), markup=False)
    text = capture.get()
    for section in shown():
        assert section.title in text
    assert ("0.1 $\\to$ 1.25" if fmt == "latex" else "0.1 → 1.25") in text
    assert "1.333" in text


def test_json_has_every_number_and_no_infinity() -> None:
    told = json.loads(render(compare(TRIALS + REPORTED, ASKED), "json"))["tuning"]
    assert [each["arm"] for each in told] == ["sgd", "adam"]
    assert (told[0]["trials"], told[0]["selected"], told[1]["edges"]) == (3, {"lr": 0.3}, {"lr": "lowest"})
    assert told[0]["rates"][1]["loss"]["mean"] == 2.0
    assert told[0]["expected"] == ["inf", pytest.approx(7 / 3), 2.0]
    assert json.loads(render(compare(REPORTED, question("sgd", "adam")), "json"))["tuning"] == []


def test_a_line_says_what_was_selected_and_whether_it_is_bracketed() -> None:
    sgd, adam = FOUND
    assert selection_line(sgd) == "sgd on code_lm: lr=0.3 of 3 trials, loss 2"
    assert selection_line(adam) == (
        "adam on code_lm: lr=0.1 of 3 trials, loss 1.25; lr is the lowest value tried: not bracketed"
    )
    lost = replace(sgd, selected=None)
    assert selection_line(lost) == "sgd on code_lm: nothing selected (none of 3 trials finished)"
    assert selection_line(replace(lost, ended=1)) == "sgd on code_lm: nothing selected (2 trials not ended)"


def test_what_can_be_done_about_an_edge_is_said() -> None:
    assert "--extend-grid looks beyond" in beyond_the_edge(ASKED, extended=False)
    assert "no further trial that every arm could be given" in beyond_the_edge(ASKED, extended=True)
    drawn = replace(ASKED, tuning=replace(ASKED.tuning, search="halton"))
    assert "wider spaces" in beyond_the_edge(drawn, extended=False)
    assert beyond_the_edge(question("sgd"), extended=False) == ""
    bracketed = replace(ASKED, tuning=tuning({"sgd": GRID}, selected={"sgd": 0.3}))
    assert beyond_the_edge(bracketed, extended=False) == ""


def test_the_limit_of_extensions_is_named() -> None:
    def lengthened(asked: Question) -> Question:
        adam = asked.tuning.arms[1]
        more = tuple(Trial({"lr": 2.0 + place}, ("x",)) for place in range(EXTENSIONS))
        return replace(asked, tuning=replace(asked.tuning, arms=(replace(adam, trials=adam.trials + more),)))

    said = beyond_the_edge(lengthened(ASKED), extended=True)
    assert said.startswith(f"not bracketed after {EXTENSIONS} more trials an arm, the most")
