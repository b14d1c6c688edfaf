"""Every example of the README and of docs works as it stands there, in order, in an empty folder.

A block of Python or YAML that opens with `# name.py` or `# name.yaml` is that file. A line `$ clipbench ...` or
`$ python ...` is run, and ends with exit code 0 or the one in its comment, `# exit code 3`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from clipbench.planning.extending import EXTENSIONS
from clipbench.spec import load
from clipbench.spec.claims import load as load_claims

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"design.md", "adding.md", "index.md"}  # tests/test_documents.py runs the examples of adding.md
PAGES = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.name not in ELSEWHERE),
]
CONTINUES = {  # asks for the results of that page
    "docs/reading.md": "docs/start.md",
    "docs/page.md": "docs/start.md",
    "docs/export.md": "docs/start.md",
    "docs/claims.md": "docs/spec.md",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language, text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(python|yaml|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def name_of(text: str) -> str:
    named = re.match(r"# ([\w.]+\.(?:py|yaml))\n", text)
    return named[1] if named else ""


def follow(page: str, folder: Path) -> None:
    for language, text in blocks(page):
        name = name_of(text)
        if name:
            (folder / name).write_text(text, encoding="utf-8")
        if language == "console":
            for line in text.splitlines():
                enter(line, folder)
        elif language == "yaml":
            assert name, f"{page}: a spec without a name is tried by nothing"
            load_claims(folder / name) if "\nclaims:" in text else load(folder / name)
        else:
            exec(compile(text, f"{page}:{name}", "exec"), {"__name__": "example"})


def enter(line: str, folder: Path) -> None:
    command, _, code = line.removeprefix("$ ").partition("  # exit code ")
    program, *words = shlex.split(command)
    assert line.startswith("$ ")
    assert program in ("clipbench", "python")
    start = [sys.executable, *(["-m", "clipbench"] if program == "clipbench" else [])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*start, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == int(code or 0), f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_every_example_works(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # specs name modules beside them
    monkeypatch.syspath_prepend(str(tmp_path))
    for each in (CONTINUES.get(page), page):
        if each:
            follow(each, tmp_path)


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    kinds = {
        (page, kind)
        for page in PAGES
        for kind in re.findall(r"^```(\S+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {kind for _, kind in kinds} <= {"python", "yaml", "console", "{eval-rst}"}


def test_the_page_on_tuning_says_how_often_a_grid_is_extended() -> None:
    times = ("one", "two", "three", "four")[EXTENSIONS - 1]
    assert f"at most {times} times" in " ".join((ROOT / "docs/tuning.md").read_text(encoding="utf-8").split())
