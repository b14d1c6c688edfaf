"""A test that lacks an optional part is skipped on a user's machine, and fails where all parts are to be there."""

import pytest
from conftest import NOT_INSTALLED, _reason, _with_all_parts


def skipped(reason: str) -> pytest.CollectReport:
    return pytest.CollectReport("tests/x.py", "skipped", ("tests/x.py", 3, f"Skipped: {reason}"), [])


@pytest.mark.parametrize(
    ("asked", "reason", "outcome"),
    [
        ("1", f"{NOT_INSTALLED}triton", "failed"),
        ("1", "needs a GPU", "skipped"),
        ("", f"{NOT_INSTALLED}triton", "skipped"),
    ],
)
def test_a_skip_for_want_of_an_optional_part_fails_where_all_are_asked_for(
    asked: str, reason: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPBENCH_TEST_ALL", asked)
    report = _with_all_parts(skipped(reason))
    assert report.outcome == outcome
    assert reason in str(report.longrepr)


def test_what_was_not_skipped_has_no_reason() -> None:
    assert _reason(pytest.CollectReport("tests/x.py", "passed", None, [])) == ""
    assert _reason(skipped("needs a GPU")) == "needs a GPU"
