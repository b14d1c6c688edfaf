"""The benchmark of `compare` runs, on few made-up runs, and its runs are what the store reads."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipbench import store

pytestmark = pytest.mark.slow  # a table is timed

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "compare.py"


def test_it_prints_seconds_and_memory_and_its_runs_can_be_read(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--runs", "120", "--rounds", "1", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("compare over 120 runs: ")
    assert "target" not in done.stdout  # which is for 10,000
    records, errors = store.read_all(tmp_path)
    assert (len(records), errors) == (120, [])
    assert all(record.key == record.run.key for record in records)
    assert {len(record.measurements) for record in records} >= {82}


def test_no_runs_are_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--runs", "0", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "must be at least 1" in done.stderr
