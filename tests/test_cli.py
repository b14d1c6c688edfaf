"""The command line as a newcomer meets it: what is run, what is reused, what goes to stdout and what to stderr."""

import csv
import io
import json
import os
import pty
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from console import CLIPBENCH, Done, clipbench, environment, hashes, records, workplace
from making import outcome_of

pytestmark = pytest.mark.slow  # whole suites are run, in processes of their own

READING = (
    ["--help"],
    ["validate", "good.yaml"],
    ["validate", "good.yaml", "--build"],
    ["plan", "good.yaml"],
    ["compare", "results/good"],
    ["compare", "results/good", "--full"],
    ["compare", "results/good", "--format", "json"],
    ["merge", "results", "-o", "merged"],
    ["audit", "results/good"],
    ["audit", "good.yaml"],
    ["check", "results/good", "--baseline", "results/good"],
    ["init", "started"],
    ["show", "results/good/quadratic/sgd"],
    ["list", "tasks"],
    ["list", "runs"],
    ["list", "columns"],
    ["schema"],
    ["run", "good.yaml"],
)
FORMATS = ("table", "markdown", "latex", "csv", "json")
COMMANDS = (
    "init",
    "run",
    "plan",
    "status",
    "validate",
    "compare",
    "export",
    "merge",
    "audit",
    "check",
    "claims",
    "doctor",
    "show",
    "list",
    "schema",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workplace(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def first(here: Path) -> Done:
    return clipbench(here, "run", "good.yaml")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """Five optimizers of the user's own, four of which fail: by an error, by time, by a disk that fills or is full."""
    there = workplace(tmp_path_factory.mktemp("own"))
    return there, clipbench(there, "run", "own.yaml", "--timeout", 4, "--retries", 1, "--format", "jsonl")


def test_a_run_says_where_its_results_are_and_what_to_do_next(here: Path, first: Done) -> None:
    assert first.returncode == 0
    assert first.stdout == "results/good\n"
    lines = first.stderr.splitlines()
    assert lines[0] == "trying 3 arms on quadratic"
    assert "6 runs: 0 reused, 6 to make" in lines
    assert lines[-1] == "next: clipbench compare results/good"
    assert "[6/6]" in first.stderr
    assert "\x1b" not in first.stderr
    assert {record.outcome.status for record in records(here / "results").values() if record.outcome} == {
        "finished",
        "diverged",
    }


def test_a_line_for_a_finished_run_tells_its_last_loss(here: Path, first: Done) -> None:
    sgd = records(here / "results")["quadratic/sgd/seed 0"]
    loss = [row.value for row in sgd.measurements if row.quantity == "eval_loss"][-1]
    (line,) = [line for line in first.stderr.splitlines() if "sgd/seed 0" in line]
    assert line.endswith(f"loss {loss:.4g}")


def test_divergence_is_a_result_and_is_counted(here: Path, first: Done) -> None:
    """Pitfalls 6 and 21: an arm that left the numbers is shown as diverged, and never as having hit the target."""
    assert first.returncode == 0
    rows = list(csv.DictReader(io.StringIO(clipbench(here, "compare", "results/good", "--format", "csv").stdout)))
    wild = next(row for row in rows if row["arm"] == "wild")
    assert (wild["seeds_finished"], wild["seeds_diverged"], wild["final_loss"]) == ("0", "2", "nan")
    assert (wild["target_hits"], wild["steps_to_target"]) == ("0", "inf")
    assert "2 diverged" in clipbench(here, "compare", "results/good").stdout


@pytest.mark.usefixtures("first")
def test_the_second_run_does_nothing_says_so_and_starts_no_torch(here: Path, tmp_path: Path) -> None:
    before = hashes(here / "results")
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    again = clipbench(here, "run", "good.yaml", environ=environment(PYTHONPATH=path))
    assert again.returncode == 0
    assert "nothing to do: all 6 runs of good are there already" in again.stderr
    assert again.stderr.splitlines()[-1] == "next: clipbench compare results/good"
    assert again.stdout == "results/good\n"
    assert hashes(here / "results") == before


def test_a_command_makes_as_many_runs_as_it_is_allowed_and_those_that_are_asked_for(tmp_path: Path) -> None:
    there = workplace(tmp_path)
    made = [
        [*records(there / "results")]
        for words in (["--limit", 2], ["--only", "failed"], ["--only", "missing", "--limit", 3])
        if clipbench(there, "run", "good.yaml", *words).returncode == 0
    ]
    assert [len(each) for each in made] == [2, 2, 5]
    more = clipbench(tmp_path, "run", "good.yaml", "--limit", 1, "--dry-run")
    assert (more.returncode, "leave out --only and --limit" in more.stderr) == (2, True)
    left = clipbench(there, "run", "good.yaml", "--limit", 5)
    assert "left out" not in left.stderr
    assert "6 runs: 5 reused, 1 to make" in left.stderr
    assert len(records(there / "results")) == 6


def test_a_failed_run_is_made_again_or_left_as_it_is_asked(tmp_path: Path) -> None:
    there = workplace(tmp_path)
    clipbench(there, "run", "good.yaml", "--limit", 5)
    folder = Path(records(there / "results")["quadratic/sgd/seed 0"].folder)
    before = (folder / "run.json").read_text()
    (folder / "run.json").write_text(before.replace('"status": "finished"', '"status": "failed"'))
    left = clipbench(there, "run", "good.yaml", "--only", "missing")
    assert "1 run of good left out by --only; without it they are made" in left.stderr
    assert '"failed"' in (folder / "run.json").read_text()
    again = clipbench(there, "run", "good.yaml", "--only", "failed")
    assert "6 runs: 5 reused, 1 to make" in again.stderr
    assert outcome_of(records(there / "results")["quadratic/sgd/seed 0"]).status == "finished"


def test_a_tuned_spec_is_made_a_few_runs_at_a_time(tmp_path: Path) -> None:
    """Trials come first; what is reported is known only after them."""
    (tmp_path / "tuned.yaml").write_text(TUNED, encoding="utf-8")
    made = []
    for _ in range(4):
        assert clipbench(tmp_path, "run", "tuned.yaml", "--limit", 2).returncode == 0
        made.append(len(records(tmp_path / "results")))
    assert made == [2, 4, 6, 6]
    assert clipbench(tmp_path, "run", "tuned.yaml").stderr.count("nothing to do") == 2


TUNED = """
task: {use: quadratic, dimension: 16}
optimizers:
  sgd: {use: sgd, lr: [0.001, 0.002]}
  adam: {use: adam, lr: [0.001, 0.002]}
budget: {steps: 10}
seeds: [0]
tuning: {seeds: [100]}
measure: {probes: []}
"""


def test_only_a_deleted_run_is_made_again_and_ends_with_the_same_weights(
    first: Done, here: Path, tmp_path: Path
) -> None:
    """Beside it: on a terminal the runs are shown live. On a copy, for the audit finds runs timed in other company."""
    assert first.returncode == 0
    there = shutil.copytree(here, tmp_path / "there")
    before = records(there / "results")
    shutil.rmtree(before["quadratic/adam/seed 1"].folder)
    ended, shown = _on_a_terminal(there, "run", "good.yaml", "--jobs", "1", environ=environment(TERM="xterm"))
    assert ended == 0
    assert "6 runs: 5 reused, 1 to make" in shown
    assert "all runs" in shown
    assert "\x1b[2K" in shown  # a line is taken back: the display is live
    after = records(there / "results")
    assert hashes(there / "results") == {name: r.outcome.weights_sha256 for name, r in before.items() if r.outcome}
    changed = [name for name in after if outcome_of(after[name]).started != outcome_of(before[name]).started]
    assert changed == ["quadratic/adam/seed 1"]


def _on_a_terminal(here: Path, *words: str, environ: dict[str, str]) -> tuple[int, str]:
    """A command with both its streams on one terminal: how it ended, and all that was shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*CLIPBENCH, *words], cwd=here, env=environ, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        read = b""
        while True:
            try:
                read += os.read(ours, 65536)
            except OSError:  # how Linux says that nobody holds the other end any more
                break
        os.close(ours)
        return process.wait(), read.decode()


def test_an_edited_spec_makes_new_runs_and_leaves_the_old_ones_out(first: Done, here: Path, tmp_path: Path) -> None:
    assert first.returncode == 0
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    before = hashes(tmp_path / "results")
    spec = tmp_path / "good.yaml"
    spec.write_text(spec.read_text().replace("lr: 0.005", "lr: 0.004"))
    edited = clipbench(tmp_path, "run", "good.yaml", "--filter", "sgd", "--format", "jsonl")
    events = [json.loads(line) for line in edited.stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] != "advanced"] == [
        *["tried", "planned", "started", "started", "finished", "finished"],
        "results",
    ]
    assert (events[1]["total"], events[1]["reused"]) == (2, 0)
    table = clipbench(tmp_path, "compare", "results/good", "--format", "json")
    compared = json.loads(table.stdout)
    assert any("2 runs of an earlier version of the spec or its code" in caveat for caveat in compared["caveats"])
    assert len(records(tmp_path / "results")) == len(before)  # of one name there are two now, both still on disk
    assert len(list((tmp_path / "results").rglob("run.json"))) == len(before) + 2


def test_a_failed_run_keeps_its_row_its_reason_and_its_log(own: tuple[Path, Done]) -> None:
    there, done = own
    assert done.returncode == 4
    outcomes = {name: record.outcome for name, record in records(there / "results").items()}
    reasons = {name.split("/")[1]: outcome.reason for name, outcome in outcomes.items() if outcome}
    assert reasons["gentle"] == ""
    assert reasons["raising"] == "RuntimeError: too far"
    assert reasons["sleeping"] == "timed out after 4 s"
    assert "File too large" in reasons["filling"]
    assert reasons["full"].startswith("the worker could not write its result into")
    compared = clipbench(there, "compare", "results/own", "--full").stdout
    assert compared.count("1 failed") == 4
    shown = clipbench(there, *_last_command(done)[1:])
    assert "RuntimeError: too far" in shown.stdout
    assert 'raise RuntimeError("too far")' in shown.stdout


def test_a_crash_is_tried_again_as_often_as_was_asked_for(own: tuple[Path, Done]) -> None:
    """But for what fails at its first step, which is found before any run."""
    events = [json.loads(line) for line in own[1].stdout.splitlines()]
    started = [event["arm"] for event in events if event["event"] == "started"]
    assert started.count("gentle") == 1
    assert all(started.count(arm) == 2 for arm in ("filling", "full"))
    assert not {"raising", "sleeping"} & set(started)
    ended = {event["arm"]: event["outcome"]["status"] for event in events if event["event"] == "finished"}
    assert [arm for arm in ended if ended[arm] == "finished"] == ["gentle"]
    assert sorted(ended.values()) == ["failed"] * 4 + ["finished"]


def test_a_run_that_found_the_disk_full_is_made_once_there_is_space(own: tuple[Path, Done]) -> None:
    there, _ = own
    before = hashes(there / "results")
    (there / "space").touch()
    again = clipbench(there, "run", "own.yaml", "--filter", "[fg]*")
    assert again.returncode == 0
    assert "3 runs: 1 reused, 2 to make" in again.stderr
    after = hashes(there / "results")
    for arm in ("gentle", "filling", "full"):  # three names for the same steps
        assert after[f"quadratic/{arm}/seed 0"] == before["quadratic/gentle/seed 0"]


def test_a_limit_is_that_of_all_specs_together_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    workplace(tmp_path)
    shutil.copy(tmp_path / "good.yaml", tmp_path / "again.yaml")
    words = ("run", "good.yaml", "again.yaml", "--set", "optimizers.sgd.lr=0.004", "--filter", "sgd")
    first = clipbench(tmp_path, *words, "--limit", 1)
    assert first.returncode == 0
    assert "1 run of good left out by --limit; without it they are made" in first.stderr
    assert "2 runs of again left out by --limit" in first.stderr
    assert len(records(tmp_path / "results")) == 1
    assert "1 run of good left out by --only" in clipbench(tmp_path, *words, "--only", "failed").stderr
    assert len(records(tmp_path / "results")) == 1


def test_every_format_tells_the_same_numbers(first: Done, here: Path) -> None:
    """To the digits that a table shows; CSV and JSON have all of them."""
    assert first.returncode == 0
    said = {fmt: clipbench(here, "compare", "results/good", "--format", fmt) for fmt in FORMATS}
    assert all(done.returncode == 0 for done in said.values())
    sgd = next(csv.DictReader(io.StringIO(said["csv"].stdout)))
    rows = json.loads(said["json"].stdout)["rows"]
    loss = float(sgd["final_loss"])
    assert rows[0]["arm"] == sgd["arm"] == "sgd"
    assert rows[0]["final_loss"] == loss
    for fmt in ("table", "markdown", "latex"):
        assert f"{loss:.4g}" in said[fmt].stdout
        assert "diverged" in said[fmt].stdout
    assert "caveat: " in said["csv"].stderr  # they have no place in the file
    assert said["markdown"].stderr == ""  # there the audit stands under the table


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_has_colour_unless_it_asks_for_none(here: Path, settings: dict[str, str], coloured: bool) -> None:
    ended, shown = _on_a_terminal(here, "compare", "results/good", environ=environment(TERM="xterm") | settings)
    assert ended == 0
    assert bool(re.search(r"\x1b\[([0-9]+;)*[39][0-7]m", shown)) is coloured
    assert "wild" in shown


@pytest.mark.usefixtures("first")
def test_a_machine_that_watches_sees_no_live_display(here: Path) -> None:
    """CI gives a terminal at times, and nobody sits before it."""
    ended, shown = _on_a_terminal(here, "run", "good.yaml", environ=environment(TERM="xterm", CI="1"))
    assert ended == 0
    assert "\x1b[2K" not in shown
    assert "nothing to do" in shown


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("full", [[], ["--full"]])
def test_off_a_terminal_a_table_is_as_wide_as_it_needs_unless_columns_says_otherwise(
    here: Path, full: list[str]
) -> None:
    wide = clipbench(here, "compare", "results/good", *full).stdout
    narrow = clipbench(here, "compare", "results/good", *full, environ=environment(COLUMNS="60")).stdout
    fitted = [line for line in narrow.splitlines() if not line.startswith(("more: ", "  clipbench "))]  # to be copied
    assert max(map(len, fitted)) <= 60 < max(map(len, wide.splitlines()))
    assert "no room for" not in wide


@pytest.mark.usefixtures("first")
def test_a_run_ends_with_its_screen_on_a_terminal_and_with_its_path_elsewhere(here: Path) -> None:
    ended, shown = _on_a_terminal(here, "run", "good.yaml", environ=environment(TERM="xterm", COLUMNS="100"))
    assert ended == 0
    *_, more, last = [line for line in shown.splitlines() if line.strip()]
    assert "more: --full, " in more
    assert "clipbench report results/good -o page.html" in more
    assert "this again: clipbench compare results/good" in last
    assert clipbench(here, "run", "good.yaml").stdout == "results/good\n"


@pytest.mark.usefixtures("first")
def test_a_terminal_that_knows_ascii_alone_is_served(here: Path) -> None:
    done = clipbench(here, "compare", "results/good", environ=environment(PYTHONIOENCODING="ascii"))
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "sgd" in done.stdout


def _last_command(done: Done) -> list[str]:
    return done.stderr.splitlines()[-1].partition(": ")[2].split()


@pytest.mark.usefixtures("first")
def test_reading_commands_never_import_torch_or_what_is_as_heavy(here: Path) -> None:
    folder = next((here / "results/good/quadratic/sgd").iterdir())
    commands = [[str(folder) if word.endswith("/sgd") else word for word in words] for words in READING]
    program = (
        "import sys, contextlib\n"
        "from clipbench import cli\n"
        f"for words in {commands!r}:\n"
        "    sys.argv = ['clipbench', *words]\n"
        "    try:\n"
        "        cli.main()\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, words\n"
        "    for heavy in ('torch', 'sklearn', 'scipy', 'numpy'):\n"
        "        assert heavy not in sys.modules, (words, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=here, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS), ["compare", "results/good"]])
def test_help_and_compare_answer_within_a_second(first: Done, here: Path, words: list[str]) -> None:
    assert first.returncode == 0
    assert any(_cpu_seconds(here, words) < 1.0 for _ in range(3))  # a busy machine may slow one down


def _cpu_seconds(here: Path, words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert clipbench(here, *words).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_module_is_the_command(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clipbench", "--version"], cwd=here, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("clipbench ")
    assert done.stdout == clipbench(here, "--version").stdout
