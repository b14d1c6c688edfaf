"""`clipbench claims`, on the runs that come with clipbench."""

import json
from pathlib import Path

import pytest
from console import clipbench

pytestmark = pytest.mark.slow  # all reference runs are read

HOME = Path(__file__).parents[2]
REFERENCE = HOME / "results/reference/h100/quickstart"
FORMATS = ("table", "markdown", "latex", "csv", "json")
FASTER = """\
claims:
  - name: faster
    statement: Adam ends lower than SGD.
    compare: {quantity: final_loss, of: adam, against: sgd, at: own}
    expect: EXPECT
"""


def test_the_papers_claims_are_asked_where_no_others_are_named() -> None:
    done = clipbench(HOME, "claims", REFERENCE, "--format", "json")
    verdicts = {answer["claim"]: answer["verdict"] for answer in json.loads(done.stdout)}
    assert len({name.split()[0] for name in verdicts}) == 17
    assert verdicts["C1"] == verdicts["C17"] == "not measured"
    assert verdicts["C16"] == "not measured"  # one clipped arm on one task is no search for counter-examples


def test_where_nothing_can_be_decided_the_command_says_so() -> None:
    done = clipbench(HOME, "claims", REFERENCE)
    assert done.returncode == 3
    assert done.stderr == "no claim could be decided\n"
    assert "not measured" in done.stdout


@pytest.mark.parametrize(("expect", "verdict"), [("lower", "holds"), ("higher", "fails")])
def test_a_lab_can_write_its_own_claims_and_one_that_fails_is_a_result(
    tmp_path: Path, expect: str, verdict: str
) -> None:
    (tmp_path / "mine.yaml").write_text(FASTER.replace("EXPECT", expect))
    done = clipbench(tmp_path, "claims", REFERENCE, "--claims", "mine.yaml", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    [answer] = json.loads(done.stdout)
    assert answer["verdict"] == verdict


def test_runs_that_are_there_twice_are_said_as_in_a_comparison(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FASTER.replace("EXPECT", "lower"))
    done = clipbench(tmp_path, "claims", REFERENCE, REFERENCE, "--claims", "mine.yaml", "--format", "json")
    assert done.returncode == 0
    assert done.stderr.startswith("caveat: code_lm/")
    assert "exists twice (key " in done.stderr
    assert json.loads(done.stdout)[0]["verdict"] == "holds"


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("each", [(), ("--each",)])
def test_every_format_is_written(tmp_path: Path, fmt: str, each: tuple[str, ...]) -> None:
    (tmp_path / "mine.yaml").write_text(FASTER.replace("EXPECT", "lower"))
    done = clipbench(tmp_path, "claims", REFERENCE, "--claims", "mine.yaml", "--format", fmt, *each)
    assert done.returncode == 0
    assert "faster" in done.stdout


@pytest.mark.parametrize(
    ("results", "claims", "code", "said"),
    [
        ("nowhere", "mine.yaml", 2, "there is no such folder"),
        ("empty", "mine.yaml", 3, "no runs to test claims on in empty"),
        (str(REFERENCE), "absent.yaml", 2, "no such file"),
        (str(REFERENCE), "wrong.yaml", 2, "wrong.yaml:5:13: claims.0.expect: expected 'lower' or 'higher'"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path: Path, results: str, claims: str, code: int, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.yaml").write_text(FASTER.replace("EXPECT", "lower"))
    (tmp_path / "wrong.yaml").write_text(FASTER.replace("EXPECT", "more"))
    done = clipbench(tmp_path, "claims", results, "--claims", claims)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
