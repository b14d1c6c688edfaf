"""What the documents for developers name is there, and their examples work."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from judging.made import question as asked
from judging.made import quickstart
from making import outcome_of
from reference.problems import problem
from reference.snapshots import snapshot

from clipbench.judging.compare import compare
from clipbench.report.page.subject import subject_of
from clipbench.report.table import Document
from clipbench.running.engines import Engine
from clipbench.spec import catalogue
from clipbench.spec.claims import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
TOP = ("clipbench/", "tests/", "benchmarks/", "docs/", "results/reference")
MOST_WORDS = 45


def prose(name: str) -> str:
    """A document without its blocks of code."""
    return re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_local_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", prose(name))
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (ROOT / name).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name not in ("README.md", "CHANGELOG.md")])
def test_every_path_that_is_named_is_there(name: str) -> None:
    words = [word for quoted in re.findall(r"`([^`]+)`", prose(name)) for word in quoted.split()]
    paths = [word for word in words if word.startswith(TOP) or word in ("Makefile", "pyproject.toml")]
    assert paths or name.startswith("docs/")
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_glossary_says_each_word_once_and_is_short() -> None:
    glossary = prose("docs/design.md").split("## 4. Glossary")[1].split("\n## ")[0]
    words = re.findall(r"^\| ([^|]+?) \| [A-Z]", glossary, re.MULTILINE)
    assert 40 <= len(words) <= MOST_WORDS
    assert len(set(words)) == len(words)


def test_the_readme_leads_to_the_documents_for_developers() -> None:
    links = set(re.findall(r"\]\(([^)#]+)", prose("README.md")))
    assert links >= {"docs/design.md", "docs/adding.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"}


def examples(language: str) -> list[str]:
    text = (ROOT / "docs/adding.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def path_of(code: str) -> str:
    [path] = re.findall(r"^# (\S+\.py)", code, re.MULTILINE)
    return str(path)


EXAMPLES: dict[str, str] = {}  # by the file that they are for, or are added to
for example in examples("python"):
    EXAMPLES[path_of(example)] = EXAMPLES.get(path_of(example), "") + example


def run(path: str) -> dict[str, Any]:
    """The names of an example: a file of its own, or lines that are added to a file that is there."""
    module = path.removeprefix("tests/").removesuffix(".py").replace("/", ".")
    names = dict(vars(import_module(module))) if (ROOT / path).exists() else {"__name__": "example"}
    exec(compile(EXAMPLES[path], path, "exec"), names)
    return names


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_example_runs(path: str) -> None:
    assert run(path)


@pytest.mark.parametrize("path", [path for path, code in EXAMPLES.items() if code.startswith('"""')])
@pytest.mark.parametrize("words", ["check", "format --check"])
def test_an_example_that_is_a_file_keeps_the_rules_of_files(words: str, path: str) -> None:
    ruff = [sys.executable, "-m", "ruff", *words.split(), "--stdin-filename", path, "-"]
    done = subprocess.run(ruff, input=EXAMPLES[path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.split("/")[1] in catalogue.KINDS])
def test_an_example_for_a_shelf_is_enrolled_by_its_one_file(path: str, tmp_path: Path) -> None:
    _, kind, file = path.split("/")
    (tmp_path / kind).mkdir()
    (tmp_path / kind / file).write_text(EXAMPLES[path], encoding="utf-8")
    [known] = [each for each in catalogue.KINDS if each == kind]
    entry = catalogue.entry(known, Path(file).stem, root=tmp_path)
    assert (entry.broken, [option.name for option in entry.options if not option.doc]) == ("", [])


def test_the_probe_measures_each_direction() -> None:
    held = snapshot(problem("mlp"))
    rows = {row[:2]: row[2] for row in run("clipbench/probes/extent.py")["measure"](held)}
    assert rows.keys() == {(direction, "update_extent") for direction in held.directions}
    largest = max(abs(u) for part in held.directions["own"].values() for u in part.flatten().tolist())
    assert rows["own", "update_extent"] == largest


def test_the_engine_has_every_method_of_an_engine() -> None:
    methods = {name for name, value in vars(Engine).items() if callable(value) and not name.startswith("_")}
    assert "wait" in methods
    assert methods <= vars(run("clipbench/running/engines/plain.py")["PlainEngine"]).keys()


def test_the_section_and_the_format_show_the_slowest_seed() -> None:
    comparison = compare(quickstart(), asked("sgd", "sgd+clip", "adam", target=3.3))
    table = run("clipbench/report/slowest.py")["table"](comparison)
    text = run("clipbench/report/tsv.py")["as_tsv"](Document([table]))
    assert text.splitlines() == ["arm\tmost_steps", "sgd\t150", "sgd+clip\t100", "adam\tinf"]


def test_the_picture_has_a_bar_for_each_arm_that_says_its_memory() -> None:
    told = [replace(each, outcome=replace(outcome_of(each), peak_bytes=5)) for each in quickstart()[:2]]
    [figure] = run("clipbench/report/page/memory.py")["figures"](subject_of(told, asked("sgd", "sgd+clip")), "code_lm")
    assert list(figure.rows) == [{"arm": "sgd", "value": 5.0}, {"arm": "sgd+clip", "value": 5.0}]


def test_the_claim_is_read(tmp_path: Path) -> None:
    [text] = examples("yaml")
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    [claim] = load(tmp_path / "mine.yaml")
    assert claim.name == "extent"
