"""A user's own things, used by name from another folder: tried, run in other processes, and run again after an edit."""

import json
from pathlib import Path

import pytest
from console import clipbench, environment, records
from making import outcome_of
from spec.installed import package, runnable

from clipbench.records import CODE
from clipbench.store import read_all

pytestmark = pytest.mark.slow  # runs are made

SPEC = """\
# Which?
task: {use: dish, dimension: 3}
optimizers:
  shelved: {use: mine, lr: 0.01, options: {clip: 0.5}, clip: {norm: 1}}
  packaged: {use: shampoo, lr: 0.01}
  beside: {use: "beside_arm:Mine", lr: 0.01}
budget: {steps: 4}
seeds: [0]
evaluate: {every: 2}
measure: {every: 2, probes: [span]}
device: cpu
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose spec lies in a folder of its own, and a package beside it."""
    root = tmp_path_factory.mktemp("project")
    runnable(root / "specs")
    package(root / "site", "own_lib", "optimizers.shampoo = own_lib:build")
    (root / "specs" / "own.yaml").write_text(SPEC)
    (root / "specs" / "beside_arm.py").write_text("import torch\nclass Mine(torch.optim.SGD): ...\n")
    return root


def test_runs_are_made_elsewhere_and_made_again_after_an_edit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project / "site"), prepend=":")
    assert clipbench(project, "validate", "specs/own.yaml", "--build").returncode == 0
    done = clipbench(project, "run", "specs/own.yaml", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    made = records(project / "results")
    status = {name.split("/")[1]: outcome_of(record).status for name, record in made.items()}
    assert status == dict.fromkeys(("shelved", "packaged", "beside"), "finished")
    assert [outcome_of(record).remarks.get(CODE) for record in made.values()] == [None] * 3  # the key knows all code
    effective = {name.split("/")[1]: outcome_of(record).effective["lr"] for name, record in made.items()}
    assert effective == {"shelved": 0.005, "packaged": 0.01, "beside": 0.01}
    helper = project / "specs" / "own_help.py"
    helper.write_text("FACTOR = 2.0\n")
    again = clipbench(project, "run", "specs/own.yaml", "--jobs", 1)
    assert "3 runs: 2 reused, 1 to make" in again.stderr
    made_now, _ = read_all(project / "results")  # the run of the code before is kept beside
    assert [outcome_of(each).effective["lr"] for each in made_now if each.run.arm.name == "shelved"].count(0.01) == 1


def test_they_are_listed_for_the_folder_of_the_spec(project: Path) -> None:
    environ = environment(PYTHONPATH=f"{project / 'site'}:{environment().get('PYTHONPATH', '')}")
    listed = json.loads(clipbench(project, "list", "optimizers", "specs", "--json", environ=environ).stdout)
    origins = {each["name"]: each["origin"] for each in listed}
    assert (origins["sgd"], origins["shampoo"]) == ("clipbench", "own_lib 1.5")
    assert origins["mine"] == f"{project}/specs/shelf/optimizers/mine.py"
    assert "mine" not in clipbench(project, "list", "optimizers", environ=environ).stdout
