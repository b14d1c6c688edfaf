"""How the tuning of arms is shown: the same table in every format."""

import math
from dataclasses import replace

import pytest
from judging.made import question, record, run, trials, tuning, with_metric
from report.shown import cells, data, headings, lines, text

from clipbench.judging.compare import compare
from clipbench.judging.comparison import Comparison
from clipbench.judging.tuning.summary import ArmTuning, tunings
from clipbench.report.compare import document, section, sections
from clipbench.report.render import Format
from clipbench.report.selection import selection_line
from clipbench.report.tuning import table

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


def rows(*tunings: ArmTuning) -> list[list[str]]:
    """The cells that people read."""
    return cells(table(of(*tunings)))


def written(*tunings: ArmTuning) -> list[dict[str, str]]:
    """What a program reads."""
    return lines(section(of(*tunings), "tuning"))


def test_what_was_selected_is_told_with_its_trials_its_loss_its_edges_and_the_loss_by_rate() -> None:
    assert rows(*FOUND) == [
        ["sgd", "3, 1 diverged", "lr=0.3", "2 ± ?", "no", "0.1 → 3, 0.3 → 2, 1 → x", "0.3"],
        ["adam", "3", "lr=0.1", "1.25 ± ?", "lr (lowest tried)", "0.1 → 1.25, 0.3 → 1.5, 1 → 2.5", "0.1"],
    ]
    sgd, adam = written(*FOUND)
    assert (sgd["task"], sgd["arm"], sgd["trials"], sgd["broken"], sgd["crashed"]) == ("code_lm", "sgd", "3", "1", "0")
    assert (sgd["settings"], sgd["selection_loss"], sgd["not_bracketed"]) == ("lr=0.3", "2.0", "")
    assert (sgd["rates_tried"], sgd["rate_losses"]) == ("0.1;0.3;1.0", "3.0;2.0;nan")
    assert sgd["expected"] == "inf;2.333333333333333;2.0"
    assert (adam["not_bracketed"], adam["good_low"], adam["good_high"]) == ("lr", "0.1", "0.1")
    wide = tunings(trials("sgd", dict(zip(GRID, (2.05, 2.0, 2.09), strict=True))), ASKED)
    assert rows(*wide)[0][-1] == "0.1 to 1 (10×)"


def test_trials_that_crashed_are_told_from_those_that_diverged_and_what_becomes_of_them() -> None:
    sgd, adam = FOUND
    crashed = replace(sgd, broken=2, crashed=1)
    assert rows(crashed)[0][1] == "3, 1 diverged, 1 failed"
    assert "A failed trial ranks last" in table(of(crashed)).note
    assert "spent" not in table(of(sgd, adam)).note


def test_a_search_that_goes_on_is_shown_as_far_as_it_is() -> None:
    found = tunings(TRIALS[:2], replace(ASKED, tuning=tuning({"sgd": GRID, "adam": GRID})))
    assert rows(*found)[0][:5] == ["sgd", "3, 1 not ended", "–", "–", "–"]
    assert rows(*found)[1][5:] == ["–", "–"]
    assert (written(*found)[0]["settings"], written(*found)[0]["expected"]) == ("", "")


def test_where_nothing_was_tuned_there_is_no_section() -> None:
    assert "tuning" not in {made.name for made in sections(of())}
    assert written() == []


def test_arms_on_several_tasks_are_told_apart() -> None:
    twice = (*FOUND, replace(FOUND[0], task="digits"))
    assert [row[:2] for row in rows(*twice)] == [["code_lm", "sgd"], ["code_lm", "adam"], ["digits", "sgd"]]


@pytest.mark.parametrize("fmt", ["table", "markdown", "latex"])
def test_every_format_for_people_has_the_table(fmt: Format) -> None:
    shown = text(document(compare(TRIALS + REPORTED, ASKED)), fmt)
    assert "Tuning: what was selected" in shown
    assert ("0.1 $\\to$ 1.25" if fmt == "latex" else "0.1 → 1.25") in shown


def test_json_has_every_number_and_no_infinity() -> None:
    told = data(document(compare(TRIALS + REPORTED, ASKED)))["tuning"]
    assert [each["arm"] for each in told] == ["sgd", "adam"]
    assert (told[0]["trials"], told[0]["selected"], told[1]["edges"]) == (3, {"lr": 0.3}, {"lr": "lowest"})
    assert told[0]["rates"][1]["loss"]["mean"] == 2.0
    assert told[0]["expected"] == ["inf", pytest.approx(7 / 3), 2.0]
    assert (told[0]["settings"], told[0]["selection_loss"]) == ("lr=0.3", 2.0)
    assert data(document(compare(REPORTED, question("sgd", "adam"))))["tuning"] == []


def test_of_a_selection_by_a_metric_the_metric_is_told_beside_the_loss() -> None:
    made = [with_metric(each, [0.1, 0.2 + 0.1 * place]) for place, each in enumerate(TRIALS)]
    asked = replace(ASKED, tuning=tuning({"sgd": GRID[:2]}, selected={"sgd": 0.3}, select="accuracy", better="higher"))
    [found] = tunings(made, asked)
    shown = table(of(found))
    assert shown.title == "Tuning: what was selected by accuracy"
    assert cells(shown)[0][:6] == ["sgd", "2", "lr=0.3", "0.3 ± ?", "2 ± ?", "lr (highest tried)"]
    assert "accuracy is too optimistic, because the setting was selected by it" in shown.note
    assert written(found)[0]["selection_value"] == "0.30000000000000004"
    assert headings(shown)[-2:] == ["rate → accuracy", "good rates"]
    assert cells(shown)[0][-2:] == ["0.1 → 0.2, 0.3 → 0.3", "0.3"]
    assert "Rate → accuracy: the best of the trials" in shown.note
    assert "loss" not in shown.note
    assert (written(found)[0]["rate_values"], written(found)[0]["rate_losses"]) == (
        "0.2;0.30000000000000004",
        "3.0;2.0",
    )
    assert selection_line(found).startswith(
        "sgd on code_lm: selected lr=0.3 from 2 trials, accuracy 0.3, loss 2; lr is"
    )
    [bare] = tunings(TRIALS, replace(asked, tuning=tuning({"sgd": GRID[:2]}, select="accuracy", better="higher")))
    assert selection_line(bare) == (
        "sgd on code_lm: nothing selected (none of 2 trials finished with a value of accuracy)"
    )


def test_a_trial_without_a_value_is_no_diverged_trial() -> None:
    made = [with_metric(each, [0.1, value]) for each, value in zip(TRIALS[:2], (0.2, math.nan), strict=True)]
    asked = replace(ASKED, tuning=tuning({"sgd": GRID[:2]}, select="accuracy", better="higher"))
    [row] = rows(*tunings(made, asked))
    assert row[1] == "2, 1 without accuracy"
    assert row[-2] == "0.1 → 0.2, 0.3 → –"


def test_the_rates_of_groups_are_told_group_by_group() -> None:
    [sgd, *_] = FOUND
    rates = [replace(each, setting=f"groups.{group}.lr") for group in ("hidden", "rest") for each in sgd.rates[:2]]
    grouped = replace(sgd, rates=tuple(rates), good=None)
    assert rows(grouped)[0][-2:] == ["hidden.lr: 0.1 → 3, 0.3 → 2; rest.lr: 0.1 → 3, 0.3 → 2", "–"]
    assert written(grouped)[0]["rate_settings"] == "groups.hidden.lr;groups.hidden.lr;groups.rest.lr;groups.rest.lr"
    assert written(sgd)[0]["rate_settings"] == "lr;lr;lr"


def test_by_the_loss_the_value_is_no_column_of_its_own_for_people() -> None:
    shown = table(of(*FOUND))
    assert shown.title == "Tuning: what was selected"
    assert "selection_value" not in [column.name for column in shown.visible]
    assert [row["selection_value"] for row in written(*FOUND)] == ["2.0", "1.25"]
