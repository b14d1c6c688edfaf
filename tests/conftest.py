"""Every test runs on one thread, tries the same examples each time, without a clock, and hears Ctrl-C.

The suite is parallel over tests, and the number of threads changes the bits. A shell starts a job in the background
deaf to Ctrl-C, and whatever that job starts would inherit it: the tests that interrupt a run would wait for ever.
Hypothesis would fail a test that a busy machine holds up.

A test that needs an optional package or tool is skipped where that is not installed, with a reason that begins with
`NOT_INSTALLED`. With CLIPBENCH_TEST_ALL=1, as in continuous integration, it fails there.
"""

import os
import re
import signal
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from hypothesis import settings

NOT_INSTALLED = "not installed: "
SLOW_AS_A_WHOLE = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("clipbench", deadline=None, derandomize=True)
settings.load_profile("clipbench")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the fast tests the import of files that are slow as a whole: it takes a fifth of their time."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return True if SLOW_AS_A_WHOLE.search(collection_path.read_text(encoding="utf-8")) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _with_all_parts((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _with_all_parts((yield))


def _with_all_parts(report: Report) -> Report:
    """A failure in place of a skip for want of an optional part, where all of them are to be there."""
    reason = _reason(report)
    if reason.startswith(NOT_INSTALLED) and os.environ.get("CLIPBENCH_TEST_ALL"):
        report.outcome = "failed"
        report.longrepr = f"{reason}, and CLIPBENCH_TEST_ALL asks for every optional part"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test, or a file of tests, was skipped; empty where it was not."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out, and why."""
    reasons = Counter(map(_reason, terminalreporter.stats.get("skipped", [])))
    if reasons:
        told = "; ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"skipped: {told}")
