"""The benchmark of what a run costs beside its training, on a few runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipbench.budget import LEDGER_ROWS

pytestmark = pytest.mark.slow  # runs are timed

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "overhead.py"


def test_it_gives_a_runs_own_cost_and_the_wall_time_of_many() -> None:
    command = [sys.executable, str(SCRIPT), "--runs", "2", "--many", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    rows, figures = done.stdout.split("\n\n")
    medians = {" ".join(row.split()[:-3]): float(row.split()[-3]) for row in rows.splitlines()[2:]}
    assert set(medians) == {*(f"ledger: {row}" for row in LEDGER_ROWS), "processor", "own cost: processor − train"}
    assert 0 < medians["own cost: processor − train"] < medians["processor"] < 5
    own, wall, whole = figures.splitlines()
    assert own.startswith("own cost of a run: ")
    assert wall.startswith("3 runs of ")
    assert whole.startswith("processor seconds of the whole command: ")
