"""What the first screen says to do next: never a number of seeds, nor a command, that nothing supports."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging.made import compared, question, record, run, trial

from clipbench.questions import Question
from clipbench.records import Record
from clipbench.report.further import Origin, advice

SPEC = "q.yaml"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a spec in it."""
    (tmp_path / SPEC).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def losses(**arms: Sequence[float]) -> list[Record]:
    """A run for each final loss."""
    return [record(run(arm, seed=seed), [5.0, loss]) for arm, ends in arms.items() for seed, loss in enumerate(ends)]


def broken(arm: str, seeds: int) -> list[Record]:
    return [record(run(arm, seed=seed), [5.0, 9.0], status="diverged") for seed in range(seeds)]


def said(
    records: list[Record], asks: Question, command: Sequence[str] = (SPEC,), planned: Sequence[str] = (), **asked: Any
) -> tuple[str, str]:
    of = compared(records, asks, **asked)
    return advice(of, of.rows, Origin([Path("results")], records, command, planned))


ADAM = question("sgd", "adam")
SOME = {"sgd": [3.0, 3.2, 3.1], "adam": [2.7, 3.1, 2.9]}


def test_one_seed_is_a_start_without_a_number_that_would_decide() -> None:
    sentence, command = said(losses(sgd=[3.0], adam=[2.0]), ADAM)
    assert sentence == "One seed shows no spread: five are a start (5 are 10 runs, about 30 s)"
    assert command == "clipbench run q.yaml --seeds 1..5 -o results-new"


def test_a_quick_look_leads_to_the_whole_spec() -> None:
    quick = (SPEC, "--set", "a=--quick", "--quick", "--seeds", "0", "--filter", "ad*", "--threads", "2")
    sentence, command = said(losses(sgd=[3.0], adam=[2.0]), ADAM, quick)
    assert "Without --quick" in sentence
    assert command == "clipbench run q.yaml --set a=--quick --threads 2 -o results"


@pytest.mark.parametrize(
    ("records", "asked", "expected"),
    [
        (
            [*broken("sgd", 3), *losses(adam=[2.0, 2.1, 2.2])],
            {},
            "The baseline sgd diverged on all 3 seeds, so nothing is compared with it: another learning rate, or "
            "another arm (--baseline ARM).",
        ),
        (
            losses(adam=[2.0, 2.1]),
            {},
            "The baseline sgd has no run: run it, or compare with another arm (--baseline ARM).",
        ),
        (
            losses(**SOME),
            {"metric": "directional_sharpness"},
            "No finished run has a value of sharpness: compare another --metric.",
        ),
        (
            losses(**SOME),
            {"metric": "steps_to_target", "target": 0.1},
            "Fewer than two seeds tell adam from sgd, as the target was missed: give an easier one (--target LOSS) or "
            "a longer budget.",
        ),
    ],
)
def test_without_pairs_there_is_no_number_of_seeds_and_no_command(
    records: list[Record], asked: dict[str, Any], expected: str
) -> None:
    assert said(records, ADAM, **asked) == (expected, "")


def test_a_baseline_that_is_missing_on_one_of_two_tasks_is_told_beside_what_the_other_task_needs() -> None:
    elsewhere = [record(run("adam", seed=seed, task="digits"), [5.0, 2.0 + seed]) for seed in range(3)]
    sentence, command = said([*losses(**SOME), *elsewhere], ADAM)
    assert sentence.startswith("The baseline sgd has no run on digits: run it, or compare with another arm")
    assert re.search(r" New seeds alone would decide \(80 % power; .*\): \d+ for adam on code_lm$", sentence)
    assert command.startswith("clipbench run q.yaml --seeds 3..")


def test_a_planned_run_that_tuned_its_arm_as_well_counts_as_reported() -> None:
    records = [replace(each, run=replace(each.run, trial_of=each.run.arm.name)) for each in losses(**SOME)]
    source = Origin([Path("results")], records, (SPEC,), [each.identity for each in records])
    assert source.reported == records


def test_where_no_run_has_ended_the_same_command_resumes_them() -> None:
    records = [record(run(arm), [5.0], status="unfinished") for arm in ("sgd", "adam")]
    sentence, command = said(records, ADAM)
    assert sentence == "2 of 2 planned runs are missing or unfinished. This resumes them:"
    assert command == "clipbench run q.yaml -o results"


def test_runs_that_are_planned_and_missing_come_before_new_seeds() -> None:
    records = losses(**SOME)
    keys = [*(each.identity for each in records), "another"]
    words = (SPEC, "--seeds", "0..2", "--filter", "adam")
    sentence, command = said(records, ADAM, words, keys)
    assert sentence == "1 of 7 planned runs is missing or unfinished. This resumes them:"
    assert command == "clipbench run q.yaml --seeds 0..2 -o results"


def test_runs_of_several_results_folders_have_no_single_command_that_resumes_them() -> None:
    records = losses(**SOME)
    records[0] = replace(records[0], folder=records[0].folder.replace("results", "others"))
    sentence, command = said(records, ADAM, planned=["another"])
    expected = "1 of 1 planned run is missing or unfinished: the same clipbench run of the spec q.yaml, into the same "
    assert sentence == f"{expected}folder, resumes them."
    assert command == ""


def test_new_seeds_need_all_arms() -> None:
    words = (SPEC, "--seeds", "0,2", "--filter", "adam", "--device", "cpu")
    _, command = said(losses(**SOME), ADAM, words)
    assert command.startswith("clipbench run q.yaml --device cpu --seeds 3..")
    assert "--filter" not in command


def test_more_than_20_new_seeds_are_only_a_number() -> None:
    sentence, command = said(losses(sgd=[3.0, 3.2, 3.1], adam=[3.0, 3.1, 3.15]), ADAM)
    [needed] = [int(word) for word in sentence.split() if word.isdigit() and word != "80"]
    assert needed > 20
    assert sentence == f"New seeds alone would decide (80 % power): {needed} for adam"
    assert command == ""


def test_new_seeds_go_to_a_folder_that_is_free(here: Path) -> None:
    (here / "results-new").mkdir()
    (here / "results-new-2").mkdir()
    _, command = said(losses(**SOME), ADAM)
    assert command.endswith(" -o results-new-3")


@pytest.mark.parametrize("inside", ["results", "results/quickstart"])
def test_inside_a_results_folder_the_new_folder_lies_beside_it(
    inside: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs' folders are then named from there, as `clipbench compare .` reads them."""
    within = here / inside
    within.mkdir(parents=True)
    (within / SPEC).touch()
    monkeypatch.chdir(within)
    records = [replace(each, folder=str(Path(each.folder).relative_to(inside))) for each in losses(**SOME)]
    _, command = said(records, ADAM)
    assert command.endswith(f" -o {here}/results-new")
    whole = [replace(each, folder=str(here / each.folder)) for each in losses(**SOME)]
    assert said(whole, ADAM)[1] == command


def test_the_cost_of_a_tuned_spec_says_that_trials_are_not_in_it() -> None:
    tried = [record(trial("adam", lr=0.1, seed=9), [5.0, 3.0])]
    sentence, _ = said([*losses(**SOME), *tried], ADAM)
    assert " without the tuning trials): 5 for adam" in sentence


def test_a_spec_that_is_not_here_is_named_and_has_no_command() -> None:
    sentence, command = said(losses(**SOME), ADAM, ("else where/q.yaml",))
    assert ", with --seeds 3.." in sentence
    assert " of the spec 'else where/q.yaml'): 5 for adam" in sentence
    assert command == ""
    assert said(losses(**SOME), ADAM, ("quickstart",))[1].startswith("clipbench run quickstart --seeds")


def test_a_spec_whose_name_begins_like_an_option_is_still_a_file(here: Path) -> None:
    (here / "-n.yaml").touch()
    assert said(losses(**SOME), ADAM, ("-n.yaml",))[1].startswith("clipbench run ./-n.yaml --seeds")


def test_where_all_is_decided_nothing_is_to_be_done() -> None:
    assert said(losses(sgd=[3.0, 3.1, 3.2], adam=[2.0, 2.1, 2.2]), ADAM) == ("", "")
