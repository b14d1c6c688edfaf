"""Commands are imported when they are asked for, and are told of before."""

import subprocess
import sys

import pytest
from cli.front import Ask, asking

from clipbench.cli.commands import COMMANDS


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    return asking(monkeypatch, capsys)


@pytest.mark.slow
def test_help_and_a_typo_import_no_command() -> None:
    for words in (["--help"], ["compar"]):
        program = (
            f"import sys; sys.argv = ['clipbench', *{words!r}]\nfrom clipbench import cli\n"
            "try: cli.main()\nexcept SystemExit: pass\n"
            "heavy = ('clipbench.cli.c', 'clipbench.spec', 'clipbench.judging')\n"
            "print([name for name in sys.modules if name.startswith(heavy)])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "['clipbench.cli.commands']"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(ask: Ask, name: str) -> None:
    answer = ask(name, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: clipbench {name} ")


def test_a_typo_is_likened_to_a_command(ask: Ask) -> None:
    answer = ask("compar")
    assert (answer.code, answer.out) == (2, "")
    assert "Did you mean 'compare'?" in answer.err
