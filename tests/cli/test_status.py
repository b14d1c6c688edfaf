"""How far the runs of a spec are, by what lies in their folders, and which runs can be left to an engine."""

import json
import os
import time
from pathlib import Path

import pytest
from cli.front import Ask, asking
from console import SPECS

from clipbench import store
from clipbench.planning.runs import plan
from clipbench.records import Outcome, Run
from clipbench.running.queue import new_name
from clipbench.spec import Overrides, load

HOUR = 3600.0


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text((SPECS / "good.yaml").read_text())
    return asking(monkeypatch, capsys)


def runs() -> list[Run]:
    return [*plan(load(Path("good.yaml"), Overrides()), device="cpu", selected={})]


def at_work(run: Run, *, stopping: bool = False, ago: float = 0.0) -> Path:
    folder = store.folder_of(run, Path("results"))
    store.describe(run, folder)
    store.write_heartbeat(folder, progress=0.4, step=12, loss=2.5, stopping=stopping)
    os.utime(folder / store.HEARTBEAT, (time.time() - ago, time.time() - ago))
    return folder


def test_each_run_is_done_at_work_unfinished_failed_or_missing(ask: Ask) -> None:
    done, failed, working, stopped, silent, missing = runs()
    for run, outcome in ((done, Outcome("diverged", steps=1)), (failed, Outcome("failed"))):
        store.Writer(at_work(run)).close()
        store.finish(store.folder_of(run, Path("results")), outcome, None)
    at_work(working, ago=30)
    (at_work(stopped, stopping=True) / store.CHECKPOINT).touch()
    at_work(silent, ago=HOUR)
    told = json.loads(ask("status", "good.yaml", "--json").out)
    assert {each["run"]: each["state"] for each in told} == {
        str(done): "done",
        str(failed): "failed",
        str(working): "at work",
        str(stopped): "unfinished",
        str(silent): "missing",
        str(missing): "missing",
    }
    assert {each["step"] for each in told if each["state"] in ("done", "missing")} == {None}
    [row] = [each for each in told if each["state"] == "at work"]
    assert (row["step"], row["progress"], row["loss"]) == (12, 0.4, 2.5)
    assert 30 <= row["silent"] < 60
    answer = ask("status", "good.yaml")
    assert answer.out.splitlines()[-1] == "6 runs: 1 done, 1 at work, 1 unfinished, 1 failed, 2 missing"
    assert answer.err == "again: clipbench status good.yaml\n"


def test_the_next_command_makes_what_is_missing_or_compares(ask: Ask) -> None:
    words = ("good.yaml", "--seeds", "0")
    assert ask("status", *words, "--json").err == "next: clipbench run good.yaml --seeds 0\n"
    for run in runs():
        store.Writer(at_work(run)).close()
        store.finish(store.folder_of(run, Path("results")), Outcome("finished", steps=1), None)
    assert ask("status", *words).err == "next: clipbench compare results/good\n"


def test_a_queue_that_is_not_known_is_said_and_hides_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    store.write_job(at_work(runs()[0]), new_name(), 0)
    answer = ask("status", "good.yaml")
    assert answer.code == 0
    assert "there is no SLURM here" in answer.err
    assert "1 at work" in answer.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detach"], "the engine local makes runs only as long as the command is there"),
        (["--detach", "--engine", "slurm", "--retries", "2"], "nobody is there for --timeout or --retries"),
    ],
)
def test_runs_that_cannot_be_left_are_refused(ask: Ask, words: list[str], message: str) -> None:
    answer = ask("run", "good.yaml", *words)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not Path("results").exists()
