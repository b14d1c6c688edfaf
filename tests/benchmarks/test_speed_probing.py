"""The benchmark of what looking costs, on runs of a few steps."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # runs are timed

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "probing.py"


def test_it_times_whole_runs_and_says_where_the_time_went() -> None:
    command = [sys.executable, str(SCRIPT), "--rounds", "1", "--steps", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "with ten ghosts" in done.stdout
    assert "ghosts " in done.stdout
    assert " × the run without" in done.stdout
    assert "target" not in done.stdout  # which is for 200 steps
