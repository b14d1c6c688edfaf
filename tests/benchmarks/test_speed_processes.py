"""The benchmark of a step that processes share runs, and prints a ratio for each figure."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "processes.py"


@pytest.mark.slow
def test_a_quick_run_prints_the_ratio_of_a_step_and_of_the_exchange() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, check=True)
    ratios = re.findall(r"^a step on .* ms +(\d+\.\d\d)$", done.stdout, re.MULTILINE)
    assert len(ratios) == 4
    assert all(float(ratio) > 0 for ratio in ratios)
