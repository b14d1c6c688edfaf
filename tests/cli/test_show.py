"""`clipbench show` of a run, of a folder of runs, and `compare` without a folder."""

from pathlib import Path

import pytest
from cli.front import Ask, asking, stored
from judging.made import quickstart


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return asking(monkeypatch, capsys)


def test_a_folder_of_several_runs_is_listed_and_one_of_a_single_run_shows_it(ask: Ask) -> None:
    stored(quickstart(), Path("results"))
    assert ask("show", "results") == ask("list", "runs", "results")
    [run, *_] = sorted(Path("results/quickstart/code_lm/adam").iterdir())
    one = ask("show", run)
    assert one.out.startswith("code_lm/adam/seed ")
    for other in sorted(run.parent.iterdir())[1:]:
        other.rename(other.name)
    assert ask("show", run.parent) == one
    assert ask("show", run.name.partition("-")[2]).out == one.out  # by its key


def test_what_is_no_run_and_no_folder_of_runs_is_an_error(ask: Ask) -> None:
    Path("results").mkdir()
    Path("empty").mkdir()
    answer = ask("show", "empty")
    assert (answer.code, answer.out) == (2, "")
    assert "'empty' fits 0 runs" in answer.err


def test_results_are_compared_where_no_folder_is_named(ask: Ask) -> None:
    answer = ask("compare")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: results: there is no such folder\n")
    stored(quickstart(), Path("results"))
    assert ask("compare", "--format", "json") == ask("compare", "results", "--format", "json")
