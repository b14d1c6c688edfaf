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
    for name in ("forty", "optimizers", "resumes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield import_module
    for name in ("forty", "optimizers", "resumes"):
        sys.modules.pop(name, None)


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_optimizers_run_as_clipbench_says_to_write_them_or_say_why_not(tmp_path: Path) -> None:
    done = run("optimizers", "--only", "torch.optim:(LBFGS|Muon|SGD|SparseAdam)", "-o", str(tmp_path / "table.txt"))
    assert done.returncode == 0, done.stderr
    assert "3 of 4 took all 12 steps (2 by name, 1 group)" in done.stdout
    assert (
        "\ntorch.optim:SparseAdam: NotLiveError: 'torch.optim:SparseAdam' takes sparse gradients alone" in done.stdout
    )
    rows = (tmp_path / "table.txt").read_text().splitlines()
    assert [row.split()[:4] for row in rows[3:7]] == [
        ["torch.optim:LBFGS", "12", "by", "name"],
        ["torch.optim:Muon", "12", "group", "'torch.optim:Muon'"],
        ["torch.optim:SGD", "12", "by", "name"],
        ["torch.optim:SparseAdam", "0", "no", "NotLiveError:"],
    ]


@pytest.mark.parametrize(
    ("sentence", "line"),
    [
        ("...; set `create_graph: true` on the arm", '{use: "a:Lion", lr: 0.1, create_graph: true}'),
        ("'a:Lion' needs the option 'num_data' (number)", '{use: "a:Lion", lr: 0.1, num_data: 64}'),
        ("...: write it under `wrap`, as in ...", '{use: adamw, lr: 0.001, wrap: [{use: "a:Lion"}]}'),
        (
            "...; give it a group, as in ...",
            '{groups: {hidden: {kind: matrix, use: "a:Lion", lr: 0.1}, rest: {use: adamw, lr: 0.001}}}',
        ),
    ],
)
def test_an_optimizer_is_written_anew_as_a_sentence_says(
    script: Callable[[str], ModuleType], sentence: str, line: str
) -> None:
    optimizers = script("optimizers")
    by_name = optimizers.Candidate("a:Lion", {"lr": "0.1"})
    anew = optimizers.rewritten(by_name, sentence)
    assert anew.line == f'  "a:Lion": {line}\n'
    assert anew.reason == sentence
    assert optimizers.rewritten(anew, sentence) is None


def test_a_factory_stands_for_those_that_have_one(script: Callable[[str], ModuleType]) -> None:
    optimizers = script("optimizers")
    assert optimizers.rewritten(optimizers.Candidate("a:Lion", {}), "write a factory in mine.py") is None
    sam = optimizers.rewritten(optimizers.Candidate("a:SAM", {}), "write a factory in mine.py")
    assert sam.line == '  "a:SAM": {use: "mine:SAM", lr: 0.001}\n'


@pytest.mark.parametrize(
    ("outcome", "whole"),
    [
        (Outcome("finished", steps=12), True),
        (Outcome("diverged", "above its start", steps=12), True),
        (Outcome("diverged", "the loss was nan", steps=7), False),
        (Outcome("failed", "too\n  far", steps=12), False),
        (Outcome("finished", steps=12, remarks={LIFE: ("the weights are the same … 6 and 12",)}), False),
        (None, False),
    ],
)
def test_all_steps_without_a_failure_are_what_counts(
    script: Callable[[str], ModuleType], outcome: Outcome | None, whole: bool
) -> None:
    optimizers = script("optimizers")
    fate = optimizers.fate(optimizers.Candidate("a:b", {}), replace(WHOLE, outcome=outcome), "")
    assert fate.whole is whole
    assert "\n" not in fate.reason


def test_remarks_are_counted_by_optimizer_and_not_by_sentence(script: Callable[[str], ModuleType]) -> None:
    optimizers = script("optimizers")
    outcome = Outcome("finished", steps=12, remarks={LIFE: ("late", "odd"), "sharpness": ("by jets",)})
    assert f"with a remark of {LIFE}: 1\nwith a remark of {RESUME}: 0" in optimizers.summary(
        [optimizers.fate(optimizers.Candidate("a:b", {}), replace(WHOLE, outcome=outcome), "")]
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


def test_forty_optimizers_train_or_say_why_not(script: Callable[[str], ModuleType]) -> None:
    """Of the forty those that need no package, on one of the two tasks."""
    forty: Any = script("forty")
    assert len(forty.ARMS) == 40
    own = {name: arm for name, arm in forty.ARMS.items() if "pytorch_optimizer" not in arm[0] and "free" not in arm[0]}
    assert len(own) == 21
    forty.ARMS = own
    found = forty.trained("quadratic", jobs=1)
    assert [each.arm for each in found if not each.trains] == ["SparseAdam"]
    assert "20 of 21 train\n  SparseAdam: NotLiveError: 'torch.optim:SparseAdam' takes sparse" in forty.table(
        {"quadratic": found}
    )
