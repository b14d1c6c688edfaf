"""A few results folders of strangers; `python tests/fuzz/folders.py` tries as many as it is told."""

import os

import pytest
from fuzz.folders import Findings, read_at_random, run_at_random

pytestmark = pytest.mark.slow  # commands run in folders with random faults

FOLDERS, RUNS = (int(os.environ.get(f"CLIPBENCH_FUZZ_{name}", few)) for name, few in (("FOLDERS", 25), ("RUNS", 2)))


def test_no_folder_ends_a_reading_command_as_it_should_not() -> None:
    findings = Findings()
    read_at_random(1, range(FOLDERS), findings)
    assert findings.wrong == []
    assert sum(findings.codes.values()) == 14 * FOLDERS


def test_no_folder_ends_a_run_as_it_should_not() -> None:
    findings = Findings()
    run_at_random(1, range(RUNS), findings)
    assert findings.wrong == []
    assert sum(findings.codes.values()) == RUNS
