"""What a shell is offered where a name is to be typed."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cli.front import stored
from judging.made import quickstart

from clipbench.cli import main
from clipbench.cli.init import SPEC_NAME

HOME = Path(__file__).parents[2]
Offered = Callable[[str], list[str]]


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offered:
    """What is offered for the last word of a line, as bash asks for it."""
    monkeypatch.chdir(tmp_path)
    stored(quickstart(), tmp_path / "results")
    (tmp_path / "odd.yaml").write_text("optimizers: {normalized sgd: {}, $(touch x): {}}\n")
    (tmp_path / "mine.yaml").write_text("optimizers: {slow: {}, slower: {}, fast: {}}\n")

    def ask(line: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["clipbench"])
        monkeypatch.setenv("_CLIPBENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        out, err = capsys.readouterr()
        assert err == ""
        return [word for word in out.splitlines() if word]

    return ask


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("clipbench mer", ["merge"]),
        ("clipbench run quickstart_", ["quickstart_rates"]),
        ("clipbench run mi", ["mine.yaml"]),
        ("clipbench run mine.yaml --filter slo", ["slow", "slower"]),
        ("clipbench plan none.yaml --filter ", []),
        ("clipbench run odd.yaml --filter ", ["normalized\\ sgd", "\\$\\(touch\\ x\\)"]),
        ("clipbench compare --baseline sgd", ["sgd", "sgd+clip"]),
        ("clipbench compare results --baseline a", ["adam"]),
        ("clipbench compare none --baseline ", []),
        ("clipbench compare results --metric direc", ["directional_sharpness"]),
        ("clipbench compare results --columns update_norm,direc", ["update_norm,directional_sharpness"]),
        ("clipbench compare results --section mat", ["matched"]),
        ("clipbench list opt", ["optimizers"]),
        ("clipbench init --optimizer normal", ["normalized_sgd"]),
        ("clipbench init --task quad", ["quadratic"]),
    ],
)
def test_names_are_completed(offered: Offered, line: str, words: list[str]) -> None:
    assert offered(line) == words


def test_a_name_that_would_act_on_the_terminal_is_not_offered(offered: Offered) -> None:
    Path("mine.yaml").write_text('optimizers: {"a\\x1b[31m": {}, ab: {}}\n')
    assert offered("clipbench run mine.yaml --filter a") == ["ab"]


def test_the_hook_of_pre_commit_checks_the_spec_of_init_and_no_other_yaml() -> None:
    [hook] = yaml.safe_load((HOME / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"] == "clipbench validate"
    fits = [
        path for path in (SPEC_NAME, "benchmarks/a.yml", "mkdocs.yml", "x/y.yaml") if re.search(hook["files"], path)
    ]
    assert fits == [SPEC_NAME, "benchmarks/a.yml"]
