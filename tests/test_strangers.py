"""Results that a stranger laid there, by the command line: data, of which nothing is executed, followed or trusted."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.front import Ask, asking
from console import CLIPBENCH, clipbench, contents, records
from fuzz.folders import Ground, planted
from test_interruptions import at_work, wait_for_a_sign_of_life

from clipbench import store

pytestmark = pytest.mark.slow  # commands run in folders of strangers

SPEC = """\
task: {use: quadratic, dimension: 8}
optimizers:
  sgd: {use: sgd, lr: 0.005}
budget: {steps: 12}
evaluate: {every: 4}
measure: {every: 6}
seeds: [0, 1, 2, 3, 4, 5]
device: cpu
"""
LONG = SPEC.replace("12}", "10000}").replace("0.005", "0.00001").replace("4}", "1000}").replace(", 1, 2, 3, 4, 5", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec and all of its runs."""
    here = tmp_path_factory.mktemp("made")
    (here / "strange.yaml").write_text(SPEC)
    done = clipbench(here, "run", "strange.yaml")
    assert done.returncode == 0, done.stderr
    return here


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed, beside files that may not."""
    shutil.copytree(made, tmp_path / "here")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    return tmp_path / "here"


def folders(here: Path) -> list[Path]:
    return store.run_folders(here / "results")


def rewritten(folder: Path, *, rate: float, ended: bool, target: str = "") -> None:
    """The run described otherwise under its old key, finished or as an interruption leaves it."""
    content = json.loads((folder / store.RUN).read_text())
    optimizer = content["run"]["arm"]["optimizer"]
    optimizer["target"] = target or optimizer["target"]
    optimizer["options"]["lr"] = rate
    if not ended:
        content |= {"outcome": None, "environment": None, "digest": ""}
    (folder / store.RUN).write_text(json.dumps(content))


def weights(here: Path) -> dict[str, str]:
    return {name: record.outcome.weights_sha256 for name, record in records(here / "results").items() if record.outcome}


def test_a_run_makes_what_was_planned_whatever_lies_in_its_place(made: Path, here: Path) -> None:
    outside = here.parent / "outside"
    (here / "evil.py").write_text(f"open({str(outside / 'executed')!r}, 'w').close()\n")
    executed, edited, damaged, linked, logged, locked = folders(here)
    rewritten(executed, rate=0.005, target="evil:run", ended=False)
    rewritten(edited, rate=0.9, ended=True)
    (damaged / store.RUN).write_text("[" * 5000)
    linked.rename(outside / "run")
    linked.symlink_to(outside / "run")
    for folder in (logged, locked):
        rewritten(folder, rate=0.005, ended=False)
    (logged / store.LOG).symlink_to(outside / "file")
    os.mkfifo(locked / store.HEARTBEAT)
    before = contents(outside)
    planned = clipbench(here, "plan", "strange.yaml")
    assert "6 runs: 0 reused, 6 to make" in planned.stdout + planned.stderr
    done = clipbench(here, "run", "strange.yaml")
    assert done.returncode == 0, done.stderr
    for folder in (executed, edited, damaged, linked, logged, locked):
        assert f"set aside: {folder.relative_to(here)} " in done.stderr
        assert os.path.lexists(folder.with_name(f"{folder.name}.set-aside-1"))
    assert weights(here) == weights(made)
    assert len(weights(here)) == 6
    assert contents(outside) == before
    assert "nothing to do" in clipbench(here, "run", "strange.yaml").stderr


def test_a_run_does_not_write_through_a_linked_folder_and_says_so(here: Path) -> None:
    [arm] = {folder.parent for folder in folders(here)}
    shutil.rmtree(arm)
    arm.symlink_to(here.parent / "outside")
    before = contents(here.parent)
    done = clipbench(here, "run", "strange.yaml")
    assert done.returncode == 4
    assert f"{arm.relative_to(here)}: this is no folder (it is a link)" in done.stderr
    assert "Traceback" not in done.stderr
    after = {name: content for name, content in contents(here.parent).items() if not name.endswith(store.QUESTION)}
    assert after == {name: content for name, content in before.items() if not name.endswith(store.QUESTION)}


def test_a_run_whose_measurements_are_shorter_than_its_checkpoint_says_starts_again(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    with at_work(tmp_path) as process:
        folder = wait_for_a_sign_of_life(tmp_path, after=time.time())
        process.terminate()
        process.communicate(timeout=30)
    assert (folder / store.CHECKPOINT).exists()
    os.truncate(folder / store.MEASUREMENTS, 3)
    done = clipbench(tmp_path, "run", "long.yaml", "-o", "made here")
    assert done.returncode == 0, done.stderr
    [record] = records(tmp_path / "made here").values()
    assert [row.step for row in record.measurements.series("", "eval_loss")] == list(range(0, 10001, 1000))
    assert "the run starts again from step 0" in store.read_log(folder)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_traceback_and_takes_no_file_along(made: Path, closed: str, tmp_path: Path) -> None:
    script = f"{CLIPBENCH[0]} check {made}/results --save-baseline {tmp_path}/baseline.json {closed}"
    done = os.waitstatus_to_exitcode(os.system(script))
    assert done == (0 if closed == "2>&-" else 2)
    assert json.loads((tmp_path / "baseline.json").read_text())["format"] == 2


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """One command in a folder with four whole runs in `results`, and their like in `whole`."""
    shutil.copytree(planted(Ground(tmp_path / "ground").prepared()), tmp_path / "ground" / "whole")
    monkeypatch.chdir(tmp_path / "ground")
    return asking(monkeypatch, capsys)


def brackets(path: Path) -> None:
    path.write_text("[" * 5000)


def nothing(path: Path) -> None:
    path.write_text("")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def with_holes(path: Path) -> None:
    os.truncate(path, 1 << 30)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = [brackets, nothing, no_text, with_holes, a_pipe, a_device]
READING = ["compare results", "audit results", "claims results", "check results --baseline whole", "list runs"]


def budget(amount: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        text = json.dumps(json.loads(path.read_text()) | {"digest": "x"}).replace(
            '"amount": 12.0', f'"amount": {amount}'
        )
        path.write_text(text)

    return damage


BUDGETS = [budget(amount) for amount in ("0", "-3", "NaN", "1e999", "null", "1" + "0" * 400)]


@pytest.mark.parametrize("damage", [*DAMAGES, *BUDGETS])
def test_a_damaged_run_is_named_and_costs_no_more_than_itself(ask: Ask, damage: Callable[[Path], None]) -> None:
    broken = folders(Path())[2]
    damage(broken / store.RUN)
    for words in READING[:3] + READING[4:]:
        answer = ask(*words.split())
        assert answer.code in (0, 1 if words.startswith("audit") else 0, 3 if words.startswith("claims") else 0)
        assert f"not read: {broken / store.RUN}: " in answer.err
    assert ask("check", "results", "--baseline", "whole").code == 3
    merged = ask("merge", "results", "-o", "out")
    assert f"not merged: {broken / store.RUN}: " in merged.err
    assert len(store.run_folders(Path("out"))) == 3
    assert ask("show", broken).code == 2
    planned = ask("plan", "bad.yaml")
    assert "4 runs: 3 reused, 1 to make" in planned.out + planned.err


@pytest.mark.parametrize("name", [store.RUN, store.QUESTION, store.MEASUREMENTS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_where_all_is_damaged_nothing_is_decided(ask: Ask, name: str, damage: Callable[[Path], None]) -> None:
    for path in list(Path("results").rglob(name)):
        damage(path)
    for words in READING[:4]:
        assert ask(*words.split()).code == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_baseline_that_is_none_is_refused(ask: Ask, damage: Callable[[Path], None]) -> None:
    Path("baseline.json").write_text("{}")
    damage(Path("baseline.json"))
    answer = ask("check", "results", "--baseline", "baseline.json")
    assert answer.code in (2, 3)
    assert answer.err.startswith("error: ")


@pytest.mark.parametrize("depth", [1000, 5000])
def test_folders_nested_deeper_than_python_calls_are_looked_through(ask: Ask, depth: int) -> None:
    within = os.open("results", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=within)
        below = os.open("d", os.O_RDONLY, dir_fd=within)
        os.close(within)
        within = below
    os.close(within)
    assert ask("compare", "results").code == 0
    assert ask("show", folders(Path())[0].name[:9]).code == 0
    assert ask("merge", "results", "-o", "out").code == 0
    os.system("rm -rf results")
