"""What lies where a plan has a run: only that run, and whole, is reused or goes on; else it is set aside."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from console import contents
from making import SGD, make_run

from clipbench import store
from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.records import Choice, Outcome, Run

RUN = make_run()
DONE = Outcome("finished", steps=12)


def write(run: Run, results: Path, *, outcome: Outcome | None) -> Path:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    writer = store.Writer(folder)
    writer(Measurement(0, 0.0, "", "eval_loss", 1.0))
    writer.sync()
    writer.close()
    if outcome is None:
        (folder / store.CHECKPOINT).write_bytes(b"weights")
    else:
        store.finish(folder, outcome, None)
    return folder


def edited(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / store.RUN).read_text())
    edit(content)
    (folder / store.RUN).write_text(json.dumps(content))


def an_edited_rate(folder: Path) -> None:
    edited(folder, lambda content: content["run"]["arm"]["optimizer"]["options"].update(lr=0.9))


def a_target(folder: Path) -> None:
    edited(folder, lambda content: content["run"]["arm"]["optimizer"].update(target="evil:run"))


def another_key(folder: Path) -> None:
    edited(folder, lambda content: content.update(key="0123456789ab"))


def another_seed(folder: Path) -> None:
    edited(folder, lambda content: content["run"].update(seed=5))


def no_budget(folder: Path) -> None:
    edited(folder, lambda content: content["run"]["budget"].update(amount=0))


def brackets(folder: Path) -> None:
    (folder / store.RUN).write_text("[" * 5000)


def format_1(folder: Path) -> None:
    edited(folder, lambda content: content.update(format=1))


def no_description(folder: Path) -> None:
    (folder / store.RUN).unlink()


def a_pipe_for_a_log(folder: Path) -> None:
    os.mkfifo(folder / store.LOG)


def a_linked_heartbeat(folder: Path) -> None:
    (folder / store.HEARTBEAT).symlink_to("/nowhere")


def linked_measurements(folder: Path) -> None:
    (folder / store.MEASUREMENTS).rename(folder.parent / "elsewhere")
    (folder / store.MEASUREMENTS).symlink_to(folder.parent / "elsewhere")


def a_linked_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("mine")


STRANGE = [
    an_edited_rate, a_target, another_key, another_seed, no_budget, brackets, format_1, no_description, a_linked_folder,
    linked_measurements, a_file,
]  # fmt: skip
OF_NO_USE = [a_pipe_for_a_log, a_linked_heartbeat]


def other_measurements(folder: Path) -> None:
    with (folder / store.MEASUREMENTS).open("a") as file:
        file.write("4,0.5,,eval_loss,0.1\n")


def another_outcome(folder: Path) -> None:
    edited(folder, lambda content: content["outcome"].update(weights_sha256="ab"))


@pytest.mark.parametrize("change", [*STRANGE, other_measurements, another_outcome])
def test_a_finished_run_that_is_not_the_planned_one_is_set_aside_and_made_anew(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = write(RUN, tmp_path, outcome=DONE)
    assert store.missing([RUN], tmp_path) == []
    change(folder)
    assert store.missing([RUN], tmp_path) == [RUN]
    _is_set_aside(folder)


@pytest.mark.parametrize("change", [*STRANGE, *OF_NO_USE])
def test_an_unfinished_run_that_is_not_the_planned_one_does_not_go_on(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    change(folder)
    _is_set_aside(folder)


@pytest.mark.parametrize("change", OF_NO_USE)
def test_a_finished_run_is_reused_whatever_lies_beside_its_files(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = write(RUN, tmp_path, outcome=DONE)
    change(folder)
    os.link(folder / store.MEASUREMENTS, tmp_path / "a copy that takes no room")
    assert store.missing([RUN], tmp_path) == []
    assert store.set_aside(RUN, folder) == ""


def _is_set_aside(folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.set-aside-1")
    before = os.lstat(folder).st_ino
    said = store.set_aside(RUN, folder)
    assert said.startswith(f"set aside: {folder} ")
    assert aside.name in said
    assert not os.path.lexists(folder)
    assert os.lstat(aside).st_ino == before
    store.describe(RUN, folder)
    assert [path.name for path in folder.iterdir()] == [store.RUN]
    assert store.read(folder).run == RUN
    assert [record.folder for record in store.read_all(folder.parent)[0] if "elsewhere" not in record.folder] == [
        str(folder)
    ]


def test_a_done_run_that_is_edited_between_two_looks_is_seen_though_its_time_is_put_back(tmp_path: Path) -> None:
    """What is remembered of a done run holds for as long as its files are the same."""
    folder = write(RUN, tmp_path, outcome=DONE)
    file = folder / store.MEASUREMENTS
    assert not store.missing([RUN], tmp_path)
    before = file.stat()
    time.sleep(0.02)  # beyond the step of the file system's clock
    file.write_bytes(file.read_bytes().replace(b"1.0", b"2.0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert store.missing([RUN], tmp_path) == [RUN]


def test_describing_a_run_sets_aside_by_itself_and_under_a_free_name(tmp_path: Path) -> None:
    folder = store.folder_of(RUN, tmp_path)
    for _ in range(3):
        write(RUN, tmp_path, outcome=DONE)
        brackets(folder)
    store.describe(RUN, folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        folder.name, *(f"{folder.name}.set-aside-{number}" for number in (1, 2, 3)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "planned",
    [
        replace(RUN, trial_of="sgd"),
        make_run(arm=replace(RUN.arm, liveness="warn")),
        make_run(arm=replace(RUN.arm, optimizer=Choice("another", SGD.use, SGD.target, SGD.options))),
    ],
)
def test_a_run_whose_labels_alone_differ_goes_on(tmp_path: Path, planned: Run) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    assert store.set_aside(planned, folder) == ""
    store.describe(planned, folder)
    assert store.read(folder).run == planned
    assert (folder / store.CHECKPOINT).read_bytes() == b"weights"


@pytest.mark.parametrize("outcome", [DONE, None, Outcome("failed", reason="no memory")])
def test_the_planned_run_is_left_where_it_is(tmp_path: Path, outcome: Outcome | None) -> None:
    folder = write(RUN, tmp_path, outcome=outcome)
    before = contents(tmp_path)
    assert store.set_aside(RUN, folder) == ""
    assert contents(tmp_path) == before


@pytest.mark.parametrize("above", [1, 2, 3])
@pytest.mark.parametrize("leads", ["to a folder", "nowhere"])
def test_nothing_is_written_through_a_linked_folder(tmp_path: Path, above: int, leads: str) -> None:
    results, outside = tmp_path / "results", tmp_path / "outside"
    outside.mkdir()
    folder = store.folder_of(RUN, results)
    link = [folder, *folder.parents][above]
    link.parent.mkdir(parents=True)
    link.symlink_to(outside if leads == "to a folder" else tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"this is no folder \(it is a link\)") as raised:
        store.describe(RUN, folder)
    assert raised.value.where == str(link)
    assert list(outside.iterdir()) == []


def test_the_folder_of_all_results_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "real")
    write(RUN, tmp_path / "results", outcome=DONE)
    assert store.missing([RUN], tmp_path / "results") == []
    assert len(store.read_all(tmp_path / "results")[0]) == 1


def test_a_question_is_not_written_through_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "made").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="this is no folder"), store.claimed(tmp_path / "made"):
        pass
    assert list((tmp_path / "outside").iterdir()) == []
