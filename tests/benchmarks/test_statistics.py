"""The scripts that put the gate's figures to the test: they run, and what they print can go wrong."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from clipbench import spec
from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import Rules

pytestmark = pytest.mark.slow  # tables are simulated

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks" / "statistics"
NAMES = ("suites", "coverage", "false_alarms", "power", "mistakes")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A script of the folder by its name; the names are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield import_module
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "words", "rows"),
    [
        ("coverage", ("--draws", "400"), 6),
        ("false_alarms", ("--suites", "4"), 5),
        ("power", ("--suites", "1"), 9),
    ],
)
def test_a_short_run_prints_every_row(name: str, words: tuple[str, ...], rows: int) -> None:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *words]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4 + rows
    assert all(re.search(r"\d%", line) for line in lines[4:])


def test_the_same_seed_simulates_the_same_suites(script: Callable[[str], ModuleType]) -> None:
    suites = script("suites")
    noise = suites.Noise(0.02, 0.005)
    one, other = (suites.pair(np.random.default_rng(3), noise, arms=2, seeds=3) for _ in range(2))
    assert one == other


def test_simulated_noise_is_as_large_as_it_says(script: Callable[[str], ModuleType]) -> None:
    """The paired one, of seeds that are shared and of seeds that are not."""
    suites = script("suites")
    for shared, expected in ((True, 0.005 * np.sqrt(2)), (False, np.sqrt(2 * (0.02**2 + 0.005**2)))):
        for tail in ("normal", "t3"):
            noise = suites.Noise(0.02, 0.005, tail, shared)
            sides = suites.pair(np.random.default_rng(0), noise, arms=1, seeds=20_000)
            ours, theirs = (np.log([run.final_loss for run in side.arms[0].seeds]) for side in sides)
            # the variance of t with 3 degrees of freedom has no standard error to speak of
            assert np.std(ours - theirs) == pytest.approx(expected, rel=0.02 if tail == "normal" else 0.2)


def test_a_planted_regression_is_planted_where_it_is_said_to_be(script: Callable[[str], ModuleType]) -> None:
    suites = script("suites")
    noise = suites.Noise(0.02, 1e-6)
    candidate, baseline = suites.pair(np.random.default_rng(0), noise, arms=3, seeds=5, worse={1: 0.05})
    report = check(candidate, baseline, Rules())
    assert [(row.arm, row.metric) for row in report.rows if row.verdict == "regressed"] == [("arm 1", "loss")]


def test_every_mistake_is_one_in_the_code_that_is_run(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    mistakes = script("mistakes")
    for name, (old, new) in mistakes.MISTAKES.items():
        changed = mistakes.SUBJECT.replace(old, new)
        compile(changed, name, "exec")
        assert mistakes.SUBJECT.count(old) == 1 or old == new == ""
    path = tmp_path / "mistakes.yaml"
    path.write_text(mistakes.SPEC.format(**mistakes.RIGHT, steps=20, seeds="0, 1").replace('"subject:Subject"', "adam"))
    with pytest.raises(Exception, match="'adam' has no option 'beta2'"):  # all else in it is right
        spec.load(path)
    for change in mistakes.MEANT.values():
        assert change.keys() <= mistakes.RIGHT.keys()
