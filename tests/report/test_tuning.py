"""How the tuning of arms is shown: the same tables in every format."""

import csv
import io
import json
from dataclasses import replace

import pytest
from judging.made import question, record, run, trials, tuning
from rich.console import Console

from clipbench.judging.compare import compare
from clipbench.judging.comparison import Comparison
from clipbench.judging.tuning.summary import ArmTuning, tunings
from clipbench.report.render import render, render_section
from clipbench.report.sections import section, sections

GRID = (0.1, 0.3, 1.0)
ASKED = replace(question("sgd", "adam"), tuning=tuning({"sgd": GRID, "adam": GRID}, selected={"sgd": 0.3, "adam": 0.1}))
TRIALS = [
    *trials("sgd", dict(zip(GRID, (3.0, 2.0, 9.0), strict=True))),
    *trials("adam", dict(zip(GRID, (1.25, 1.5, 2.5), strict=True))),
]
REPORTED = [record(run(arm, seed=seed), [5.0, 2.0]) for arm in ("sgd", "adam") for seed in (0, 1)]
FOUND = tunings(TRIALS, ASKED)


def of(*tunings: ArmTuning) -> Comparison:
    return replace(compare(REPORTED, question("sgd", "adam")), tunings=tunings)


def rows(name: str, *tunings: ArmTuning) -> list[list[str]]:
    """The cells that people read."""
    made = section(of(*tunings), name)
    return [[" ".join(column.cell(row)) for column in made.columns] for row in made.rows]


def lines(name: str, *tunings: ArmTuning) -> list[dict[str, str]]:
    """What a program reads."""
    return list(csv.DictReader(io.StringIO(str(render_section(section(of(*tunings), name), "csv")))))


def headings(name: str, *tunings: ArmTuning) -> list[str]:
    return [column.heading for column in section(of(*tunings), name).columns]


def test_what_was_selected_is_told_with_its_trials_its_loss_and_its_edges() -> None:
    assert rows("tuning", *FOUND) == [
        ["sgd", "3, 1 diverged", "lr=0.3", "2 ± ?", "no"],
        ["adam", "3", "lr=0.1", "1.25 ± ?", "lr (lowest tried)"],
    ]
    sgd, adam = lines("tuning", *FOUND)
    assert (sgd["task"], sgd["arm"], sgd["trials"], sgd["broken"], sgd["crashed"]) == ("code_lm", "sgd", "3", "1", "0")
    assert (sgd["settings"], sgd["selection_loss"], sgd["not_bracketed"]) == ("lr=0.3", "2.0", "")
    assert (adam["not_bracketed"], adam["good_low"], adam["good_high"]) == ("lr", "0.1", "0.1")


def test_trials_that_crashed_are_told_from_those_that_diverged_and_what_becomes_of_them() -> None:
    sgd, adam = FOUND
    assert rows("tuning", replace(sgd, broken=2, crashed=1))[0][1] == "3, 1 diverged, 1 failed"
    assert "A trial that failed is spent" in section(of(replace(sgd, broken=2, crashed=1)), "tuning").legend
    assert "spent" not in section(of(sgd, adam), "tuning").legend


def test_rates_are_told_with_their_losses() -> None:
    assert rows("sensitivity", *FOUND) == [
        ["sgd", "0.1 → 3, 0.3 → 2, 1 → x", "0.3"],
        ["adam", "0.1 → 1.25, 0.3 → 1.5, 1 → 2.5", "0.1"],
    ]
    told = [(line["arm"], line["rate"], line["rate_loss"], line["good"]) for line in lines("sensitivity", FOUND[0])]
    assert told == [("sgd", "0.1", "3.0", "False"), ("sgd", "0.3", "2.0", "True"), ("sgd", "1.0", "nan", "False")]
    wide = tunings(trials("sgd", dict(zip(GRID, (2.05, 2.0, 2.09), strict=True))), ASKED)
    assert rows("sensitivity", *wide)[0][2] == "0.1 to 1 (10×)"


def test_the_expected_best_is_told_for_every_number_of_trials() -> None:
    assert headings("expected", *FOUND) == ["arm", "1", "2", "3"]
    assert rows("expected", *FOUND) == [["sgd", "∞", "2.333", "2"], ["adam", "1.75", "1.333", "1.25"]]
    told = [(line["arm"], line["trials"], line["expected_loss"]) for line in lines("expected", FOUND[1])]
    assert told == [("adam", "1", "1.75"), ("adam", "2", "1.3333333333333333"), ("adam", "3", "1.25")]


def test_many_numbers_of_trials_are_told_by_powers_of_two_and_to_programs_all_of_them() -> None:
    grid = [place / 10 for place in range(1, 12)]
    asked = replace(question("sgd"), tuning=tuning({"sgd": grid}))
    found = tunings(trials("sgd", {lr: 1 + lr for lr in grid}), asked)
    assert headings("expected", *found) == ["arm", "1", "2", "4", "8", "11"]
    assert [line["trials"] for line in lines("expected", *found)] == [str(k) for k in range(1, 12)]


def test_a_search_that_goes_on_is_shown_as_far_as_it_is() -> None:
    found = tunings(TRIALS[:2], replace(ASKED, tuning=tuning({"sgd": GRID, "adam": GRID})))
    assert rows("tuning", *found)[0] == ["sgd", "3, 1 not ended", "–", "–", "–"]
    assert lines("tuning", *found)[0]["settings"] == ""
    assert [made.name for made in sections(of(*found))][-2:] == ["tuning", "sensitivity"]


def test_where_nothing_was_tuned_there_is_no_section() -> None:
    assert {made.name for made in sections(of())} & {"tuning", "sensitivity", "expected"} == set()
    assert all(lines(name) == [] for name in ("tuning", "sensitivity", "expected"))


def test_arms_on_several_tasks_are_told_apart() -> None:
    twice = (*FOUND, replace(FOUND[0], task="digits"))
    assert [row[:2] for row in rows("tuning", *twice)] == [["code_lm", "sgd"], ["code_lm", "adam"], ["digits", "sgd"]]


@pytest.mark.parametrize("fmt", ["table", "markdown", "latex"])
def test_every_format_for_people_has_the_tables(fmt: str) -> None:
    console = Console(width=200, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(compare(TRIALS + REPORTED, ASKED), fmt), markup=False)
    text = capture.get()
    for name in ("what was selected", "final loss by learning rate", "expected best loss of k trials"):
        assert f"Tuning: {name}" in text
    assert ("0.1 $\\to$ 1.25" if fmt == "latex" else "0.1 → 1.25") in text
    assert "1.333" in text


def test_json_has_every_number_and_no_infinity() -> None:
    told = json.loads(render(compare(TRIALS + REPORTED, ASKED), "json"))["tuning"]
    assert [each["arm"] for each in told] == ["sgd", "adam"]
    assert (told[0]["trials"], told[0]["selected"], told[1]["edges"]) == (3, {"lr": 0.3}, {"lr": "lowest"})
    assert told[0]["rates"][1]["loss"]["mean"] == 2.0
    assert told[0]["expected"] == ["inf", pytest.approx(7 / 3), 2.0]
    assert (told[0]["settings"], told[0]["selection_loss"]) == ("lr=0.3", 2.0)
    assert json.loads(render(compare(REPORTED, question("sgd", "adam")), "json"))["tuning"] == []
