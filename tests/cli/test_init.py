"""`clipbench init`: what it writes is right, and nothing that is there is touched."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.front import Ask, asking
from spec.bench import settled

from clipbench import spec
from clipbench.cli.init import SPEC_NAME, TASK_NAME, WORKFLOW_NAME
from clipbench.cli.starter import SCHEMA_NAME

FILES = (SPEC_NAME, TASK_NAME, WORKFLOW_NAME, ".gitignore", SCHEMA_NAME)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    return asking(monkeypatch, capsys)


def steps(job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(Path(WORKFLOW_NAME).read_text())["jobs"][job]["steps"]
    return found


def commands(job: str) -> list[list[str]]:
    """Every clipbench command of a job, as words."""
    lines = [line for step in steps(job) for line in step.get("run", "").splitlines()]
    parts = [line.partition("clipbench ")[1:] for line in lines]
    return [shlex.split(found + words.removesuffix(")")) for found, words in parts if found]


def test_the_spec_is_right_and_the_next_command_is_named(ask: Ask) -> None:
    answer = ask("init", "here")
    assert answer.code == 0
    assert answer.out.splitlines() == [f"here/{name}" for name in FILES]
    assert answer.err == f"next: clipbench run here/{SPEC_NAME}\n"
    assert ask("validate", f"here/{SPEC_NAME}").code == 0
    loaded = spec.load(f"here/{SPEC_NAME}")
    assert len(loaded.seeds) >= 5
    assert loaded.question == "Is my optimizer worth it here?"


def test_every_command_of_the_workflow_exists_with_its_options(ask: Ask) -> None:
    assert ask("init").code == 0
    assert [words[1] for words in commands("benchmark")] == ["run", "check", "check"]
    assert [words[1] for words in commands("time")] == ["run", "check"]
    for _, name, *words in commands("benchmark") + commands("time"):
        helped = ask(name, "--help").out
        assert all(word in helped for word in words if word.startswith("--"))


def test_the_workflow_runs_the_spec_it_came_with_and_checks_where_its_results_are(ask: Ask) -> None:
    assert ask("init").code == 0
    run, first, second = commands("benchmark")
    name = Path(SPEC_NAME).stem
    assert run == ["clipbench", "run", SPEC_NAME]
    assert {first[2], second[2]} == {f"results/{name}"}
    guards = {
        step["run"].split()[3]: step["if"]
        for step in steps("benchmark")
        if step.get("run", "").startswith("clipbench check")
    }
    assert guards == {
        "--baseline": "hashFiles('baseline.json') != ''",
        "--save-baseline": "hashFiles('baseline.json') == ''",
    }


def test_the_job_for_times_runs_the_seeds_of_the_spec_on_both_sides_in_turns(ask: Ask) -> None:
    assert ask("init").code == 0
    [loop] = [step["run"] for step in steps("time") if "--seeds" in step.get("run", "")]
    seeds, sides = (re.search(pattern, loop) for pattern in (r"seed in ([\d ]+);", r"side in (\w+) (\w+);"))
    assert seeds
    assert sides
    assert tuple(map(int, seeds[1].split())) == spec.load(SPEC_NAME).seeds
    assert loop.index("for seed") < loop.index("for side")
    run, check = commands("time")
    assert run[2:] == [SPEC_NAME, "--seeds", "$seed", "--jobs", "1", "-o", "../times/$side"]
    name = Path(SPEC_NAME).stem
    old, new = sides.groups()
    assert check[2:] == [f"times/{new}/{name}", "--baseline", f"times/{old}/{name}", "--fail-on", "regressed:time"]


def test_the_editor_finds_the_schema_and_git_ignores_what_can_be_made_again(ask: Ask) -> None:
    assert ask("init", "here").code == 0
    first = Path("here", SPEC_NAME).read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA_NAME}"
    assert json.loads(Path("here", SCHEMA_NAME).read_text())["title"] == "clipbench spec"
    ignored = Path("here/.gitignore").read_text().split()
    assert {"/results/", f"/{SCHEMA_NAME}"} <= set(ignored)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--optimizer", "adm"), "there is no optimizer 'adm'; did you mean 'adam'?"),
        (("--task", "foo"), "there is no task 'foo'; write your own as module:name; clipbench has autoencoder, "),
    ],
)
def test_a_name_that_no_spec_can_use_is_refused_before_anything_is_written(
    ask: Ask, words: tuple[str, ...], said: str
) -> None:
    done = ask("init", *words)
    assert done.code == 2
    assert said in done.err
    assert not Path(SPEC_NAME).exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["my_task:build", "quadratic"])
def test_ones_own_optimizer_and_task_stand_in_the_spec_and_run(ask: Ask, task: str) -> None:
    assert ask("init", "--optimizer", "torch.optim:NAdam", "--task", task).code == 0
    assert Path(TASK_NAME).exists() == (task == "my_task:build")
    loaded = spec.load(SPEC_NAME)
    first = settled(loaded)[0]
    assert (first.name, first.optimizer.use) == ("mine", "torch.optim:NAdam")
    assert (loaded.tasks[0].use, loaded.target) == (task, None)
    assert ask("validate", SPEC_NAME, "--build").code == 0


def test_what_is_commented_out_is_what_the_options_write(ask: Ask) -> None:
    assert ask("init", "--optimizer", "my_package:MyOptimizer").code == 0
    written = Path(SPEC_NAME).read_text()
    assert ask("init", "plain").code == 0
    assert written == Path("plain", SPEC_NAME).read_text().replace("  # mine:", "  mine:")


@pytest.mark.parametrize("words", [("--task", "a b"), ("--optimizer", "x}: {")])
def test_what_is_no_name_is_refused(ask: Ask, words: tuple[str, str]) -> None:
    answer = ask("init", *words)
    assert answer.code == 2
    assert answer.err.endswith(
        f"Invalid value: {words[0]}: {words[1]!r} is neither a name nor of the form module:name\n"
    )
    assert not Path(SPEC_NAME).exists()


def test_the_workflow_installs_the_users_package_too(ask: Ask) -> None:
    assert ask("init").code == 0
    for job in ("benchmark", "time"):
        [install] = [step["run"] for step in steps(job) if step.get("name") == "Install"]
        for file, done in (("pyproject.toml", "installed --editable .\n"), ("x.toml", "")):
            Path(job).mkdir(exist_ok=True)
            Path(job, file).touch()
            script = 'pip() { [ "$2" = --editable ] && echo "${1}ed $2 $3"; return 0; }\n' + install
            shell = in_shell(script, Path(job), CLIPBENCH="./clipbench")
            assert (shell.returncode, shell.stdout) == (0, done)
            Path(job, file).unlink()


def test_a_full_disk_is_told_and_leaves_no_empty_file(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    answer = ask("init", "new")
    assert (answer.code, answer.out) == (2, "")
    assert "No space left on device" in answer.err
    assert list(Path("new").iterdir()) == []


def in_shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-ec", script], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )


def test_the_workflow_asks_where_clipbench_comes_from(ask: Ask) -> None:
    assert ask("init").code == 0
    workflow = yaml.safe_load(Path(WORKFLOW_NAME).read_text())
    for job in ("benchmark", "time"):
        [install] = [step["run"] for step in steps(job) if step.get("name") == "Install"]
        script = 'pip() { echo "$@"; }\n' + install
        unset = in_shell(script, Path(), **workflow["env"])
        assert unset.returncode != 0
        assert "CLIPBENCH: set it in this workflow" in unset.stderr
        assert "install a/wheel.whl" in in_shell(script, Path(), CLIPBENCH="a/wheel.whl").stdout


def test_the_job_for_times_has_nothing_to_compare_on_the_first_commit(ask: Ask, tmp_path: Path) -> None:
    assert ask("init").code == 0
    [check_out] = [step["run"] for step in steps("time") if step.get("name") == "Check out both sides"]
    commit = "git -c user.name=a -c user.email=a@b commit --quiet --message=x"
    assert in_shell(f"git init --quiet && git add . && {commit}", tmp_path).returncode == 0
    assert in_shell(check_out, tmp_path).returncode == 0
    assert not Path("old").exists()
    assert in_shell(f"{commit} --allow-empty && {check_out}", tmp_path).returncode == 0
    assert {path.name for side in ("old", "new") for path in Path(side).glob("*.yaml")} == {SPEC_NAME}
    later = [step for step in steps("time") if step.get("name") in ("Run both in turns", "Check the time")]
    assert {step["if"] for step in later} == {f"hashFiles('old/{SPEC_NAME}') != ''"}


def test_what_is_there_is_left_as_it_is(ask: Ask) -> None:
    Path(SPEC_NAME).write_text("mine")
    answer = ask("init")
    assert answer.code == 0
    assert Path(SPEC_NAME).read_text() == "mine"
    assert Path(WORKFLOW_NAME).exists()
    assert f"{SPEC_NAME} exists already, and is kept" in answer.err
    assert answer.out.splitlines() == list(FILES[1:])
    before = Path(WORKFLOW_NAME).read_text()
    again = ask("init")
    assert (again.code, again.out) == (0, "")
    assert Path(WORKFLOW_NAME).read_text() == before


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("file", "error: file: this is a file, but a folder is needed here\n"),
        ("file/x", "error: file: this is a file, but a folder is needed here\n"),
        ("taken", f"error: taken/{SPEC_NAME}: this is a folder, but a file of this name is needed\n"),
        ("half", "error: half/.github: this is a file, but a folder is needed here\n"),
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
