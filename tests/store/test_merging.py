"""Folders of results brought together: copied, never overwritten, all or nothing."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from console import contents
from making import make_run

from clipbench import store
from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.questions import Question
from clipbench.records import Outcome, Run
from clipbench.store import merging

RUN = make_run()
QUESTION = Question("made", "Is it?", ("sgd",), "sgd", 0.5, keys=("a",))


def made(
    results: Path, *seeds: int, loss: float = 1.0, ended: bool = True, question: Question | None = QUESTION
) -> Path:
    for seed in seeds:
        write(replace(RUN, seed=seed), results, loss=loss, ended=ended)
    if question is not None:
        store.write_question(question, results)
    return results


def write(run: Run, results: Path, *, loss: float, ended: bool) -> None:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    writer = store.Writer(folder)
    writer(Measurement(0, 0.0, "", "eval_loss", loss))
    writer.sync()
    writer.close()
    if ended:
        store.finish(folder, Outcome("finished", steps=12), None)


def seeds_in(results: Path) -> list[int]:
    records, errors = store.read_all(results)
    assert not errors
    return sorted(record.run.seed for record in records)


def test_two_folders_become_one_and_stay_as_they_were(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one", 0, 1), made(tmp_path / "two", 2)
    before = contents(one), contents(two)
    merged = store.merge([one, two], tmp_path / "deep" / "out")
    assert (len(merged.copies), merged.there) == (3, 0)
    assert seeds_in(tmp_path / "deep" / "out") == [0, 1, 2]
    assert contents(tmp_path / "deep" / "out").items() >= {**before[0], **before[1]}.items()
    assert (contents(one), contents(two)) == before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_the_folder_of_a_spec_is_as_good_as_the_folder_above_it(tmp_path: Path) -> None:
    one = made(tmp_path / "one", 0)
    store.merge([one / "made"], tmp_path / "out")
    assert contents(tmp_path / "out") == contents(one)


def test_equal_copies_are_one_run_and_the_second_merge_does_nothing(tmp_path: Path) -> None:
    one = made(tmp_path / "one", 0, 1)
    shutil.copytree(one, tmp_path / "copy")
    merged = store.merge([one, tmp_path / "copy"], tmp_path / "out")
    assert (len(merged.copies), merged.there) == (2, 2)
    before = contents(tmp_path / "out")
    assert store.merge([one, tmp_path / "copy"], tmp_path / "out").copies == {}
    assert contents(tmp_path / "out") == before


def test_a_folder_may_be_merged_into_one_of_the_sources(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one", 0), made(tmp_path / "two", 1)
    merged = store.merge([one, two], one)
    assert (len(merged.copies), merged.there) == (1, 1)
    assert seeds_in(one) == [0, 1]


@pytest.mark.parametrize("into_the_first", [False, True])
def test_one_key_with_two_contents_is_an_error_and_nothing_is_written(tmp_path: Path, into_the_first: bool) -> None:
    one, two = made(tmp_path / "one", 0, 1), made(tmp_path / "two", 1, 2, loss=2.0)
    out = one if into_the_first else tmp_path / "out"
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=r"nothing was merged: the same run differs between .*two.* and .*one.*"):
        store.merge([one, two], out)
    assert contents(tmp_path) == before


def test_of_many_conflicts_a_few_are_named(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one", *range(7)), made(tmp_path / "two", *range(7), loss=2.0)
    with pytest.raises(StoreError, match="and 2 more"):
        store.merge([one, two], tmp_path / "out")


def test_plans_of_one_question_are_joined(tmp_path: Path) -> None:
    one = made(tmp_path / "one", 0)
    two = made(tmp_path / "two", 1, question=replace(QUESTION, keys=("b", "a")))
    store.merge([one, two], tmp_path / "out")
    assert store.read_question(tmp_path / "out" / "made") == replace(QUESTION, keys=("a", "b"))
    three = made(tmp_path / "three", 2, question=replace(QUESTION, keys=("c",)))
    store.merge([three], tmp_path / "out")
    assert store.read_question(tmp_path / "out" / "made") == replace(QUESTION, keys=("a", "b", "c"))


@pytest.mark.parametrize("into_the_first", [False, True])
def test_two_specs_of_one_name_are_an_error_and_nothing_is_written(tmp_path: Path, into_the_first: bool) -> None:
    one = made(tmp_path / "one", 0)
    two = made(tmp_path / "two", 1, question=replace(QUESTION, target=0.1))
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="two specs called made, which ask for different things"):
        store.merge([two] if into_the_first else [one, two], one if into_the_first else tmp_path / "out")
    assert contents(tmp_path) == before


def test_runs_without_a_question_are_merged_all_the_same(tmp_path: Path) -> None:
    store.merge([made(tmp_path / "one", 0, question=None)], tmp_path / "out")
    assert seeds_in(tmp_path / "out") == [0]
    assert store.read_question(tmp_path / "out" / "made") is None


def test_unfinished_and_unreadable_runs_are_named_and_left(tmp_path: Path) -> None:
    one = made(tmp_path / "one", 0, 1)
    made(one, 2, ended=False)
    broken = store.folder_of(replace(RUN, seed=1), one) / store.RUN
    broken.write_text("{")
    merged = store.merge([one], tmp_path / "out")
    assert [folder.name[:2] for folder in merged.unfinished] == ["2-"]
    assert [str(error).startswith(str(broken)) for error in merged.errors] == [True]
    assert seeds_in(tmp_path / "out") == [0]


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        store.merge([tmp_path / "nowhere"], tmp_path / "out")


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(tmp_path / "one", 0, 1)
    files = []

    def content(path: Path) -> bytes:
        files.append(path)
        if len(files) > 2:
            raise OSError(28, "No space left on device")
        return path.read_bytes()

    monkeypatch.setattr(merging, "content", content)
    with pytest.raises(StoreError, match=r"cannot merge into this folder \(No space left on device\)"):
        store.merge([one], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def again(results: Path, **changes: Any) -> Path:
    """The run of seed 0 once more: it took another time, on another day."""
    folder = store.folder_of(RUN, results)
    store.describe(RUN, folder)
    writer = store.Writer(folder)
    writer(Measurement(0, 9.5, "", "eval_loss", 1.0))
    writer.sync()
    writer.close()
    store.finish(folder, replace(Outcome("finished", steps=12, started=7.5, wall_seconds=3.0), **changes), None)
    return results


def test_a_run_that_was_made_twice_with_equal_bits_is_one_run(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one", 0), again(tmp_path / "two")
    merged = store.merge([one, two], tmp_path / "out")
    assert (len(merged.copies), merged.there) == (1, 1)
    first = store.folder_of(RUN, tmp_path / "one")
    assert contents(store.folder_of(RUN, tmp_path / "out")) == contents(first)


@pytest.mark.parametrize("changes", [{"weights_sha256": "ab"}, {"status": "diverged"}, {"steps": 11}])
def test_a_run_that_was_made_twice_with_other_bits_is_a_conflict(tmp_path: Path, changes: dict[str, object]) -> None:
    one, two = made(tmp_path / "one", 0), again(tmp_path / "two", **changes)
    with pytest.raises(StoreError, match="the same run differs between"):
        store.merge([one, two], tmp_path / "out")


def test_a_run_alone_is_copied_and_nothing_of_a_stranger(tmp_path: Path) -> None:
    """Neither what a link leads to, nor files that no run has, nor a run behind a link."""
    one, other = made(tmp_path / "one", 0), made(tmp_path / "other", 1)
    secret = tmp_path / "secret"
    secret.write_text("mine")
    folder = store.folder_of(RUN, one)
    for name in ("leak.txt", store.CHECKPOINT):
        (folder / name).symlink_to(secret)
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    (folder / "more").mkdir()
    (folder / "payload.py").write_text("import os")
    os.mkfifo(folder / "pipe")
    (folder.parent / "behind").symlink_to(store.folder_of(replace(RUN, seed=1), other))
    merged = store.merge([one], tmp_path / "out")
    assert not merged.errors
    copied = [path.name for path in store.folder_of(RUN, tmp_path / "out").iterdir()]
    assert sorted(copied) == sorted([store.RUN, store.MEASUREMENTS])
    assert seeds_in(tmp_path / "out") == [0]


@pytest.mark.parametrize("odd", [store.RUN, store.MEASUREMENTS])
def test_a_run_whose_file_is_a_link_or_a_pipe_is_named_and_the_others_are_merged(tmp_path: Path, odd: str) -> None:
    one = made(tmp_path / "one", 0, 1, 2)
    linked, piped = (store.folder_of(replace(RUN, seed=seed), one) / odd for seed in (1, 2))
    linked.rename(tmp_path / "outside")
    linked.symlink_to(tmp_path / "outside")
    piped.unlink()
    os.mkfifo(piped)
    merged = store.merge([one], tmp_path / "out")
    assert {(error.where, error.message) for error in merged.errors} == {
        (str(linked), "cannot read this file (it is a link)"),
        (str(piped), "cannot read this file (it is a pipe)"),
    }
    assert seeds_in(tmp_path / "out") == [0]


def test_nothing_is_merged_through_a_link(tmp_path: Path) -> None:
    one, out, outside = made(tmp_path / "one", 0), tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "made").symlink_to(outside)
    with pytest.raises(StoreError, match=r"out/made: this is no folder \(it is a link\)"):
        store.merge([one], out)
    assert list(outside.iterdir()) == []


def test_a_question_that_cannot_be_read_costs_no_run(tmp_path: Path) -> None:
    one = made(tmp_path / "one", 0)
    (one / "made" / store.QUESTION).write_text("[" * 5000)
    merged = store.merge([one], tmp_path / "out")
    assert [error.where for error in merged.errors] == [str(one / "made" / store.QUESTION)]
    assert seeds_in(tmp_path / "out") == [0]
