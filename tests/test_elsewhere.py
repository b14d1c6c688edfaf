"""Results and specs are read without torch, and without what Windows lacks; to make runs there is refused in words."""

import sys

import pytest
from elsewhere import COMMANDS, End, given

NO_TORCH = "error: torch is not installed\n  pip install torch: runs need it, reading results does not\n"
NO_UNIX = """\
error: making runs needs Linux or macOS
  results that were made there can be read here: clipbench compare FOLDER
"""
OF_ONES_OWN = "task: quadratic\noptimizers: {mine: {use: 'mine:Mine', lr: 1}}\nbudget: {steps: 1}\nseeds: [0]\n"
MAKING = (("run", "quickstart"), ("doctor",), ("validate", "quickstart", "--build"))

pytestmark = pytest.mark.slow  # two new processes that import everything


@pytest.fixture(scope="module", params=["without torch", "as on windows"])
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[End]]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "own.yaml").write_text(OF_ONES_OWN)
    (folder / "mine.py").write_text("class Mine:\n    def __init__(self, params, lr): ...\n")
    commands = [*COMMANDS, *MAKING, ("validate", "own.yaml")]
    return request.param, given(sys.executable, request.param, folder, commands)


def test_every_command_that_reads_works(ends: tuple[str, list[End]]) -> None:
    assert [(words, end) for words, end in zip(COMMANDS, ends[1], strict=False) if end.code] == []


def test_making_runs_is_refused_in_a_sentence(ends: tuple[str, list[End]]) -> None:
    where, of_all = ends
    refused = of_all[len(COMMANDS) : -1]
    assert {end.code for end in refused} == {2}
    assert {end.err for end in refused} == {NO_TORCH if where == "without torch" else NO_UNIX}


def test_code_of_ones_own_is_looked_into_where_processes_are_forked(ends: tuple[str, list[End]]) -> None:
    where, of_all = ends
    refused = "code from outside clipbench is looked into on Linux and macOS alone"
    assert (of_all[-1].code == 0) == (where == "without torch")
    assert (refused in of_all[-1].err) == (where == "as on windows")
