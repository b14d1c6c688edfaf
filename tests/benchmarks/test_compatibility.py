"""The scripts that count what runs by name and what resumes: in a small form, and what they print can go wrong."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from making import make_run, outcome_of

from clipbench.measurements import Measurement, Measurements
from clipbench.records import LIFE, RESUME, Outcome, Record

pytestmark = pytest.mark.slow  # runs are made and killed

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "compatibility"
WHOLE = Record(
    make_run(),
    outcome=Outcome("finished", steps=12, weights_sha256="ab"),
    measurements=Measurements.of([Measurement(0, 0.1, "", "eval_loss", 2.0)]),
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A script of the folder by its name; the names are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("optimizers", "resumes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield import_module
    for name in ("optimizers", "resumes"):
        sys.modules.pop(name, None)


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_optimizers_run_by_name_and_those_that_do_not_say_why(tmp_path: Path) -> None:
    done = run("optimizers", "--only", "torch.optim:(LBFGS|SGD|SparseAdam)", "-o", str(tmp_path / "table.txt"))
    assert done.returncode == 0, done.stderr
    assert "1 of 3 took all 12 steps" in done.stdout
    assert "\ntorch.optim:LBFGS: optimizers.torch.optim:LBFGS.use: " in done.stdout  # the spec's own sentence
    assert "\ntorch.optim:SparseAdam: " in done.stdout
    rows = (tmp_path / "table.txt").read_text().splitlines()
    assert [row.split()[:3] for row in rows[1:]] == [
        ["torch.optim:LBFGS", "0", "no"],
        ["torch.optim:SGD", "12", "yes"],
        ["torch.optim:SparseAdam", "0", "no"],
    ]


@pytest.mark.parametrize(
    ("outcome", "whole"),
    [
        (Outcome("finished", steps=12), True),
        (Outcome("diverged", "above its start", steps=12), True),
        (Outcome("diverged", "the loss was nan", steps=7), False),
        (Outcome("failed", "too\n  far", steps=12), False),
        (None, False),
    ],
)
def test_all_steps_without_a_failure_are_what_counts(
    script: Callable[[str], ModuleType], outcome: Outcome | None, whole: bool
) -> None:
    [fate] = script("optimizers").fates([replace(WHOLE, outcome=outcome)])
    assert fate.whole is whole
    assert "\n" not in fate.reason


def test_remarks_are_counted_by_optimizer_and_not_by_sentence(script: Callable[[str], ModuleType]) -> None:
    optimizers = script("optimizers")
    outcome = Outcome("finished", steps=12, remarks={LIFE: ("late", "odd"), "sharpness": ("by jets",)})
    assert f"with a remark of {LIFE}: 1\nwith a remark of {RESUME}: 0" in optimizers.summary(
        list(optimizers.fates([replace(WHOLE, outcome=outcome)]))
    )


def test_sound_runs_that_are_interrupted_end_as_they_would_have() -> None:
    done = run("resumes", "--count", "3", "--seed", "1", "--kinds", "sound")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 interruptions, seed 1")
    assert done.stdout.split()[-6:] == ["all", "3", "0", "0", "0", "0"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "equal"),
        ({"remarks": {RESUME: ("starts again",)}}, "starts again and says so"),
        ({"weights_sha256": "cd"}, "WRONG"),
        ({"weights_sha256": "cd", "remarks": {"sharpness": ("by jets",)}}, "WRONG"),
        ({"weights_sha256": "cd", "remarks": {RESUME: ("not bit for bit",)}}, "differs and says so"),
        ({"status": "diverged"}, "WRONG"),
        ({"status": "failed"}, "failed"),
    ],
)
def test_an_interruption_is_judged_by_all_that_was_recorded(
    script: Callable[[str], ModuleType], changes: dict[str, Any], word: str
) -> None:
    verdict = script("resumes").verdict
    assert verdict(WHOLE, replace(WHOLE, outcome=replace(outcome_of(WHOLE), **changes))) == word


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (Measurement(0, 0.3, "", "eval_loss", 2.0), "equal"),  # at another time
        (Measurement(0, 0.1, "", "eval_loss", 2.0000000000000004), "WRONG"),
        (Measurement(1, 0.1, "", "eval_loss", 2.0), "WRONG"),
    ],
)
def test_measurements_but_their_times_are_compared(
    script: Callable[[str], ModuleType], row: Measurement, word: str
) -> None:
    again = replace(WHOLE, measurements=Measurements.of([row]))
    assert script("resumes").verdict(WHOLE, again) == word


def test_a_run_without_an_outcome_is_wrong(script: Callable[[str], ModuleType]) -> None:
    assert script("resumes").verdict(WHOLE, replace(WHOLE, outcome=None)) == "WRONG"


def test_the_seed_decides_what_is_interrupted_and_where(script: Callable[[str], ModuleType]) -> None:
    resumes = script("resumes")
    first = [resumes.drawn(seed, None) for seed in range(30)]
    assert first == [resumes.drawn(seed, None) for seed in range(30)]
    assert {bool(one.lossy) for one in first} == {True, False}
    assert len({one.at for one in first}) > 5
    assert all(0 < one.at < resumes.STEPS for one in first)


def test_kills_at_random_points_lose_nothing_and_leave_nobody() -> None:
    done = run("kills", "--count", "3", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills of runs made" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 things are wrong"
