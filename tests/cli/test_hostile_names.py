"""Results of strangers, whose every name and reason acts on a terminal, a CI, a page or a spreadsheet."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from cli.front import Ask, asking
from judging.made import HERE, record, run, with_rows
from pydantic import TypeAdapter

from clipbench import console, store
from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.questions import Question, Target
from clipbench.records import Choice, Record

ACTS = "\x1b[31m\x1b]8;;http://x\x07\b\r\n::error::owned\n\t::set-output name=a::b\x85\u202e\u2066\u200b##[error]\x9b1m"
NAME = f"=1+1[red]{ACTS}|<b>`*_\\&%$#{{}}[link=http://x]"
QUANTITY = "=q[red]\x1b[31m\u202e"  # of a measurement, whose row a line end would end
METRIC = f"{QUANTITY}\u200b"  # of the task, and its target
FORMATS = ("table", "markdown", "latex", "csv", "json")


def hostile(results: Path, losses: tuple[float, ...]) -> None:
    """The results of two arms on a task, and of a third whose run failed, in folders with plain names."""
    told = replace(HERE, device_name=NAME, machine={NAME: NAME}, numerics={NAME: NAME})
    task = Choice(NAME, NAME, NAME, {"path": NAME})
    for place, arm in enumerate((NAME, f"@{NAME}")):
        for seed in range(3):
            made = replace(run(arm, use="sgd", seed=seed, spec=NAME, options={"form": NAME}), task=task)
            kept = record(made, losses, sharpness=[1.0, 2.0], clipped=[0.1], environment=told)
            rows = [Measurement(0, 0.0, "", METRIC, 0.1), Measurement(50, 0.5, "", METRIC, 0.9)]
            rows.append(Measurement(50, 0.5, QUANTITY, QUANTITY, 1.0))
            left_behind(with_rows(kept, rows), results / f"s/t/{place}/{seed}-{made.key}")
    failed = replace(run("failed", use="sgd", spec=NAME), task=task)
    crashed = record(failed, losses, status="failed", reason=f"Error: {NAME}", environment=told)
    left_behind(crashed, results / f"s/t/2/0-{failed.key}")
    targets = {NAME: Target(quantity=METRIC, at_least=0.5)}
    asked = Question(spec=NAME, text=NAME, arms=(NAME, f"@{NAME}", "failed"), baseline=NAME, targets=targets)
    (results / "s/question.json").write_bytes(TypeAdapter(Question).dump_json(asked))


def left_behind(of: Record, folder: Path) -> None:
    store.describe(of.run, folder)
    writer = store.Writer(folder)
    for row in of.measurements:
        writer(row)
    writer.sync()
    writer.close()
    assert of.outcome is not None
    store.finish(folder, of.outcome, of.environment)
    (folder / store.LOG).write_text(f"{NAME}\nTraceback: {NAME}\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strange")
    hostile(folder / "results", (5.0, 4.0, 3.0))
    hostile(folder / "before", (5.0, 3.0, 2.0))
    (folder / "x.yaml").write_text("task: quadratic\n")
    return folder


@pytest.fixture
def ask(made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "100")
    return asking(monkeypatch, capsys)


def is_harmless(text: str) -> bool:
    """Only printable text in lines none of which is a command."""
    printable = all(character.isprintable() or character in "\n\t" for character in text)
    return printable and not any(line.lstrip().startswith("::") or "##[" in line for line in text.split("\n"))


COMMANDS = [
    *(("compare", "results", *more) for more in ((), ("--full",), ("--metric", "steps"), ("--task", f"no{ACTS}"))),
    *(("compare", "results", "--format", fmt) for fmt in FORMATS),
    *(("compare", "results", "--by", "arm", "--format", fmt) for fmt in FORMATS),
    *(("audit", "results", "--format", fmt) for fmt in FORMATS),
    *(("claims", "results", "--each", "--format", fmt) for fmt in FORMATS),
    *(("check", "results", "--baseline", "before", "--format", fmt) for fmt in FORMATS),
    ("check", "results", "--save-baseline", f"kept{ACTS.replace('/', '')}.json"),
    *(("list", "runs", "results"), ("list", "runs", "results", "--json"), ("merge", "results", "before", "-o", "all")),
    *(("compare", f"no{ACTS}"), ("run", f"no{ACTS}.yaml"), ("run", f"--no{ACTS}"), (f"no{ACTS}",)),
    *(("compare", "results", "--baseline", ACTS), ("list", ACTS), ("show", ACTS), ("check", "results", ACTS)),
    *(("run", "x.yaml", "--seeds", ACTS), ("validate", "x.yaml", "--set", f"a{ACTS}=1"), ("compare", "--at", ACTS)),
]


@pytest.mark.parametrize(
    "words", COMMANDS, ids=lambda words: " ".join(words[:4]).encode("ascii", "replace").decode()[:30]
)
def test_no_command_in_any_format_lets_a_name_act(ask: Ask, words: tuple[str, ...]) -> None:
    answer = ask(*words)
    assert answer.out + answer.err
    assert is_harmless(answer.out)
    assert is_harmless(answer.err)


def test_a_run_is_shown_with_its_log(ask: Ask, made: Path) -> None:
    folders = store.run_folders(made / "results")
    assert len(folders) == 7
    for folder in folders:
        answer = ask("show", folder)
        assert answer.code == 0
        assert is_harmless(answer.out)
        assert "[link=http://x]" in answer.out.replace("\n", "").replace(" ", "")  # nor was it taken for markup


def test_a_table_still_has_one_line_a_row(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    lines = ask("compare", "results", "--full").out.splitlines()
    heading = next(place for place, line in enumerate(lines) if line.lstrip().startswith("arm "))
    assert set(lines[heading + 1]) == {"─"}
    assert [line.split()[0][:8] for line in lines[heading + 2 : heading + 5]] == ["=1+1[red", "=", "x"]


def test_json_and_csv_are_read_back_with_the_names(ask: Ask) -> None:
    rows = json.loads(ask("compare", "results", "--format", "json").out)["rows"]
    assert [row["arm"] for row in rows] == [NAME, f"@{NAME}", "failed"]
    table = list(csv.reader(io.StringIO(ask("compare", "results", "--format", "csv").out)))
    assert len(table) == 4
    texts = [cell for row in table for cell in row if cell and not is_number(cell)]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in texts)
    assert any(cell.startswith("'=1+1[red]") for cell in texts)
    assert any(is_number(cell) and float(cell) <= 0 for row in table for cell in row)  # numbers have no apostrophe


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_the_files_for_a_ci_hold_nothing_that_acts(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    answer = ask("check", "results", "--baseline", "before", "--junit", "junit.xml", "--tolerance", "0")
    assert answer.code == 1
    assert is_harmless(Path("summary.md").read_text())
    junit = Path("junit.xml").read_text()
    assert is_harmless(junit)
    assert fromstring(junit).findall("testsuite")
    assert is_harmless(answer.err)


def test_a_folder_whose_name_is_no_text_is_told_of_in_a_baseline_and_to_a_ci(
    ask: Ask, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    shutil.copytree(made / "results", results)
    twice = store.run_folders(results)[0]
    shutil.copytree(twice, twice.with_name("\udcff\udcfe"))
    assert ask("check", results, "--save-baseline", tmp_path / "kept.json").code == 0
    kept = (tmp_path / "kept.json").read_text()
    assert any(r"\udcff\udcfe" in caveat for caveat in json.loads(kept)["caveats"])
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    for side, other in (("before", results), (results, "before"), (tmp_path / "kept.json", "before")):
        for fmt in FORMATS:
            answer = ask("check", other, "--baseline", side, "--junit", tmp_path / "junit.xml", "--format", fmt)
            assert answer.code in (0, 1, 3)
            assert is_harmless(answer.out)
    assert is_harmless((tmp_path / "junit.xml").read_text())
    assert "udcff" in (tmp_path / "summary.md").read_text()


def tell_in_every_way(error: StoreError) -> None:
    console.complain(error)
    console.say(f"{error.message}{ACTS}")
    console.tell(ACTS)
    console.put(ACTS)


def test_an_error_with_such_words_keeps_its_own_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    tell_in_every_way(StoreError(f"found {ACTS}", where=f"where{ACTS}", remedy=f"do {ACTS}"))
    out, err = capsys.readouterr()
    assert is_harmless(out + err)
    assert err.splitlines()[0].startswith(r"error: where\x1b[31m")
    assert err.splitlines()[1].startswith(r"  do \x1b[31m")
    assert err.splitlines()[2].startswith(r"found \x1b[31m")
