"""`clipbench init`: what it writes is right, and nothing that is there is touched."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.front import Ask, asking

from clipbench import spec
from clipbench.cli.commands import COMMANDS
from clipbench.cli.init import SPEC_NAME, WORKFLOW_NAME


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    return asking(monkeypatch, capsys)


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(Path(WORKFLOW_NAME).read_text())["jobs"]["benchmark"]["steps"]
    return found


def test_the_spec_is_right_and_the_next_command_is_named(ask: Ask) -> None:
    answer = ask("init", "here")
    assert answer.code == 0
    assert answer.out.splitlines() == [f"here/{SPEC_NAME}", f"here/{WORKFLOW_NAME}"]
    assert answer.err == f"next: clipbench run here/{SPEC_NAME}\n"
    assert ask("validate", f"here/{SPEC_NAME}").code == 0
    loaded = spec.load(f"here/{SPEC_NAME}")
    assert len(loaded.seeds) >= 5
    assert loaded.question == "Is my optimizer worth it here?"


def test_every_command_of_the_workflow_exists_with_its_options(ask: Ask) -> None:
    assert ask("init").code == 0
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("clipbench")]
    assert [words[1] for words in commands] == ["run", "check", "check"]
    for _, name, *words in commands:
        helped = ask(name, "--help").out
        assert all(word in helped for word in words if word.startswith("--"))
    assert {words[1] for words in commands} <= COMMANDS.keys()


def test_the_workflow_runs_the_spec_it_came_with_and_checks_where_its_results_are(ask: Ask) -> None:
    assert ask("init").code == 0
    commands = [step["run"] for step in steps() if "run" in step]
    name = Path(SPEC_NAME).stem
    assert f"clipbench run {SPEC_NAME}" in commands
    checks = [command for command in commands if command.startswith("clipbench check")]
    assert all(command.startswith(f"clipbench check results/{name} ") for command in checks)
    guards = {
        step["run"].split()[3]: step["if"] for step in steps() if step.get("run", "").startswith("clipbench check")
    }
    assert guards == {
        "--baseline": "hashFiles('baseline.json') != ''",
        "--save-baseline": "hashFiles('baseline.json') == ''",
    }


def test_what_is_there_is_left_as_it_is(ask: Ask) -> None:
    Path(SPEC_NAME).write_text("mine")
    answer = ask("init")
    assert answer.code == 0
    assert Path(SPEC_NAME).read_text() == "mine"
    assert Path(WORKFLOW_NAME).exists()
    assert f"{SPEC_NAME} is there already, and is left as it is" in answer.err
    assert answer.out == f"{WORKFLOW_NAME}\n"
    before = Path(WORKFLOW_NAME).read_text()
    again = ask("init")
    assert (again.code, again.out) == (0, "")
    assert Path(WORKFLOW_NAME).read_text() == before


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("file", "error: file: this is a file, and a folder is needed here\n"),
        ("file/x", "error: file: this is a file, and a folder is needed here\n"),
        ("taken", f"error: taken/{SPEC_NAME}: this is a folder, and a file of this name is to be written\n"),
        ("half", "error: half/.github: this is a file, and a folder is needed here\n"),
    ],
)
def test_what_stands_in_the_way_is_named_with_what_to_do(ask: Ask, folder: str, said: str) -> None:
    Path("file").write_text("")
    Path("taken", SPEC_NAME).mkdir(parents=True)
    Path("half").mkdir()
    Path("half/.github").write_text("")
    answer = ask("init", folder)
    assert answer.code == 2
    assert answer.err == f"{said}  rename it, or name another folder: clipbench init DIR\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and /sys are folders that nobody may write to on Linux")
@pytest.mark.parametrize(("folder", "above"), [("/proc/x", "/proc"), ("/sys/kernel", "/sys/kernel")])
def test_a_folder_that_cannot_be_written_is_named(ask: Ask, folder: str, above: str) -> None:
    answer = ask("init", folder)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {above}: cannot write ")
    assert answer.err.endswith(")\n  make it writable, or name another folder: clipbench init DIR\n")
