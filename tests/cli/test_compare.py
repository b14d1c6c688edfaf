"""`clipbench compare` and `merge` as they are typed, over folders that a store wrote."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli.front import Answer, Ask, asking, stored
from judging.made import ending, quickstart, record, run, trials, tuning, with_rows

from clipbench import store
from clipbench.measurements import Measurement, Measurements
from clipbench.questions import Question
from clipbench.records import Change, Record
from clipbench.report.render import FORMATS

QUESTION = Question("quickstart", "Is it?", ("sgd", "sgd+clip", "adam"), "sgd", 3.3)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return asking(monkeypatch, capsys)


def written(records: list[Record], results: str, *, question: Question = QUESTION) -> Path:
    return stored(records, Path(results), question=question)


def rows(answer: Answer) -> list[dict[str, object]]:
    assert answer.code == 0, answer.err
    found: list[dict[str, object]] = json.loads(answer.out)["rows"]
    return found


@pytest.mark.parametrize("columns", ["0", "00", "abc", "-5", "", "²"])
def test_a_width_that_is_none_is_as_if_it_was_not_given(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    written(quickstart(), "results")
    monkeypatch.setenv("COLUMNS", columns)
    strange = ask("compare", "results")
    monkeypatch.delenv("COLUMNS", raising=False)
    assert strange == ask("compare", "results")
    assert "sgd+clip" in strange.out


@pytest.mark.parametrize("within", ["results", "results/quickstart", "results/quickstart/code_lm"])
def test_the_screen_is_shown_within_a_folder_of_results(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, within: str, tmp_path: Path
) -> None:
    written(quickstart(), "results", question=replace(QUESTION, command=("quickstart",)))
    monkeypatch.chdir(within)
    answer = ask("compare", ".")
    assert answer.code == 0, answer.err
    assert f"clipbench run quickstart --seeds 3..6 -o {tmp_path}/results-new" in answer.out


def test_runs_of_the_plan_that_are_missing_are_resumed_first(ask: Ask) -> None:
    keys = (*(each.identity for each in quickstart()), "missing")
    written(quickstart(), "results", question=replace(QUESTION, command=("quickstart", "--quick"), keys=keys))
    answer = ask("compare", "results")
    assert "1 of 10 planned runs is missing or unfinished. This resumes them:" in answer.out
    assert "\n  clipbench run quickstart --quick -o results\n" in answer.out
    assert "New seeds" not in answer.out


@pytest.mark.parametrize("command", ["compare", "audit", "export --to csv"])
@pytest.mark.parametrize(
    "within", ["results/quickstart", "results/quickstart/code_lm", "results/quickstart/code_lm/sgd"]
)
def test_a_command_works_within_the_folder_of_results(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, command: str, within: str
) -> None:
    written(quickstart(), "results")
    monkeypatch.chdir(within)
    assert ask(*command.split(), ".").code in (0, 1)


def test_each_option_does_what_it_says(ask: Ask) -> None:
    written(quickstart(), "results")
    plain = rows(ask("compare", "results", "--format", "json"))
    assert [row["arm"] for row in plain] == ["sgd", "sgd+clip", "adam"]
    early = rows(ask("compare", "results", "--format", "json", "--at", "50"))
    assert [row["final_loss"] for row in early] == [4.0, pytest.approx(3.4), 3.0]
    half = rows(ask("compare", "results", "--format", "json", "--at", "25%"))
    assert half == rows(ask("compare", "results", "--format", "json", "--at", "0.25")) == early
    steps = rows(ask("compare", "results", "--format", "json", "--metric", "steps", "--threshold", "9"))
    assert steps[1]["contrast"] == pytest.approx(-0.405465)
    assert steps[1]["verdict"] == "equivalent"
    for metric, pairs in (("sharpness", [None, 3, 0]), ("sharpness@sgd", [None, 0, 0])):
        recorded = rows(ask("compare", "results", "--format", "json", "--metric", metric))
        assert [row["contrast_pairs"] for row in recorded] == pairs
    turned = rows(ask("compare", "results", "--format", "json", "--sort", "-final_loss", "--baseline", "adam"))
    assert [row["arm"] for row in turned] == ["sgd", "sgd+clip", "adam"]
    assert turned[2]["contrast"] is None
    twice = rows(ask("compare", "results", "--format", "json", "--target", "3.45", "--consecutive", "2"))
    assert [row["steps_to_target"] for row in twice] == ["inf", 50, 50]
    by_arm = ask("compare", "results", "--format", "markdown", "--by", "arm").out
    assert by_arm.index("sgd ·") < by_arm.index("\n\nadam\n\n")


def test_one_section_may_be_asked_for_in_any_format(ask: Ask) -> None:
    written(quickstart(), "results")
    race = ask("compare", "results", "--section", "race", "--format", "csv")
    assert race.out.splitlines()[0].startswith("arm,speed_up_steps,")
    assert len(race.out.splitlines()) == 4
    told = ask("compare", "results", "--format", "csv").err
    assert [name in told for name in ("--section race", "--section matched", "--section shared")] == [True, True, False]
    matched = ask("compare", "results", "--section", "matched")
    assert matched.out.startswith("At the same loss\n")
    assert "minus sgd" not in matched.out


@pytest.mark.parametrize("fmt", FORMATS)
def test_how_arms_were_tuned_may_be_asked_for_alone(ask: Ask, fmt: str) -> None:
    asked = replace(QUESTION, tuning=tuning({"adam": [0.001, 0.003]}, selected={"adam": 0.003}))
    written([*quickstart(), *trials("adam", {0.001: 2.75, 0.003: 2.5})], "results", question=asked)
    alone = ask("compare", "results", "--section", "tuning", "--format", fmt)
    assert alone.code == 0
    assert "adam" in alone.out
    assert "2.5" in alone.out
    assert "sgd" not in alone.out
    if fmt not in ("csv", "json"):
        assert alone.out.strip() in ask("compare", "results", "--full", "--format", fmt).out
    assert "--section tuning" in ask("compare", "results", "--format", "csv").err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--at", "soon"], 2, "'soon' is neither a step such as 100 nor a share such as 50% or 0.5"),
        (["--at", "9999"], 2, "no run has a step 9999"),
        (["--at", "150%"], 2, "there is no 150 % of the budget"),
        (["--metric", "speed"], 2, "no run has a quantity 'speed'\n  the nearest: seconds, "),
        (["--metric", "sharpness@lion"], 2, "directional_sharpness along 'lion'"),
        (["--metric", "train_seconds@"], 2, "train_seconds along ''"),
        (["--sort", "speed"], 2, "there is no column 'speed' to sort by"),
        (["--threshold", "-1"], 2, "the threshold is -1.0"),
        (["--consecutive", "0"], 2, "0 evaluations in a row"),
        (["--reference", "lion"], 2, "no arm or ghost is called 'lion'"),
        (["--baseline", "lion"], 2, "no arm is called 'lion'"),
        (["--target", "nan"], 2, "the target is nan"),
        (["--section", "rase"], 2, "'rase' is not one of"),
        (["--section", "expected"], 2, "'expected' is not one of 'race', 'matched', 'shared', 'tuning'"),
        (["--by", "seed"], 2, "'seed' is not one of"),
    ],
)
def test_what_makes_no_sense_is_a_clear_error(ask: Ask, words: list[str], code: int, said: str) -> None:
    written(quickstart(), "results")
    answer = ask("compare", "results", *words)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err


def test_empty_folders_are_undecided(ask: Ask) -> None:
    Path("results").mkdir()
    assert ask("compare", "results").code == 3
    assert "no runs to compare in results" in ask("compare", "results").err
    assert ask("merge", "results", "-o", "out").code == 3
    assert not Path("out").exists()


def test_several_folders_of_one_spec_are_one_table(ask: Ask) -> None:
    """Two machines, two seeds here and one there, each with its own part of the plan."""
    records = quickstart()
    keys = {seed: tuple(one.run.key for one in records if one.run.seed == seed) for seed in range(3)}
    written([one for one in records if one.run.seed < 2], "a", question=replace(QUESTION, keys=keys[0] + keys[1]))
    written([one for one in records if one.run.seed == 2], "b", question=replace(QUESTION, keys=keys[2]))
    both = rows(ask("compare", "a", "b", "--format", "json"))
    assert [row["seeds_finished"] for row in both] == [3, 3, 2]
    merged = ask("merge", "a", "b", "-o", "out")
    assert (merged.code, merged.out) == (0, "out\n")
    assert "9 runs copied, 0 there already" in merged.err
    assert merged.err.endswith("next: clipbench compare out\n")
    assert rows(ask("compare", "out", "--format", "json")) == both
    question = store.read_question(Path("out/quickstart"))
    assert question is not None
    assert set(question.keys) == {one.run.key for one in records}


def test_folders_that_ask_for_different_things_are_said_and_the_first_is_answered(ask: Ask) -> None:
    records = quickstart()
    written(records[:6], "a")
    written(records[6:], "b", question=replace(QUESTION, target=1.0))
    answer = ask("compare", "a", "b", "--format", "json")
    assert "the folders of quickstart have different questions: the first question is used" in answer.err
    assert json.loads(answer.out)["target"] == 3.3


def test_different_specs_are_different_tables(ask: Ask) -> None:
    records = quickstart()
    written(records, "a")
    others = [replace(one, run=replace(one.run, spec="other")) for one in records]
    written(others, "a", question=replace(QUESTION, spec="other", text="Or is it not?"))
    both = ask("compare", "a", "--format", "markdown")
    assert "Is it?" in both.out
    assert "Or is it not?" in both.out
    assert ask("compare", "a", "--format", "csv").code == 2


def test_runs_that_differ_under_one_key_are_not_merged(ask: Ask) -> None:
    records = quickstart()
    written(records[:1], "a")
    written([replace(records[0], measurements=Measurements.of(records[0].measurements[:2]))], "b")
    answer = ask("merge", "a", "b", "-o", "out")
    assert answer.code == 2
    assert "nothing was merged: the same run differs between" in answer.err
    assert not Path("out").exists()


def test_what_was_not_merged_is_named(ask: Ask) -> None:
    records = quickstart()
    written([*records[:2], replace(records[2], outcome=None)], "a")
    broken = store.folder_of(records[0].run, Path("a")) / store.RUN
    broken.write_text('{"format": 99}')
    answer = ask("merge", "a", "-o", "out")
    assert answer.code == 0
    assert f"not merged: {broken}: this run has format 99" in answer.err
    assert "is not finished" in answer.err
    assert "1 run copied" in answer.err


def test_runs_of_another_format_are_named_and_the_rest_is_compared(ask: Ask) -> None:
    records = quickstart()
    written(records, "a")
    odd = store.folder_of(records[0].run, Path("a")) / store.RUN
    odd.write_text(json.dumps(json.loads(odd.read_text()) | {"format": 99}))
    answer = ask("compare", "a", "--format", "json")
    assert f"not read: {odd}: this run has format 99; this clipbench reads formats 1 and 2" in answer.err
    assert [row["seeds_finished"] for row in rows(answer)] == [2, 3, 2]
    assert json.loads(answer.out)["caveats"][0] == f"1 unreadable run is left out: {odd.parent}."


def test_where_no_run_has_ended_nothing_is_decided(ask: Ask) -> None:
    waiting = [replace(each, outcome=None) for each in quickstart()]
    written(waiting, "a")
    answer = ask("compare", "a")
    assert (answer.code, "no run has ended: there is nothing to compare yet" in answer.err) == (3, True)
    assert "Not finished, so in no mean" in answer.out


def risen() -> list[Record]:
    return [ending(each, change=Change(5.5, 6.0, 0.01)) for each in quickstart() if each.run.arm.name == "sgd"]


@pytest.mark.parametrize(("share", "status"), [(0.05, "diverged"), (0.1, "finished")])
def test_the_share_beside_the_runs_decides_how_their_ends_are_read(ask: Ask, share: float, status: str) -> None:
    """Wherever a status is said; and no run is made again for it."""
    written(risen(), "results", question=replace(QUESTION, arms=("sgd",), diverged=share))
    listed = json.loads(ask("list", "runs", "results", "--json").out)
    assert {run["status"] for run in listed} == {status}
    shown = ask("show", listed[0]["folder"]).out
    assert status in next(line for line in shown.splitlines() if line.strip().startswith("status"))
    [row] = rows(ask("compare", "results", "--format", "json"))
    assert row["seeds"][status] == [0, 1, 2]  # type: ignore[index]
    if status == "diverged":
        assert "the evaluation loss ended at 6, above its start at 5.5 by more than 5 %" in shown


def test_a_run_without_a_question_is_read_by_the_default_and_one_that_is_broken_is_named(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first, *_] = risen()
    stored([ending(first, change=Change(5.0, 6.0, 0.01))], Path("results"))
    folder = store.folder_of(first.run, Path("results"))
    assert "above its start at 5 by more than 10 %" in ask("show", folder).out
    Path("results", "quickstart", store.QUESTION).write_text("{}")
    said = ask("show", folder)
    assert (said.code, "not read:" in said.err) == (0, True)
    assert "above its start at 5 by more than 10 %" in said.out
    monkeypatch.chdir(folder)
    assert "above its start" in ask("show", ".").out


def versions_of(losses: dict[str, list[float]], results: str) -> None:
    written(
        [
            record(run(arm, seed=seed), [5.0, loss])
            for arm, of_arm in losses.items()
            for seed, loss in enumerate(of_arm)
        ],
        results,
    )


def test_two_folders_of_the_same_arms_are_put_side_by_side_under_what_tells_them_apart(ask: Ask) -> None:
    versions_of({"sgd": [3.0, 3.2, 3.1], "adam": [2.5, 2.6, 2.4]}, "old/results")
    versions_of({"sgd": [3.0, 3.2, 3.1], "adam": [2.8, 2.9, 2.75]}, "new/results")
    answer = ask("compare", "old/results", "new/results", "--format", "csv")
    assert answer.code == 0
    found = {row["arm"]: (row["verdict"], row["folder"]) for row in csv.DictReader(io.StringIO(answer.out))}
    assert found == {"sgd": ("identical", "new"), "adam": ("higher", "new")}
    assert "final loss in new against old" in ask("compare", "old/results", "new/results").out
    assert ask("compare", "old/results", "new/results", "--section", "race").code == 2


def test_two_folders_of_other_seeds_are_parts_of_one_whole(ask: Ask) -> None:
    records = quickstart()
    written([each for each in records if each.run.seed < 2], "one")
    written([each for each in records if each.run.seed == 2], "two")
    found = list(csv.DictReader(io.StringIO(ask("compare", "one", "two", "--format", "csv").out)))
    assert [int(row["seeds_finished"]) + int(row["seeds_diverged"]) for row in found] == [3, 3, 3]


def test_any_quantity_may_be_a_column_and_the_metric(ask: Ask) -> None:
    made = [
        with_rows(each, [Measurement(50, 0.0, "", "gradient_norm", 2.0), Measurement(50, 0.0, "lion", "angle", 0.5)])
        for each in quickstart()
    ]
    written(made, "results")
    words = ("--columns", "gradient_norm,angle@lion", "--metric", "angle@lion", "--format", "csv")
    shown = ask("compare", "results", *words)
    row = next(csv.DictReader(io.StringIO(shown.out)))
    assert float(row["gradient_norm"]) == pytest.approx(2.0)
    assert float(row["angle@lion"]) == 0.5
    assert (row["gradient_norm_error"], row["gradient_norm_seeds"]) == ("1.0", "3")
    for full in ([], ["--full"]):
        heading = ask("compare", "results", "--columns", "gradient_norm", *full).out.partition("sgd+clip  ")[0]
        assert "gradient_norm" in heading
        assert "steps to" not in heading
    unknown = ask("compare", "results", "--columns", "gradient_nrm")
    assert (unknown.code, unknown.out) == (2, "")
    assert "the nearest: gradient_norm" in unknown.err


def test_quantities_are_listed_with_what_they_mean_and_those_that_runs_recorded(ask: Ask) -> None:
    written([with_rows(each, [Measurement(50, 0.0, "own", "angle", 0.5)]) for each in quickstart()], "results")
    listed = {row["name"]: row for row in json.loads(ask("list", "quantities", "results", "--json").out)}
    assert listed["final_loss"]["better"] == "lower"
    assert listed["steps_to_target"]["aliases"] == ["steps"]
    assert (listed["angle"]["scale"], listed["angle"]["better"]) == ("linear", "neither")
    assert ask("list", "quantities", "nowhere").code == 2
    Path("results").rename("others")
    assert "angle" not in {row["name"] for row in json.loads(ask("list", "quantities", "--json").out)}
