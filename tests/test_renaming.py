"""An arm or a spec that is renamed keeps its runs, as a user meets it: what is said, what is made, what is compared."""

import json
import shutil
from pathlib import Path

import pytest
from console import Done, clipbench, contents, hashes, records, workplace

pytestmark = pytest.mark.slow  # whole suites are run, in processes of their own


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec whose arms are tuned, with an extended grid, and what came of it."""
    here = workplace(tmp_path_factory.mktemp("made"))
    assert clipbench(here, "run", "rates.yaml", "--extend-grid").returncode == 0
    return here


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "here")


def edit(path: Path, before: str, after: str) -> None:
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def results_of(here: Path, spec: str) -> dict[str, str]:
    """The final weights of the runs of a spec, by their names."""
    return hashes(here / "results" / spec)


def did_nothing(done: Done) -> bool:
    return done.returncode == 0 and "nothing to do" in done.stderr and "finished:" not in done.stderr


def selected(here: Path, spec: str) -> dict[str, tuple[int, dict[str, float]]]:
    tuned = json.loads((here / "results" / spec / "question.json").read_text())["tuning"]["arms"]
    return {each["arm"]: (len(each["trials"]), each["selected"]) for each in tuned}


def test_a_renamed_arm_keeps_its_trials_its_selection_and_its_runs(here: Path) -> None:
    before, chosen = results_of(here, "rates"), selected(here, "rates")
    edit(here / "rates.yaml", "  adam:", "  renamed:")
    edit(here / "rates.yaml", "  fixed:", "  lion:")
    found = contents(here / "results")
    planned = json.loads(clipbench(here, "plan", "rates.yaml", "--json").stdout)
    assert [each["missing"] for each in planned] == [0] * len(planned)
    assert "0 to make" in clipbench(here, "run", "rates.yaml", "--dry-run").stdout
    assert contents(here / "results") == found  # neither moves anything
    done = clipbench(here, "run", "rates.yaml")
    assert did_nothing(done)
    trials, _ = chosen["adam"]
    assert done.stderr.splitlines()[:2] == [
        f"{trials + 2} runs of arm 'adam' moved to 'renamed' (same description)",
        "2 runs of arm 'fixed' moved to 'lion' (same description)",
    ]
    after = results_of(here, "rates")
    assert after == {
        name.replace("adam", "renamed").replace("fixed", "lion"): weights for name, weights in before.items()
    }
    assert {record.run.trial_of for record in records(here / "results").values()} == {"", "sgd", "renamed", "wild"}
    assert selected(here, "rates") == {name.replace("adam", "renamed"): each for name, each in chosen.items()}
    assert not [path for path in (here / "results").rglob("*") if path.name.startswith(("adam", "fixed"))]
    assert "adam" not in clipbench(here, "compare", "results/rates", "--full").stdout
    assert did_nothing(clipbench(here, "run", "rates.yaml"))


def test_a_renamed_spec_has_copies_of_all_its_runs(here: Path) -> None:
    before, chosen = results_of(here, "rates"), selected(here, "rates")
    (here / "rates.yaml").rename(here / "speeds.yaml")
    edit(here / "speeds.yaml", "  adam:", "  renamed:")
    old = contents(here / "results" / "rates")
    assert "0 to make" in clipbench(here, "plan", "speeds.yaml").stdout
    done = clipbench(here, "run", "speeds.yaml")
    assert did_nothing(done)
    assert done.stderr.splitlines()[0] == f"{len(before)} runs copied from spec 'rates' (same description)"
    assert contents(here / "results" / "rates") == old
    after = results_of(here, "speeds")
    assert after == {name.replace("adam", "renamed"): weights for name, weights in before.items()}
    assert {record.run.spec for record in records(here / "results" / "speeds").values()} == {"speeds"}
    assert selected(here, "speeds") == {name.replace("adam", "renamed"): each for name, each in chosen.items()}


def test_an_arm_that_is_left_out_by_a_filter_is_still_planned(here: Path) -> None:
    edit(here / "rates.yaml", "  fixed:", "  lion: {use: lion, lr: 0.01}\n  fixed:")
    done = clipbench(here, "run", "rates.yaml", "--filter", "lion")
    assert did_nothing(done)
    assert done.stderr.splitlines()[0] == "2 runs of arm 'fixed' copied to 'lion' (same description)"
    weights = results_of(here, "rates")
    for seed in (0, 1):
        assert weights[f"quadratic/fixed/seed {seed}"] == weights[f"quadratic/lion/seed {seed}"]


def test_runs_of_an_earlier_format_are_made_again_and_decide_no_selection(here: Path) -> None:
    for path in (here / "results").rglob("run.json"):
        content = json.loads(path.read_text())
        del content["digest"]
        path.write_text(json.dumps(content | {"format": 1}))
    before = results_of(here, "rates")
    edit(here / "rates.yaml", "  adam:", "  renamed:")
    planned = json.loads(clipbench(here, "plan", "rates.yaml", "--json").stdout)
    assert [each["reused"] for each in planned] == [0] * len(planned)
    assert [each["settings"] for each in planned if not each["trials"]].count("selected after tuning") == 3
    assert clipbench(here, "compare", "results/rates").returncode == 0
    assert results_of(here, "rates") == before
