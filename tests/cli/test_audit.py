"""`clipbench audit` and its line under a comparison, on the runs that come with clipbench."""

import json
import shutil
from pathlib import Path

import pytest
from console import clipbench

pytestmark = pytest.mark.slow  # all reference runs are read

HOME = Path(__file__).parents[2]
REFERENCE = HOME / "results/reference/h100/quickstart"
FORMATS = ("table", "markdown", "latex", "csv", "json")


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_audit_without_a_failed_rule_ends_well_in_every_format(fmt: str) -> None:
    done = clipbench(HOME, "audit", REFERENCE, "--format", fmt)
    assert (done.returncode, done.stderr) == (0, "")
    assert "choice on record" in done.stdout


def test_runs_that_were_left_out_are_a_finding(tmp_path: Path) -> None:
    shutil.copytree(REFERENCE, tmp_path / "quickstart")
    shutil.rmtree(tmp_path / "quickstart/code_lm/adam")
    done = clipbench(tmp_path, "audit", "quickstart")
    assert done.returncode == 1
    assert "3 of 21 planned runs are missing" in " ".join(done.stdout.split())


def test_a_spec_is_judged_before_it_is_run() -> None:
    done = clipbench(HOME, "audit", "benchmarks/quickstart_rates.yaml", "--format", "json")
    assert done.returncode == 0
    rules = {rule["rule"]: rule["verdict"] for rule in json.loads(done.stdout)[0]["rules"]}
    assert rules["equal trials"] == "pass"
    assert rules["nothing dropped"] == "not applicable"


def test_a_spec_and_results_can_be_judged_together() -> None:
    done = clipbench(HOME, "audit", "benchmarks/clips.yaml", REFERENCE, "--format", "json")
    assert [audit["spec"] for audit in json.loads(done.stdout)] == ["clips", "quickstart"]


def test_what_each_rule_demands_is_told() -> None:
    demand = "The results show how each arm's settings were chosen."
    assert demand in " ".join(clipbench(HOME, "audit", REFERENCE, "--explain", "--format", "markdown").stdout.split())
    assert demand not in " ".join(clipbench(HOME, "audit", REFERENCE, "--format", "markdown").stdout.split())


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("nowhere", 2, "there is no such folder"),
        ("empty", 3, "no runs to audit in empty"),
        ("broken.yaml", 2, "nothing was run"),
    ],
)
def test_what_cannot_be_audited_is_refused(tmp_path: Path, target: str, code: int, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.yaml").write_text("task: [")
    done = clipbench(tmp_path, "audit", target)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_comparison_ends_with_its_audit_beside_files_that_have_no_place_for_it(fmt: str) -> None:
    done = clipbench(HOME, "compare", REFERENCE, "--full", "--format", fmt)
    line = f"3 warn, 0 fail; details: clipbench audit {REFERENCE}"
    there, elsewhere = (done.stdout, done.stderr) if fmt in ("table", "markdown") else (done.stderr, done.stdout)
    assert "".join(line.split()) in "".join(there.split())
    assert "clipbench audit" not in elsewhere
