"""Every example of the README and of docs works as it stands there, in order, in an empty folder, and its runs finish.

A block of Python or YAML is the file that the line above it names last: "In `first.yaml`:". A line `$ clipbench ...`
or `$ python ...` is run, and ends with exit code 0 or the one in its comment, `# exit code 3`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NOT_INSTALLED

from clipbench import store
from clipbench.judging.compare import compare
from clipbench.planning.extending import EXTENSIONS
from clipbench.spec import load
from clipbench.spec.claims import load as load_claims

ROOT = Path(__file__).parents[1]
# tests/test_documents.py runs the examples of adding.md, tests/running/test_slurm.py and test_ray.py those on clusters.
ELSEWHERE = {"design.md", "adding.md", "index.md", "slurm.md", "ray.md"}
PAGES = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.name not in ELSEWHERE),
]
START = "docs/start.md"
CONTINUED = {  # these pages ask for the results of that page
    START: ["docs/reading.md", "docs/page.md", "docs/export.md"],
    "docs/spec.md": ["docs/claims.md"],
}
NEEDS = {"docs/optimizers.md": ("pytorch_optimizer", "schedulefree")}  # packages of the examples
READ_AFTER = {page for pages in CONTINUED.values() for page in pages}


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The fenced blocks of a page: the line above, language, text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.finditer(r"^```(python|yaml|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(text[: block.start()].rstrip().rpartition("\n")[2], block[1], block[2]) for block in fenced]


def name_of(above: str, language: str) -> str:
    suffix = {"python": "py"}.get(language, language)
    named = re.search(rf"`([\w.]+\.{suffix})`[^`]*:$", above)
    return named[1] if named else ""


def follow(page: str, folder: Path) -> None:
    for above, language, text in blocks(page):
        name = name_of(above, language)
        if name:
            (folder / name).write_text(text, encoding="utf-8")
        if language == "console":
            for line in text.splitlines():
                enter(line, folder)
        elif language == "yaml":
            assert name, f"{page}: a spec without a name is tried by nothing"
            load_claims(folder / name) if text.startswith("claims:") else load(folder / name)
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
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page not in READ_AFTER])
def test_every_example_works_and_its_runs_finish(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package, reason=f"{NOT_INSTALLED}{package}")
    monkeypatch.chdir(tmp_path)  # specs name modules beside them
    monkeypatch.syspath_prepend(str(tmp_path))
    for each in (page, *CONTINUED.get(page, ())):
        follow(each, tmp_path)
    for results in tmp_path.glob("results/*"):
        records, errors = store.read_all(results)
        assert not errors
        assert {record.folder: record.status for record in records if record.status != "finished"} == {}
        assert records
    if page == START:
        the_first_example_is_decided(tmp_path / "results/first")


def the_first_example_is_decided(results: Path) -> None:
    """In its verdict, and with noise between seeds that a reader can see."""
    question = store.read_question(results)
    assert question is not None
    _, row = compare(store.read_all(results)[0], question).rows
    assert row.judged is not None
    assert row.difference is not None
    assert row.judged.word in ("lower", "higher")
    assert row.difference.error > 0.01 * abs(row.difference.mean)


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    kinds = {
        (page, kind)
        for page in [*PAGES, "docs/slurm.md", "docs/ray.md"]
        for kind in re.findall(r"^```(\S+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {kind for _, kind in kinds} <= {"python", "yaml", "console", "{eval-rst}"}


def test_the_page_on_tuning_says_how_often_a_grid_is_extended() -> None:
    times = ("one", "two", "three", "four")[EXTENSIONS - 1]
    assert f"at most {times} times" in " ".join((ROOT / "docs/tuning.md").read_text(encoding="utf-8").split())
