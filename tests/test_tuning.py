"""Tuning as a user meets it: trials first, what they select, then the runs that are reported."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from console import Done, clipbench, contents, hashes, records, workplace

pytestmark = pytest.mark.slow  # whole suites are run, in processes of their own

COMPARED = "results/rates"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workplace(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def planned(here: Path) -> Done:
    return clipbench(here, "plan", "rates.yaml")


@pytest.fixture(scope="module")
def first(here: Path, planned: Done) -> Done:
    assert planned.returncode == 0
    return clipbench(here, "run", "rates.yaml")


def question(folder: Path) -> Any:
    return dict(json.loads((folder / COMPARED / "question.json").read_text()))


def test_a_plan_shows_trials_and_their_cost_before_anything_runs(planned: Done) -> None:
    lines = [" ".join(line.split()) for line in planned.stdout.splitlines()]
    assert "quadratic sgd 30 steps 1000 3 90 steps 3 0 3" in lines
    assert any(line.startswith("quadratic sgd selected") for line in lines)
    assert any(line.startswith("quadratic fixed as written") for line in lines)
    assert "17 runs: 0 reused, 17 to make" in lines


def test_what_was_selected_is_said_and_run_on_the_reported_seeds(here: Path, first: Done) -> None:
    """One rate of adam diverges and ranks last; all of wild's do, so that there is nothing of it to report."""
    assert first.returncode == 0
    assert "9 trial runs in" in first.stderr
    assert "sgd on quadratic: selected lr=0.004 from 3 trials" in first.stderr
    assert "lr is the highest value tried: not bracketed" in first.stderr
    assert "wild on quadratic: nothing selected (none of 3 trials finished)" in first.stderr
    assert "--extend-grid adds up to" in first.stderr
    made = records(here / "results")
    reported = {name: record for name, record in made.items() if not record.run.trial_of}
    assert set(reported) == {f"quadratic/{arm}/seed {seed}" for arm in ("sgd", "adam", "fixed") for seed in (0, 1)}
    assert reported["quadratic/sgd/seed 0"].run.arm.optimizer.options["lr"] == 0.004
    trials = [record.run for record in made.values() if record.run.trial_of]
    assert {(run.seed, run.budget, run.measure.probes) for run in trials} == {(1000, trials[0].budget, ())}
    assert {run.trial_of for run in trials} == {"sgd", "adam", "wild"}


@pytest.mark.usefixtures("first")
def test_the_second_run_does_nothing(here: Path) -> None:
    before = contents(here / "results")
    again = clipbench(here, "run", "rates.yaml")
    assert again.returncode == 0
    assert "nothing to do: all 9 trial runs of rates are there already" in again.stderr
    assert "nothing to do: all 6 runs of rates are there already" in again.stderr
    assert contents(here / "results") == before


@pytest.mark.usefixtures("first")
def test_a_plan_afterwards_shows_what_was_selected(here: Path) -> None:
    arms = json.loads(clipbench(here, "plan", "rates.yaml", "--json").stdout)
    told = {(arm["arm"], arm["trials"]): (arm["settings"], arm["missing"]) for arm in arms}
    assert told["sgd", 0] == ("lr=0.004", 0)
    assert told["fixed", 0] == ("as written", 0)
    assert told["sgd", 3] == ("", 0)
    assert ("wild", 0) not in told


@pytest.mark.usefixtures("first")
def test_a_table_has_the_reported_arms_and_tells_of_the_trials_apart(here: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(clipbench(here, "compare", COMPARED, "--format", "csv").stdout)))
    assert [row["arm"] for row in rows] == ["sgd", "adam", "fixed"]
    told = json.loads(clipbench(here, "compare", COMPARED, "--format", "json").stdout)
    assert [(each["arm"], each["trials"], each["broken"]) for each in told["tuning"]] == [
        ("sgd", 3, 0),
        ("adam", 3, 1),
        ("wild", 3, 3),
    ]
    table = clipbench(here, "compare", COMPARED, "--full").stdout
    assert "Tuning: what was selected" in table


@pytest.mark.usefixtures("first")
def test_an_extended_grid_gives_every_arm_as_many_trials(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    trials = {name: found for name, found in hashes(tmp_path / "results").items() if "[" in name}
    extended = clipbench(tmp_path, "run", "rates.yaml", "--extend-grid")
    assert extended.returncode == 0
    found = {each["arm"]: each for each in question(tmp_path)["tuning"]["arms"]}
    assert len(found["sgd"]["trials"]) == len(found["adam"]["trials"]) > 3
    assert len(found["wild"]["trials"]) == 3  # nothing of it is reported
    assert found["sgd"]["trials"][3]["settings"] == {"lr": 0.008}
    assert trials.items() <= hashes(tmp_path / "results").items()
    again = clipbench(tmp_path, "run", "rates.yaml")
    assert again.stderr.count("nothing to do") == 2


def test_an_interrupted_tuning_goes_on_with_what_is_missing(here: Path, first: Done, tmp_path: Path) -> None:
    assert first.returncode == 0
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    before = hashes(tmp_path / "results")
    for folder in (tmp_path / COMPARED / "quadratic").glob("sgd*"):
        shutil.rmtree(folder)
    clipbench(tmp_path, "run", "rates.yaml", "--filter", "adam")
    assert question(tmp_path)["tuning"]["arms"][0]["selected"] is None
    done = clipbench(tmp_path, "run", "rates.yaml")
    assert "9 runs: 6 reused, 3 to make" in done.stderr
    assert hashes(tmp_path / "results") == before


@pytest.fixture(scope="module")
def crashed(here: Path) -> Done:
    return clipbench(here, "run", "fragile.yaml")


def selected(folder: Path) -> dict[str, object]:
    tuned = json.loads((folder / "results/fragile/question.json").read_text())["tuning"]["arms"]
    assert {len(each["trials"]) for each in tuned} == {3}
    return {each["arm"]: each["selected"]["lr"] for each in tuned}


def test_a_trial_that_crashed_is_spent_and_the_best_of_the_others_is_selected(here: Path, crashed: Done) -> None:
    assert crashed.returncode == 4
    assert selected(here) == {"sgd": 0.004, "fragile": 0.002}
    assert "fragile on quadratic: selected lr=0.002 from 3 trials, loss " in crashed.stderr
    assert "; 1 trial crashed\n" in crashed.stderr  # 0.004 was tried, and brackets it
    assert "1 trial run crashed and ranks last; why: clipbench show 'results/fragile/" in crashed.stderr
    table = clipbench(here, "compare", "results/fragile", "--section", "tuning", "--format", "csv").stdout
    told = {row["arm"]: (row["broken"], row["crashed"]) for row in csv.DictReader(io.StringIO(table))}
    assert told == {"sgd": ("0", "0"), "fragile": ("1", "1")}
    audited = json.loads(clipbench(here, "audit", "results/fragile", "--format", "json").stdout)
    [dropped] = [rule for rule in audited[0]["rules"] if rule["rule"] == "nothing dropped"]
    assert (dropped["verdict"], dropped["runs"]) == ("warn", ["quadratic/fragile[lr=0.004]/seed 1000"])
    assert dropped["finding"].startswith("1 trial run of fragile on quadratic crashed: the arm's setting was")


def test_a_trial_that_crashed_is_not_made_again_under_results_that_are_reported(
    here: Path, crashed: Done, tmp_path: Path
) -> None:
    """It would go well now, and be selected."""
    assert crashed.returncode == 4
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path / "results")
    (tmp_path / "mended").touch()
    assert "10 runs: 10 reused, 0 to make" in clipbench(tmp_path, "plan", "fragile.yaml").stdout
    again = clipbench(tmp_path, "run", "fragile.yaml")
    assert again.returncode == 0
    assert "nothing to do: all 6 trial runs of fragile are there already" in again.stderr
    assert "1 trial run crashed and ranks last" in again.stderr
    assert contents(tmp_path / "results") == before


def test_whoever_deletes_a_crashed_trial_has_it_made_anew_and_the_selection_follows(
    here: Path, crashed: Done, tmp_path: Path
) -> None:
    assert crashed.returncode == 4
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "results/fragile/quadratic/fragile[lr=0.004]")
    audited = json.loads(clipbench(tmp_path, "audit", "results/fragile", "--format", "json").stdout)
    [dropped] = [rule for rule in audited[0]["rules"] if rule["rule"] == "nothing dropped"]
    assert (dropped["verdict"], len(dropped["runs"])) == ("fail", 1)
    assert dropped["finding"] == "1 of 3 trial runs of fragile on quadratic are missing."
    (tmp_path / "mended").touch()
    assert clipbench(tmp_path, "run", "fragile.yaml").returncode == 0
    assert selected(tmp_path) == {"sgd": 0.004, "fragile": 0.004}
    compared = clipbench(tmp_path, "compare", "results/fragile", "--format", "csv")
    assert (
        "2 runs of an earlier version of the spec or its code, or of settings no longer selected (fragile)"
        in compared.stderr
    )


def test_a_trial_that_cannot_be_read_is_set_aside_and_made_anew(here: Path, first: Done, tmp_path: Path) -> None:
    assert first.returncode == 0
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    trial = next((tmp_path / COMPARED / "quadratic" / "sgd[lr=0.001]").iterdir())
    before = set(trial.parent.iterdir())
    (trial / "measurements.csv").write_text("rubbish\n")
    done = clipbench(tmp_path, "run", "rates.yaml")
    assert done.returncode == 0
    [aside] = set(trial.parent.iterdir()) - before
    assert aside.name == f"{trial.name}.set-aside-1"
    assert aside.name in done.stderr
    assert (aside / "measurements.csv").read_text() == "rubbish\n"


def test_a_trial_that_left_no_result_is_no_spent_one_and_does_not_keep_other_arms_from_being_run(
    tmp_path: Path,
) -> None:
    """Its process was told to stop, from outside: it goes on when the spec is run again."""
    there = workplace(tmp_path)
    words = ("run", "fragile.yaml", "--set", "optimizers.fragile.use=mine:Stopping")
    done = clipbench(there, *words)
    assert done.returncode == 4
    assert "fragile cannot be tuned yet: quadratic/fragile[lr=0.001]/seed 1000 left no result (" in done.stderr
    assert {name for name, each in records(there / "results").items() if not each.run.trial_of} == {
        "quadratic/sgd/seed 0",
        "quadratic/sgd/seed 1",
    }
    (there / "mended").touch()
    done = clipbench(there, *words)
    assert done.returncode == 0
    assert "6 runs: 3 reused, 3 to make" in done.stderr
    assert "crashed" not in done.stderr


def test_an_arm_of_which_every_trial_crashed_has_them_made_again(tmp_path: Path) -> None:
    """No result stands on them; a package that was missing is a fault to mend, and not a setting to judge."""
    there = workplace(tmp_path)
    words = ("run", "fragile.yaml", "--set", "optimizers.fragile.lr=[0.004, 0.005, 0.006]")
    done = clipbench(there, *words)
    assert done.returncode == 4
    assert "fragile on quadratic: nothing selected (none of 3 trials finished)" in done.stderr
    (there / "mended").touch()
    done = clipbench(there, *words)
    assert done.returncode == 0
    assert "6 runs: 3 reused, 3 to make" in done.stderr
    assert selected(there) == {"sgd": 0.004, "fragile": 0.006}


def test_trials_alone_are_not_compared(here: Path, first: Done, tmp_path: Path) -> None:
    assert first.returncode == 0
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    for folder in (tmp_path / COMPARED / "quadratic").iterdir():
        if "[" not in folder.name:
            shutil.rmtree(folder)
    done = clipbench(tmp_path, "compare", COMPARED)
    assert done.returncode == 3
    assert "has only trials so far (9 runs)" in done.stderr


def test_a_quick_look_and_a_filter_are_tuned_as_well(here: Path, tmp_path: Path) -> None:
    shutil.copy(here / "rates.yaml", tmp_path)
    done = clipbench(tmp_path, "run", "rates.yaml", "--quick", "--filter", "sgd")
    assert done.returncode == 0
    made = records(tmp_path / "results")
    assert {record.run.budget.amount for record in made.values()} == {3.0}
    assert sorted(made) == [
        "quadratic/sgd/seed 0",
        *(f"quadratic/sgd[lr={rate}]/seed 1000" for rate in ("0.001", "0.002", "0.004")),
    ]


GHOSTS = """
task: {use: quadratic, dimension: 8}
optimizers: {sgd: {use: sgd, lr: [0.001, 0.002]}, adam: {use: adam, lr: [0.001, 0.01]}}
budget: {steps: 5}
tuning: {seeds: [7]}
seeds: [0]
measure: {every: 2, probes: [sharpness], ghosts: {along: [sgd]}}
"""


def test_a_filter_that_leaves_out_the_trials_of_ghosts_says_so(tmp_path: Path) -> None:
    """The runs of sgd have adam beside them, at the rate that its trials select."""
    (tmp_path / "spec.yaml").write_text(GHOSTS, encoding="utf-8")
    done = clipbench(tmp_path, "run", "spec.yaml", "--filter", "sgd")
    assert done.returncode == 0
    assert "the runs of sgd wait for the trials of adam: run the spec without --filter" in done.stderr
    assert "next:" not in done.stderr  # there is nothing to compare yet
    there = clipbench(tmp_path, "status", "spec.yaml", "--filter", "sgd")
    assert there.stderr.splitlines()[-1] == "next: clipbench run spec.yaml"
    assert "next: clipbench compare" in clipbench(tmp_path, "run", "spec.yaml").stderr


def test_a_trial_of_an_arm_that_a_filter_keeps_is_named_where_it_left_no_result(tmp_path: Path) -> None:
    """The arms that are left out are no reason: without ghosts no run waits for them."""
    (tmp_path / "spec.yaml").write_text(GHOSTS.partition("measure:")[0], encoding="utf-8")
    (tmp_path / "results" / "spec" / "quadratic").mkdir(parents=True)
    (tmp_path / "results" / "spec" / "quadratic" / "sgd[lr=0.001]").write_text("in the way", encoding="utf-8")
    done = clipbench(tmp_path, "run", "spec.yaml", "--filter", "sgd")
    assert done.returncode == 4
    assert "sgd cannot be tuned yet: quadratic/sgd[lr=0.001]/seed 7 left no result" in done.stderr
    assert "--filter" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "1000"), "arms are tuned on seed 1000, so it cannot be reported"),
        (("--extend-grid", "--filter", "sgd"), "an extension gives every arm a trial"),
        (("--set", "optimizers.sgd.lr=[1, 2]"), "but sgd has 2, adam has 3, wild has 3"),
        (("--set", "tuning.search=halton"), "needs `trials`"),
        (("--set", "tuning.select=steps_to_target"), "there is no `target`"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    there = workplace(tmp_path)
    done = clipbench(there, "run", "rates.yaml", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (there / "results").exists()


def test_a_right_spec_is_told_with_its_trials(here: Path) -> None:
    said = clipbench(here, "validate", "rates.yaml").stdout
    assert said.endswith("valid: 4 arms × 1 task × 2 seeds; 3 arms tuned with 3 trials on 1 seed per task\n")
