"""`clipbench check` as a CI meets it: exit codes, files, and every kind of bad input."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest
from cli.front import Ask, asking, stored
from judging.gate.sides import ELSEWHERE, FIVE, arm, scaled
from judging.made import HERE, question, record, run
from making import sparse

from clipbench import store
from clipbench.records import Record

WORSE = scaled(FIVE, 1.1, 1.11, 1.09, 1.1, 1.1)
SHIFTED = scaled(FIVE, 1.001, 1.0011, 1.0009, 1.001, 1.001)
OTHER_MACHINE = replace(HERE, machine_id="m2")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_STEP_SUMMARY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    stored(arm(FIVE), Path("old"))
    return asking(monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("candidate", "words", "code"),
    [
        (arm(FIVE), [], 0),
        (arm(WORSE), [], 1),
        (arm(WORSE), ["--fail-on", "changed"], 1),
        (arm(WORSE), ["--fail-on", "missing"], 0),
        (arm(SHIFTED), [], 1),
        (arm(SHIFTED), ["--fail-on", "regressed"], 0),
        (arm(SHIFTED, environment=OTHER_MACHINE), [], 0),
        (arm(WORSE), ["--tolerance", "loss=0.2", "--fail-on", "regressed"], 0),
        (arm({0: 3.0}, environment=ELSEWHERE), ["--seeds", "0"], 0),  # equal by the numbers, if not by the bits
        (arm({0: 3.1}, environment=ELSEWHERE), ["--seeds", "0"], 3),
        (arm({0: 3.0}), [], 3),  # four of the baseline's seeds are not here
        (arm({0: 3.0}), ["--strict"], 1),
        (arm({0: 3.0}), ["--seeds", "0..1"], 3),
        (arm({0: 3.0, 9: 9.0}), ["--seeds", "0,9"], 3),  # the baseline does not have the other
        (arm({0: 3.1}, environment=ELSEWHERE), ["--seeds", "0", "--fail-on", "inconclusive"], 1),
        (arm({0: 3.1}, environment=ELSEWHERE), ["--seeds", "0", "--strict"], 1),
        (arm(FIVE, of={"task": "digits"}), [], 3),
        (arm(FIVE, name="lion"), [], 3),
        (arm(FIVE, name="lion"), ["--strict"], 1),
    ],
)
def test_the_exit_code_is_the_verdict(ask: Ask, candidate: list[Record], words: list[str], code: int) -> None:
    stored(candidate, Path("new"))
    assert ask("check", "new", "--baseline", "old", *words).code == code


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "it is not an ordinary file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is not an ordinary file"),
        (partial(sparse, size=10**11), "it has more than 24,000,000 bytes"),
    ],
)
def test_a_baseline_without_end_is_undecided(ask: Ask, make: Callable[[Path], object], said: str) -> None:
    make(Path("b.json"))
    answer = ask("check", "old", "--baseline", "b.json")
    assert answer.code == 3
    assert f"b.json: the baseline cannot be read ({said})" in answer.err


@pytest.mark.parametrize("fmt", ["table", "markdown", "latex", "csv", "json"])
def test_stdout_is_the_table_alone(ask: Ask, fmt: str) -> None:
    stored(arm(WORSE), Path("new"))
    answer = ask("check", "new", "--baseline", "old", "--format", fmt)
    assert answer.code == 1
    assert "regressed" in answer.out
    if fmt == "json":
        assert json.loads(answer.out)["exit_code"] == 1
    assert ("the gate fails" in answer.err) == (fmt == "csv")


def test_a_saved_baseline_judges_as_its_folder_does(ask: Ask) -> None:
    stored(arm(WORSE), Path("new"))
    saved = ask("check", "old", "--save-baseline", "b.json")
    assert (saved.code, saved.out) == (0, "b.json\n")
    assert saved.err.splitlines() == ["saved 1 arm, 5 runs", "next: clipbench check RESULTS --baseline b.json"]
    by_file = ask("check", "new", "--baseline", "b.json", "--format", "json")
    assert by_file == ask("check", "new", "--baseline", "old", "--format", "json")
    assert by_file.code == 1


def test_a_baseline_is_not_overwritten_and_the_same_command_twice_is_safe(ask: Ask) -> None:
    stored(arm(WORSE), Path("new"))
    assert ask("check", "old", "--save-baseline", "b.json").code == 0
    before = Path("b.json").read_bytes()
    assert ask("check", "old", "--save-baseline", "b.json").code == 0
    refused = ask("check", "new", "--save-baseline", "b.json")
    assert refused.code == 2
    assert "b.json: this file exists already, and is not overwritten" in refused.err
    assert Path("b.json").read_bytes() == before


def test_a_baseline_is_not_saved_where_a_folder_is(ask: Ask) -> None:
    refused = ask("check", "old", "--save-baseline", ".")
    assert refused.code == 2
    assert refused.err == "error: .: this is a folder; a baseline is a file\n"


def test_a_regression_is_not_saved_as_the_next_baseline(ask: Ask) -> None:
    stored(arm(WORSE), Path("new"))
    assert ask("check", "new", "--baseline", "old", "--save-baseline", "b.json").code == 1
    assert not Path("b.json").exists()
    assert ask("check", "old", "--baseline", "old", "--save-baseline", "b.json").code == 0
    assert Path("b.json").exists()


def test_a_ci_gets_junit_and_a_summary(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(arm(WORSE), Path("new"))
    Path("summary.md").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    answer = ask("check", "new", "--baseline", "old", "--junit", "check.xml")
    assert answer.code == 1
    summary = Path("summary.md").read_text()
    assert summary.startswith("before\n## clipbench check\n\n**1 regressed, 1 changed")
    assert "| regressed" in summary
    assert parse("check.xml").getroot().get("failures") == "2"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["old"], 2, "give --baseline to compare RESULTS with it, or --save-baseline to save a baseline"),
        (["gone", "--baseline", "old"], 2, "error: gone: there is no such folder"),
        (["old", "--baseline", "gone"], 3, "error: gone: the baseline cannot be read (No such file or directory)"),
        (["empty", "--baseline", "old"], 3, "error: no runs in empty\n  runs are made by `clipbench run`"),
        (["old", "--baseline", "empty"], 3, "error: no runs in empty"),
        (["old", "--baseline", "words.txt"], 2, "error: words.txt: this is not a baseline file (Expecting value"),
        (["old", "--baseline", "later.json"], 2, "error: later.json: this baseline has format 9; this clipbench reads"),
        (["old", "--baseline", "old", "--fail-on", "regress"], 2, "--fail-on does not know 'regress'"),
        (["old", "--baseline", "old", "--tolerance", "x"], 2, "--tolerance: 'x' is not a fraction"),
        (["old", "--baseline", "old", "--seeds", "5..3"], 2, "--seeds 5..3 is an empty range"),
        (["old", "--save-baseline", "b.json", "--seeds", "0"], 2, "--seeds needs --baseline"),
        (["old", "--baseline", "old", "--junit", "no/x.xml"], 2, "error: no/x.xml: cannot write this file (No such"),
        (["old", "--baseline", "old", "--format", "xml"], 2, "'xml' is not one of"),
    ],
)
def test_what_cannot_be_is_said_with_its_code(ask: Ask, words: list[str], code: int, said: str) -> None:
    Path("empty").mkdir()
    Path("words.txt").write_text("words")
    Path("later.json").write_text('{"arms": [], "format": 9}')
    answer = ask("check", *words)
    assert answer.code == code
    assert said in " ".join(answer.err.split()) or said in answer.err


def broken(seed: int, text: str | None = None, *, row: bytes = b"") -> Path:
    """The stored run of a seed in `new`, with its file replaced or a row added to its measurements."""
    (folder,) = Path("new").rglob(f"{seed}-*")
    if text is not None:
        (folder / store.RUN).write_text(text)
    with (folder / store.MEASUREMENTS).open("ab") as file:
        file.write(row)
    return folder


@pytest.mark.parametrize(
    ("text", "row", "said"),
    [
        ('{"format": 1, "ru', b"", "this is not a run"),
        ('{"format": 99}', b"", "this run has format 99"),
        (None, b"50,0.1,,eval_lo\n", "this is not a measurement"),
        (None, b"50,0.1,,eval_loss,2.1", "the last row is cut short"),
    ],
)
def test_a_run_that_cannot_be_read_leaves_its_arm_undecided_on_either_side(
    ask: Ask, text: str | None, row: bytes, said: str
) -> None:
    stored(arm(FIVE), Path("new"))
    broken(2, text, row=row)
    for ours, theirs in (("new", "old"), ("old", "new")):
        answer = ask("check", ours, "--baseline", theirs, "--format", "json")
        assert answer.code == 3
        (found,) = [row for row in json.loads(answer.out)["rows"] if row["metric"] == "arm"]
        assert (found["arm"], found["verdict"]) == ("sgd", "undecided")
        assert "/2-" in found["detail"]
        assert said in found["detail"]
    assert ask("check", "new", "--baseline", "old", "--strict").code == 1


def test_a_seed_that_was_not_run_is_a_row_of_its_own(ask: Ask) -> None:
    stored(arm({seed: FIVE[seed] for seed in (0, 1, 3, 4)}), Path("new"))
    answer = ask("check", "new", "--baseline", "old", "--format", "csv")
    assert answer.code == 3
    assert "code_lm,sgd,seeds,undecided,False,nan,nan,nan,,4,,seed 2 is only in the baseline" in answer.out


def test_a_baseline_that_would_lack_a_run_is_not_kept(ask: Ask) -> None:
    stored(arm(FIVE), Path("new"))
    broken(2, "{}")
    refused = ask("check", "new", "--save-baseline", "b.json")
    assert (refused.code, refused.out) == (3, "")
    assert "error: 1 run cannot be read, and a baseline needs all runs: new/" in refused.err
    assert not Path("b.json").exists()


def test_a_folder_with_nothing_that_can_be_read_decides_nothing(ask: Ask) -> None:
    stored(arm({0: 3.0}), Path("new"))
    broken(0, "{}")
    answer = ask("check", "new", "--baseline", "old", "--junit", "check.xml")
    assert answer.code == 3
    assert parse("check.xml").getroot().get("errors") == "1"
    assert "no runs in new: " in answer.err
    assert "this run has format None" in answer.err


def test_a_run_cut_off_in_its_last_line_is_unfinished_and_open(ask: Ask) -> None:
    stored([*arm({0: 3.0, 1: 3.2}), record(run(seed=2), [5.0, 3.1], status="unfinished")], Path("new"))
    broken(2, row=b"100,0.1,,eval_lo")
    answer = ask("check", "new", "--baseline", "old", "--format", "csv")
    assert "sgd,outcome,undecided" in answer.out
    assert "seed 2 not ended" in answer.out
    assert answer.code == 3


def test_the_target_of_the_question_is_raced_to(ask: Ask) -> None:
    for place in ("new", "base"):
        stored(arm(FIVE), Path(place), question=question("sgd", target=4.0))
    assert "sgd,steps,ok" in ask("check", "new", "--baseline", "base", "--format", "csv").out
    assert "sgd,steps,new" in ask("check", "new", "--baseline", "old", "--format", "csv").out
    answer = ask("check", "old", "--baseline", "base", "--format", "csv")
    assert "the target was 4 and is none" in answer.out
    assert answer.code == 3


@pytest.mark.slow
def test_checking_imports_neither_torch_nor_the_heavy_half_of_scipy(ask: Ask) -> None:
    stored(arm(WORSE), Path("new"))
    assert ask("check", "old", "--save-baseline", "b.json").code == 0
    program = (
        "import sys\nfrom clipbench import cli\n"
        "sys.argv = ['clipbench', 'check', 'new', '--baseline', 'b.json', '--junit', 'x.xml']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 1\n"
        "assert not {'torch', 'sklearn', 'scipy.stats'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
