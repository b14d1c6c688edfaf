"""Which files a task of the user's is seen to open."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making import make_run

from clipbench.records import Arm, Choice, Run
from clipbench.running.opened import OpenedFiles

OF_THE_SHELF = Arm("sgd", Choice("sgd", "sgd", "clipbench.optimizers.sgd:build"))
RUN = replace(make_run(), task=Choice("mine", "mine:task", "mine:task"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.bin", "rules.py", "x.so"):
        (tmp_path / name).write_text("1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").write_text("1")
    return tmp_path


def opened(run: Run = RUN) -> OpenedFiles:
    return OpenedFiles(run, folder=Path("run"))


def test_what_is_read_is_named_however_it_is_opened(tmp_path: Path) -> None:
    files = opened()
    with files.watched():
        Path("a.csv").read_text()
        os.close(os.open(b"b.bin", os.O_RDONLY))
        (tmp_path / ".." / tmp_path.name / "rules.py").read_bytes()
    assert files.unknown() == tuple(f"data unknown: {name}" for name in ("a.csv", "b.bin", "rules.py"))


def test_what_is_no_data_is_not_named(tmp_path: Path) -> None:
    files = opened()
    metadata = tmp_path / "elsewhere" / "torch-2.13.0.dist-info" / "RECORD"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("torch/__init__.py")
    with files.watched():
        Path("/proc/self/stat").read_text()
        Path(os.__file__).read_text()
        Path(torch.__file__).read_text()
        Path("run", "log.txt").read_text()
        Path("x.so").read_bytes()
        metadata.read_text()
        Path("made.txt").write_text("1")
        Path("made.txt").read_text()
        os.close(os.open(tmp_path, os.O_RDONLY))
        passing = Path("passing.txt")
        passing.write_text("1")
        passing.unlink()
        __import__("clipbench.report.latex")
    Path("a.csv").read_text()
    assert files.unknown() == ()


def test_no_more_than_five_are_named(tmp_path: Path) -> None:
    files = opened()
    for place in range(8):
        (tmp_path / f"{place}.csv").write_text("1")
    with files.watched():
        for place in range(8):
            Path(f"{place}.csv").read_text()
    assert files.unknown()[4:] == ("data unknown: 4.csv", "data unknown: 3 more")


@pytest.mark.parametrize("run", [replace(RUN, data="known"), replace(RUN, task=make_run().task, arm=OF_THE_SHELF)])
def test_a_task_with_a_fingerprint_and_one_of_the_shelf_are_not_watched(run: Run) -> None:
    files = opened(run)
    with files.watched():
        Path("a.csv").read_text()
    assert files.unknown() == ()
