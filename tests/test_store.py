"""A run's folder: append-only, atomic, resumable, mergeable, and plain about what is broken."""

import json
import math
import multiprocessing
import os
import re
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_run, outcome_of

from clipbench import store
from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.questions import Question, Space, Target, Trial, Tuned, Tuning
from clipbench.records import ClipSettings, Environment, Options, Outcome, Run
from clipbench.store.runs import HEADING, _by_columns, _measurement

RUN = make_run()
ENVIRONMENT = Environment("0", "3.11", "2", "cpu", "a CPU", 1, 2, {"tf32": False}, {"cores": 2}, "n", "m")
DONE = Outcome("finished", steps=12, weights_sha256="ab", ledger={"train": 1.5}, effective={"betas": (0.9, 0.99)})
ROWS = (Measurement(0, 0.0, "", "eval_loss", 0.1 + 0.2), Measurement(4, 1 / 3, "own", "slope", -1e-300))


def write(run: Run, results: Path, *, outcome: Outcome | None = DONE) -> Path:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    writer = store.Writer(folder)
    for row in ROWS:
        writer(row)
    writer.sync()
    writer.close()
    if outcome is not None:
        store.finish(folder, outcome, ENVIRONMENT)
    return folder


def test_what_was_written_is_read_back_exactly(tmp_path: Path) -> None:
    run = replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(0.1)))
    record = store.read(write(run, tmp_path))
    assert (record.run, record.environment, record.outcome) == (run, ENVIRONMENT, DONE)
    assert tuple(record.measurements) == ROWS
    assert record.run.key == run.key


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_the_file_bit_for_bit(value: float, seconds: float) -> None:
    row = Measurement(3, seconds, "own", "q", value)
    assert _measurement([str(field) for field in row], where="") == row


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False)), max_size=20))
def test_every_column_of_floats_survives_bit_for_bit(pairs: list[tuple[float, float]]) -> None:
    rows = [Measurement(step, seconds, "own", "q", value) for step, (value, seconds) in enumerate(pairs)]
    found = _by_columns(f"{HEADING}\n" + "".join(f"{row.step},{row.seconds!r},own,q,{row.value!r}\n" for row in rows))
    assert [list(map(repr, row)) for row in found] == [list(map(repr, row)) for row in rows]


@pytest.mark.parametrize(
    "row",
    [
        "4,0.5,own,slope,true",
        "4,0.5,own,slope,null",
        "4,0.5,own,slope,[1",
        "4,0.5,own,slope",
        "4,0.5,own,slope,1.0,2.0",
        "4.0,0.5,own,slope,1.0",
        "step,seconds,direction,quantity,value",  # a heading is the first row alone
        "4,,own,slope,1.0",
        "4,0.5\n0.5,own,slope,1.0,4,0.5,own,slope,1.0",  # too few and too many, ten fields in all
    ],
)
def test_a_row_that_is_odd_in_any_way_is_named(tmp_path: Path, row: str) -> None:
    folder = write(RUN, tmp_path)
    with (folder / store.MEASUREMENTS).open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(StoreError, match=r"measurements\.csv:4: this is not a measurement"):
        store.read(folder)


@pytest.mark.parametrize(("cut", "text"), [("", "s"), ("value", "val"), (",value", "")])
def test_another_heading_is_named(tmp_path: Path, cut: str, text: str) -> None:
    path = write(RUN, tmp_path) / store.MEASUREMENTS
    heading, rows = path.read_text().split("\n", 1)
    path.write_text(f"{heading.removesuffix(cut)}{text}\n{rows}")
    with pytest.raises(StoreError, match=r"measurements\.csv:1: this is not a measurement"):
        store.read(path.parent)


@pytest.mark.parametrize("direction", ['adam[lr=0.1,"x"]', "adam[lr=0.1,eps=1e-8]", 'the "other" adam'])
def test_a_direction_with_a_comma_or_quotes_is_read_back(tmp_path: Path, direction: str) -> None:
    """The arms of a grid, adam[lr=0.1,eps=1e-8], are directions too."""
    row = Measurement(4, 0.5, direction, "slope", 2.0)
    folder = store.folder_of(RUN, tmp_path)
    store.describe(RUN, folder)
    writer = store.Writer(folder)
    writer(row)
    writer.sync()
    writer.close()
    assert tuple(store.read(folder).measurements) == (row,)


def test_a_run_from_before_a_clip_had_all_its_settings_is_read_and_is_the_same_run(tmp_path: Path) -> None:
    run = make_run(arm=replace(RUN.arm, clip=ClipSettings(0.1)))
    folder = write(run, tmp_path)
    described = json.loads((folder / "run.json").read_text())
    for name in ("scale", "ignore_zeros"):
        del described["run"]["arm"]["clip"][name]
    (folder / "run.json").write_text(json.dumps(described))
    found = store.read(folder).run
    assert found == run
    assert found.key == described["key"]


def test_not_a_number_stays_visible(tmp_path: Path) -> None:
    """Pitfall 6: a NaN is read as NaN, not as 0."""
    folder = store.folder_of(RUN, tmp_path)
    store.describe(RUN, folder)
    writer = store.Writer(folder)
    writer(Measurement(1, 0.0, "", "eval_loss", math.nan))
    writer(Measurement(2, 0.0, "", "eval_loss", -math.inf))
    writer.sync()
    writer.close()
    values = [row.value for row in store.read(folder).measurements]
    assert math.isnan(values[0])
    assert values[1] == -math.inf


def test_finished_and_diverged_runs_are_done_and_the_rest_is_missing(tmp_path: Path) -> None:
    runs = [replace(RUN, seed=seed) for seed in range(5)]
    write(runs[0], tmp_path)
    write(runs[1], tmp_path, outcome=Outcome("diverged"))
    write(runs[2], tmp_path, outcome=Outcome("failed"))
    write(runs[3], tmp_path, outcome=None)
    assert store.missing(runs, tmp_path) == runs[2:]


def test_a_run_is_found_by_its_folder_or_by_the_beginning_of_its_name_or_key(tmp_path: Path) -> None:
    first, second = (write(make_run(seed=seed), tmp_path) for seed in (0, 1))
    key = make_run(seed=1).key
    for name in (str(second), second.name, f"1-{key[:6]}", key, key[:6]):
        assert store.find(name, tmp_path) == second
    for name, said in (("", f"fits 2 runs: {first}, {second}"), ("no-such-run", "'no-such-run' fits 0 runs")):
        with pytest.raises(StoreError, match=re.escape(said)):
            store.find(name, tmp_path)


def test_runs_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for seed in (3, 1, 2, 0):
        write(make_run(seed=seed), tmp_path)
    assert [record.run.seed for record in store.read_all(tmp_path)[0]] == [0, 1, 2, 3]


@pytest.mark.parametrize(("text", "stays"), [("", False), ("a warning", True)])
def test_a_log_in_which_nothing_was_said_goes_when_the_run_ends(tmp_path: Path, text: str, stays: bool) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    (folder / store.LOG).write_text(text)
    store.finish(folder, DONE, ENVIRONMENT)
    assert (folder / store.LOG).exists() == stays


def test_measurements_that_cannot_be_read_are_named_though_the_run_goes_on(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    (folder / store.MEASUREMENTS).unlink()
    (folder / store.MEASUREMENTS).mkdir()
    with pytest.raises(StoreError, match=r"cannot read this file \(it is a folder\)"):
        store.read(folder)


def test_another_seed_is_another_folder(tmp_path: Path) -> None:
    """Pitfalls 7 of design, 10: a key without the seed reuses another seed's run."""
    write(RUN, tmp_path)
    assert store.missing([replace(RUN, seed=1)], tmp_path) == [replace(RUN, seed=1)]


def test_the_same_label_with_other_options_is_another_folder(tmp_path: Path) -> None:
    """Pitfall 15: a folder named by what was typed relabels old runs when a default changes."""
    other = replace(RUN, task=replace(RUN.task, options={"dimension": 99}))
    assert store.folder_of(RUN, tmp_path) != store.folder_of(other, tmp_path)


def test_a_failed_run_is_made_anew_from_a_clean_folder(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path, outcome=Outcome("failed", reason="no memory"))
    (folder / store.LOG).write_text("traceback")
    store.describe(RUN, folder)
    assert [path.name for path in folder.iterdir()] == [store.RUN]
    assert store.read_outcome(folder) is None


def test_an_interrupted_run_keeps_its_rows_and_its_checkpoint(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    (folder / store.CHECKPOINT).write_bytes(b"weights")
    store.describe(RUN, folder)
    assert (folder / store.CHECKPOINT).exists()
    assert tuple(store.read(folder).measurements) == ROWS


def test_rows_after_the_checkpoint_are_cut_off_when_the_run_goes_on(tmp_path: Path) -> None:
    folder = store.folder_of(RUN, tmp_path)
    store.describe(RUN, folder)
    writer = store.Writer(folder)
    writer(ROWS[0])
    kept = writer.sync()
    writer(ROWS[1])
    writer.close()
    store.Writer(folder, kept=kept).close()
    assert tuple(store.read(folder).measurements) == ROWS[:1]


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    folder = store.folder_of(RUN, tmp_path)
    store.describe(RUN, folder)
    writer = store.Writer(folder)
    with pytest.raises(StoreError, match="another process"):
        store.Writer(folder)
    writer.close()
    store.Writer(folder).close()


def test_a_half_written_last_row_is_dropped_from_an_unfinished_run_only(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    with (folder / store.MEASUREMENTS).open("a") as file:
        file.write("8,0.1,own,slo")
    assert tuple(store.read(folder).measurements) == ROWS
    store.finish(folder, DONE, None)
    with pytest.raises(StoreError, match=r"measurements\.csv:4: the last row is cut short"):
        store.read(folder)


def test_a_number_cut_short_in_a_finished_run_is_not_taken_for_another_number(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path)
    rows = (folder / store.MEASUREMENTS).read_text()
    (folder / store.MEASUREMENTS).write_text(rows[:-3])
    with pytest.raises(StoreError, match=r"measurements\.csv:3: the last row is cut short"):
        store.read(folder)


def test_a_finished_run_without_its_measurements_is_an_error_and_an_unfinished_one_has_none(tmp_path: Path) -> None:
    done, begun = write(RUN, tmp_path), write(replace(RUN, seed=1), tmp_path, outcome=None)
    for folder in (done, begun):
        (folder / store.MEASUREMENTS).unlink()
    assert tuple(store.read(begun).measurements) == ()
    with pytest.raises(StoreError, match=r"measurements\.csv: cannot read this file"):
        store.read(done)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "key": "x", "run": {"seed": "no"}}']
)
def test_a_broken_run_is_named_and_the_rest_still_reads(tmp_path: Path, content: str) -> None:
    whole, broken = write(RUN, tmp_path), write(replace(RUN, seed=1), tmp_path)
    (broken / store.RUN).write_text(content)
    records, errors = store.read_all(tmp_path)
    assert [record.folder for record in records] == [str(whole)]
    assert [str(error).startswith(str(broken / store.RUN)) for error in errors] == [True]
    assert store.missing([replace(RUN, seed=1)], tmp_path) == [replace(RUN, seed=1)]


def test_a_run_of_another_format_says_which(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path)
    content = json.loads((folder / store.RUN).read_text()) | {"format": 99}
    (folder / store.RUN).write_text(json.dumps(content))
    with pytest.raises(StoreError, match="format 99; this clipbench reads formats 1 and 2"):
        store.read(folder)


def test_two_results_folders_merge_by_copying(tmp_path: Path) -> None:
    write(RUN, tmp_path / "a")
    write(replace(RUN, seed=1), tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    records, errors = store.read_all(tmp_path / "a")
    assert [record.run.seed for record in records] == [0, 1]
    assert not errors


@pytest.mark.parametrize("name", ["sgd+clip 10 %", "a/b", "..", ".", "adam[lr=0.1, betas=(0.9, 0.99)]", "Ω", "%2F"])
def test_any_name_of_an_arm_stays_inside_its_own_folder(tmp_path: Path, name: str) -> None:
    folder = store.folder_of(replace(RUN, arm=replace(RUN.arm, name=name)), tmp_path)
    assert folder.resolve().parent.parent == (tmp_path / "made" / "quadratic").resolve()
    write(replace(RUN, arm=replace(RUN.arm, name=name)), tmp_path)
    assert store.read(folder).run.arm.name == name
    assert store.place_of(folder) == (RUN.spec, RUN.task.name, name)


def test_a_folder_too_high_up_has_no_place() -> None:
    assert store.place_of(Path("/a/b")) == ("", "", "a")


def test_different_names_never_share_a_folder(tmp_path: Path) -> None:
    names = ["a/b", "a%2Fb", "a b", "..", "%2E%2E"]
    assert len({store.folder_of(replace(RUN, spec=name), tmp_path) for name in names}) == len(names)


def test_the_question_lies_beside_the_runs(tmp_path: Path) -> None:
    question = Question("made", "Is it?", ("sgd",), "sgd", 0.5)
    store.write_question(question, tmp_path)
    assert store.read_question(tmp_path / "made") == question
    assert store.read_question(tmp_path) is None
    (tmp_path / "made" / store.QUESTION).write_text("{")
    with pytest.raises(StoreError, match="not a question"):
        store.read_question(tmp_path / "made")


def test_a_question_from_before_effects_were_declared_still_reads(tmp_path: Path) -> None:
    (tmp_path / store.QUESTION).write_text('{"spec": "made", "text": "", "arms": ["sgd"], "baseline": "sgd"}')
    assert store.read_question(tmp_path) == Question("made", "", ("sgd",), "sgd")


def test_what_was_tuned_lies_with_the_question(tmp_path: Path) -> None:
    settings: Options = {"lr": 0.1, "betas": (0.9, 0.99), "nesterov": True, "every": 3, "form": "a", "cap": None}
    space = Space("lr", low=1e-4, high=0.1, log=True)
    tuned = Tuned("digits", "sgd", (space, Space("every", (1, 2))), (Trial(settings, ("ab",)),), 1, settings)
    question = Question("made", "Is it?", ("sgd",), "sgd", tuning=Tuning((8, 9), "halton", "eval_loss", (tuned,)))
    store.write_question(question, tmp_path)
    read = store.read_question(tmp_path / "made")
    assert read == question
    assert read.tuning is not None
    kinds = {name: type(value) for name, value in read.tuning.arms[0].trials[0].settings.items()}
    assert kinds == {name: type(value) for name, value in settings.items()}


@pytest.mark.parametrize(("tried", "selected"), [({"k": 1}, None), ({"lr": 0.1}, {"k": 1})])
def test_a_question_whose_trials_lack_what_was_searched_is_none(
    tmp_path: Path, tried: Options, selected: Options | None
) -> None:
    tuned = Tuned("digits", "sgd", (Space("lr", (0.1, 0.2)),), (Trial(tried, ("ab",)),), 1, selected)
    store.write_question(Question("made", "", ("sgd",), "sgd", tuning=Tuning((8,), "grid", "acc", (tuned,))), tmp_path)
    with pytest.raises(StoreError, match="a trial lacks a setting that was searched"):
        store.read_question(tmp_path / "made")


def test_the_targets_of_tasks_lie_with_the_question_and_where_there_are_none_the_file_is_what_it_was(
    tmp_path: Path,
) -> None:
    plain = Question("made", "Is it?", ("sgd",), "sgd", 0.5)
    store.write_question(plain, tmp_path)
    assert "targets" not in json.loads((tmp_path / "made" / store.QUESTION).read_text())
    question = replace(plain, targets={"code_lm": Target(2.6, consecutive=2)})
    store.write_question(question, tmp_path)
    assert store.read_question(tmp_path / "made") == question


def test_a_target_says_in_its_file_what_the_spec_says(tmp_path: Path) -> None:
    targets = {"a": Target(2.6), "b": Target(quantity="accuracy", at_least=0.0), "c": Target(3, 2), "d": Target(0.0)}
    question = Question("made", "Is it?", ("sgd",), "sgd", 0.5, targets=targets)
    store.write_question(question, tmp_path)
    written = json.loads((tmp_path / "made" / store.QUESTION).read_text())["targets"]
    assert written["a"] == {"loss": 2.6, "consecutive": 1}  # as it was before there were others
    assert written["b"] == {"quantity": "accuracy", "at_least": 0.0, "consecutive": 1}
    assert store.read_question(tmp_path / "made") == question


@pytest.mark.parametrize(
    "target",
    [
        '{"loss": 1e999, "consecutive": 1}',
        '{"loss": 1.0, "consecutive": 0}',
        '{"consecutive": 1}',
        '{"quantity": "a"}',
        '{"quantity": "a", "at_least": NaN}',
        '{"quantity": "a", "at_least": 1, "at_most": 2}',
        '{"loss": 1, "at_most": 2}',
        '{"loss": 1, "quantity": "a"}',
        '{"at_most": 1}',
    ],
)
def test_a_target_of_a_task_that_no_spec_can_have_is_refused(tmp_path: Path, target: str) -> None:
    store.write_question(Question("made", "", ("sgd",), "sgd"), tmp_path)
    path = tmp_path / "made" / store.QUESTION
    target = f'{{"a": {target}}}'
    path.write_text(path.read_text().rstrip().removesuffix("}") + f', "targets": {target}}}')
    with pytest.raises(StoreError, match="this is not a question file"):
        store.read_question(tmp_path / "made")


def test_a_question_from_before_there_was_tuning_is_read(tmp_path: Path) -> None:
    question = Question("made", "Is it?", ("sgd",), "sgd", 0.5, ("ab",))
    store.write_question(question, tmp_path)
    path = tmp_path / "made" / store.QUESTION
    content = json.loads(path.read_text())
    del content["tuning"]
    path.write_text(json.dumps(content))
    assert store.read_question(tmp_path / "made") == question


def test_a_run_from_before_there_were_trials_is_read(tmp_path: Path) -> None:
    path = write(RUN, tmp_path) / store.RUN
    content = json.loads(path.read_text())
    del content["run"]["trial_of"]
    path.write_text(json.dumps(content))
    assert store.read(path.parent).run == RUN


def test_a_results_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    with pytest.raises(StoreError, match="cannot make this folder"):
        store.describe(RUN, store.folder_of(RUN, tmp_path / "results"))
    with pytest.raises(StoreError, match="this is a file"):
        store.read_all(tmp_path / "results")
    assert (tmp_path / "results").read_text() == "mine"


def test_a_results_folder_that_cannot_be_written_is_a_clear_error() -> None:
    with pytest.raises(StoreError, match="-o"):
        store.make_folder(Path("/proc/clipbench"))  # read-only for root as well


def test_a_results_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        store.read_all(tmp_path / "nowhere")


def _finish_on_a_full_disk(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # no file beyond 100 bytes: what a full disk does to a write
    try:
        store.finish(folder, DONE, ENVIRONMENT)
    except StoreError as error:
        os._exit(7 if "cannot write this file" in str(error) else 1)


def test_a_full_disk_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    before = (folder / store.RUN).read_bytes()
    process = multiprocessing.get_context("spawn").Process(target=_finish_on_a_full_disk, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 7
    assert (folder / store.RUN).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted([store.RUN, store.MEASUREMENTS])


def _rewrite_for_ever(folder: Path) -> None:
    for number in range(10**9):
        store.finish(folder, replace(DONE, steps=number), ENVIRONMENT)


@pytest.mark.slow
def test_a_kill_while_run_json_is_replaced_leaves_it_whole(tmp_path: Path) -> None:
    """Pitfall 7: whatever the moment, the file is the old one or the new one."""
    folder = write(RUN, tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=_rewrite_for_ever, args=(folder,))
    process.start()
    while outcome_of(store.read(folder)).steps == DONE.steps:
        pass
    process.kill()
    process.join()
    assert outcome_of(store.read(folder)).steps >= 0
    assert store.missing([RUN], tmp_path) == []


def test_a_heartbeat_is_read_back_and_a_missing_or_broken_one_is_none(tmp_path: Path) -> None:
    assert store.read_heartbeat(tmp_path) is None
    store.write_heartbeat(tmp_path, progress=0.5, step=3, loss=math.inf)
    assert store.read_heartbeat(tmp_path) == {"progress": 0.5, "step": 3, "loss": math.inf, "stopping": False}
    (tmp_path / store.HEARTBEAT).write_text("{")
    assert store.read_heartbeat(tmp_path) is None


FORMAT_1 = Path(__file__).parents[1] / "results" / "reference"


def in_format_1(folder: Path) -> Path:
    """The run in `folder` as an earlier clipbench left it."""
    content = json.loads((folder / store.RUN).read_text())
    del content["digest"]
    (folder / store.RUN).write_text(json.dumps(content | {"format": 1}))
    return folder


def test_the_reference_runs_of_every_format_are_read() -> None:
    records, errors = store.read_all(FORMAT_1)
    assert not errors
    assert len(records) == len(list(FORMAT_1.rglob(store.RUN))) > 0
    assert all(record.measurements for record in records)


def test_a_run_of_format_1_is_read_as_it_is_and_made_again(tmp_path: Path) -> None:
    folder = in_format_1(write(RUN, tmp_path))
    record = store.read(folder)
    assert (record.format, record.run, record.outcome, tuple(record.measurements)) == (1, RUN, DONE, ROWS)
    assert store.missing([RUN], tmp_path) == [RUN]
    store.describe(RUN, folder)
    assert [path.name for path in folder.iterdir()] == [store.RUN]
    assert store.read(folder).format == 2


def test_an_unfinished_run_of_format_1_does_not_go_on(tmp_path: Path) -> None:
    folder = in_format_1(write(RUN, tmp_path, outcome=None))
    (folder / store.CHECKPOINT).write_bytes(b"weights")
    store.describe(RUN, folder)
    assert [path.name for path in folder.iterdir()] == [store.RUN]


def changed(content: dict[str, Any], part: str, **by: object) -> dict[str, Any]:
    return content | {part: content[part] | by}


def test_an_ended_run_has_a_digest_of_its_measurements_its_outcome_and_its_environment(tmp_path: Path) -> None:
    folder = write(RUN, tmp_path, outcome=replace(DONE, reason="θ", train_seconds=1e-7, step_seconds=math.inf))
    described, recorded = (folder / store.RUN).read_bytes(), (folder / store.MEASUREMENTS).read_bytes()
    content = json.loads(described)
    digest = content["digest"]
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert store.digest_of(described, recorded) == digest
    assert store.digest_of(json.dumps(content, sort_keys=True).encode(), recorded) == digest  # another layout
    renamed = changed(content, "run", spec="another")
    assert store.digest_of(json.dumps(renamed).encode(), recorded) == digest
    for part, name, value in (("outcome", "steps", 13), ("environment", "device", "cuda")):
        other = json.dumps(changed(content, part, **{name: value})).encode()
        assert store.digest_of(other, recorded) != digest
    assert store.digest_of(described, recorded.replace(b"-1e-300", b"-1e-299")) != digest


@pytest.mark.parametrize("rows", [(), ("4,0.5,own,slo",)])
def test_a_run_that_crashed_has_a_digest_of_what_it_left(tmp_path: Path, rows: tuple[str, ...]) -> None:
    folder = write(RUN, tmp_path, outcome=None)
    path = folder / store.MEASUREMENTS
    path.write_text("".join(rows)) if rows else path.unlink()
    store.finish(folder, Outcome("failed", reason="no memory"), None)
    described = (folder / store.RUN).read_bytes()
    assert json.loads(described)["digest"] == store.digest_of(described, "".join(rows).encode())


@pytest.mark.parametrize("format_1", [False, True])
@pytest.mark.parametrize("outcome", [DONE, None, Outcome("failed")])
@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("4,9.0,own,slope,2.0", "slope of own at step 4 is there twice, first in line 3"),
        ("04,0.5,own,slope,2.0", "slope of own at step 4 is there twice, first in line 3"),
        ('4,0.5,"own",slope,2.0', "slope of own at step 4 is there twice, first in line 3"),
        ("0,0.0,,eval_loss,0.1", "eval_loss at step 0 is there twice, first in line 2"),
    ],
)
def test_a_step_that_is_there_twice_is_a_damaged_file(
    tmp_path: Path, row: str, named: str, outcome: Outcome | None, format_1: bool
) -> None:
    whole, damaged = write(replace(RUN, seed=1), tmp_path), write(RUN, tmp_path, outcome=outcome)
    for folder in (whole, damaged):
        with (folder / store.MEASUREMENTS).open("a") as file:
            file.write("4,0.5,own,cosine,2.0\n4,0.5,other,slope,2.0\n5,0.5,own,slope,2.0\n")
    with (damaged / store.MEASUREMENTS).open("a") as file:
        file.write(f"{row}\n")
    if format_1:
        in_format_1(damaged)
    records, errors = store.read_all(tmp_path)
    assert [record.folder for record in records] == [str(whole)]
    [error] = errors
    assert error.where == f"{damaged / store.MEASUREMENTS}:7"
    assert error.message == named


def test_a_row_that_is_recorded_twice_is_refused_when_it_is_recorded(tmp_path: Path) -> None:
    store.describe(RUN, tmp_path)
    writer = store.Writer(tmp_path)
    writer(ROWS[0])
    writer(ROWS[1])
    with pytest.raises(StoreError, match="slope of own at step 4 was recorded twice"):
        writer(ROWS[1]._replace(value=1.0))
    writer(ROWS[1]._replace(step=5))
    writer.sync()
    writer.close()
    assert [row.step for row in store.read(tmp_path).measurements] == [0, 4, 5]


def test_rows_that_did_not_reach_the_disk_are_not_written_when_the_file_is_closed(tmp_path: Path) -> None:
    """The run may have its outcome by then, and its digest."""
    store.describe(RUN, tmp_path)
    writer = store.Writer(tmp_path)
    writer(ROWS[0])
    assert writer.unsynced
    size = writer.sync()
    assert not writer.unsynced
    writer(ROWS[1])
    writer.close()
    assert (tmp_path / store.MEASUREMENTS).stat().st_size == size


def test_many_rows_do_not_wait_in_memory(tmp_path: Path) -> None:
    store.describe(RUN, tmp_path)
    writer = store.Writer(tmp_path)
    rows = [Measurement(step, 0.0, "x" * 1000, "y", 1.0) for step in range(2000)]
    for row in rows:
        writer(row)
    assert (tmp_path / store.MEASUREMENTS).stat().st_size > 1_000_000
    writer.sync()
    writer.close()
    assert list(store.read(tmp_path).measurements) == rows


@pytest.mark.slow
@pytest.mark.parametrize("kept", [-1, 5, 36, 39, 66, 10_000])
def test_a_checkpoint_that_vouches_for_what_is_not_there_is_refused(tmp_path: Path, kept: int) -> None:
    """A file that is cut off beyond its end would be filled up with NUL bytes; half a row would be another row."""
    folder = write(RUN, tmp_path, outcome=None)
    path = folder / store.MEASUREMENTS
    before = path.read_bytes()
    heading, first, second = (len(line) for line in before.splitlines(keepends=True))
    assert [size for size in range(10_001) if store.has_recorded(folder, size)] == [
        heading,
        heading + first,
        heading + first + second,
    ]
    assert not store.has_recorded(folder, kept)
    with pytest.raises(StoreError, match=f"the checkpoint is of {kept} bytes of measurements, which are not there"):
        store.Writer(folder, kept=kept)
    assert path.read_bytes() == before
    store.Writer(folder).close()  # the refused one holds no lock


def test_nothing_is_recorded_where_there_is_no_file(tmp_path: Path) -> None:
    assert not store.has_recorded(tmp_path, 100)
