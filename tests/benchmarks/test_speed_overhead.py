"""The benchmark of what a run costs beside its training, on one short run."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipbench.budget import LEDGER_ROWS

pytestmark = pytest.mark.slow  # runs are timed

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "overhead.py"


def test_it_gives_the_processors_time_by_each_part_of_the_ledger() -> None:
    command = [sys.executable, str(SCRIPT), "--rounds", "1", "--steps", "2", "--arm", "sgd"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    title, _, _, _, *rows = done.stdout.splitlines()
    assert title == "code_lm, sgd, 2 steps, median of 1 fresh processes, one thread"
    parts = {" ".join(row.split()[:-3]): float(row.split()[-3]) for row in rows if row and ";" not in row}
    assert set(parts) >= {*LEDGER_ROWS, "all but train"}
    assert parts["train"] > 0
    everything = sum(parts[row] for row in LEDGER_ROWS)
    assert abs(everything - parts["train"] - parts["all but train"]) < 0.01


def test_an_arm_that_the_quickstart_lacks_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--arm", "bear"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 1
    assert "the quickstart has no arm 'bear'; it has adafactor, adam, " in done.stderr
