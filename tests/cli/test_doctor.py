"""`clipbench doctor`: an arm against itself, made twice, and what that says of the machine."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli.front import Ask, asking, stored
from console import clipbench
from judging.made import HERE, record

from clipbench import store
from clipbench.cli import doctor
from clipbench.records import Outcome, Run


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return asking(monkeypatch, capsys)


class Machine:
    """In place of the supervisor: runs that take a known time and end with known bits."""

    def __init__(self, *, same_bits: bool = True, status: Any = "finished") -> None:
        self.same_bits, self.status = same_bits, status
        self.made: list[tuple[str, int]] = []

    def supervise(self, runs: Iterable[Run], results: Path, **_: object) -> list[tuple[Run, Outcome]]:
        (run,) = runs
        assert not store.folder_of(run, results).exists(), "a run must be made anew, not found"
        self.made.append((results.name, run.seed))
        ended = record(
            run, [5.0, 3.0 + 0.1 * run.seed], status=self.status, reason="too hot", step_seconds=0.01, environment=HERE
        )
        assert ended.outcome
        weights = "same" if self.same_bits else results.name
        stored([replace(ended, outcome=replace(ended.outcome, weights_sha256=weights))], results)
        return []


def machine(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Machine:
    made = Machine(**settings)
    monkeypatch.setattr(doctor, "supervise", made.supervise)
    return made


def test_every_run_is_made_twice_in_turns_and_no_side_is_always_first(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = machine(monkeypatch)
    answer = ask("doctor", "--device", "cpu", "--seeds", "3")
    assert answer.code == 0
    assert made.made == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert "equal seeds gave equal bits in every pair" in answer.out
    for word in ("numerics id", HERE.numerics_id, "machine id", HERE.machine_id, "time a step", "20 seeds"):
        assert word in answer.out
    assert answer.err.splitlines()[-1] == "next: clipbench init"


def test_programs_get_json(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    said = json.loads(ask("doctor", "--device", "cpu", "--quick", "--json").out)
    assert (said["pairs"], said["same_bits"]) == (3, 3)
    assert said["quantities"][0]["quantity"] == "time a step"
    assert set(said["quantities"][0]["detectable"]) == {"3", "5", "10", "20"}
    assert "torch 2.13.0" in said["machine"]["software"]


def test_other_bits_under_equal_seeds_are_a_finding(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, same_bits=False)
    answer = ask("doctor", "--device", "cpu")
    assert answer.code == 1
    assert "EQUAL SEEDS GAVE DIFFERENT BITS in 5 of 5 pairs" in answer.out


def test_runs_that_fail_are_told_and_measure_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, status="failed")
    answer = ask("doctor", "--device", "cpu", "--seeds", "2")
    assert answer.code == 4
    assert answer.out == ""
    assert "4 runs did not finish: too hot" in answer.err


@pytest.mark.parametrize(("words", "said"), [(("--seeds", 1), "--seeds"), (("--device", "gpu"), "no device 'gpu'")])
def test_a_wrong_word_is_named(ask: Ask, words: tuple[object, ...], said: str) -> None:
    answer = ask("doctor", *words)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.slow
def test_this_machine_is_measured(tmp_path: Path) -> None:
    done = clipbench(tmp_path, "doctor", "--quick", "--seeds", 2, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["pairs"], said["same_bits"]) == (2, 2)
    time, memory, loss, apart = said["quantities"]
    assert time["deviation"] > 0
    assert memory["quantity"] == "peak memory"
    assert set(loss["detectable"].values()) == {0.0}
    assert apart["detectable"]["5"] > 0
    assert not list(tmp_path.iterdir())
