"""`clipbench export` as it is typed: the rows of the runs in force, and nothing lost or overwritten."""

import csv
import io
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli.front import Ask, asking, stored
from judging.made import question, quickstart, record, run, with_rows

from clipbench import store
from clipbench.measurements import Measurement
from clipbench.records import Record

HEADING = "spec,task,arm,seed,step,seconds,direction,quantity,value"


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    monkeypatch.chdir(tmp_path)
    return asking(monkeypatch, capsys)


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), strict=True))


def arms_and_seeds(text: str) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["arm"], row["seed"]) for row in parsed(text)))


def test_csv_has_a_row_for_each_value_with_every_digit(ask: Ask) -> None:
    third = 1 / 3
    rows = [Measurement(50, third, "adam", "update_norm", math.nan), Measurement(50, third, "own", "slope", -math.inf)]
    stored([with_rows(record(run("sgd", seed=3), {0: 0.1 + 0.2}, step_seconds=third), rows)], Path("results"))
    assert ask("export", "results", "--to", "csv").out == (
        f"{HEADING}\n"
        "quickstart,code_lm,sgd,3,0,0.0,,eval_loss,0.30000000000000004\n"
        "quickstart,code_lm,sgd,3,50,0.3333333333333333,adam,update_norm,nan\n"
        "quickstart,code_lm,sgd,3,50,0.3333333333333333,own,slope,-inf\n"
    )


def test_runs_stand_in_the_order_of_the_question_and_of_their_seeds(ask: Ask) -> None:
    records = [record(run(arm, seed=seed), [2.0]) for arm in ("adam", "sgd") for seed in (10, 2)]
    stored(records, Path("results"), question=question("sgd", "adam"))
    assert arms_and_seeds(ask("export", "results", "--to", "csv").out) == [
        *[("sgd", "2"), ("sgd", "10"), ("adam", "2"), ("adam", "10")]
    ]


def test_trials_and_runs_of_an_earlier_plan_are_left_out(ask: Ask) -> None:
    now, before = record(run("sgd", lr=0.1), [3.0, 2.0]), record(run("sgd", lr=0.5, seed=1), [3.0, 2.5])
    tried = [replace(each, run=replace(each.run, trial_of="sgd")) for each in [record(run("sgd[lr=1]", lr=1), [3.0])]]
    asked = replace(question("sgd"), keys=(now.run.key,))
    stored([now, before, *tried], Path("results"), question=asked)
    answer = ask("export", "results", "--to", "csv")
    assert arms_and_seeds(answer.out) == [("sgd", "0")]
    assert "caveat: Left out: 1 run of an earlier version of the spec or its code (sgd)." in answer.err


def test_a_name_that_a_spreadsheet_would_run_is_text(ask: Ask) -> None:
    quantity = "@q\n\x1b"
    stored([with_rows(record(run("=1+1", use="sgd"), {}), [Measurement(0, 0.0, "", quantity, -1.0)])], Path("results"))
    [row] = parsed(ask("export", "results", "--to", "csv").out)
    assert (row["arm"], row["quantity"], row["value"]) == ("'=1+1", r"'@q\n\x1b", "-1.0")


def test_a_file_has_what_stdout_has_and_is_never_overwritten(ask: Ask) -> None:
    stored(quickstart(), Path("results"))
    shown = ask("export", "results", "--to", "csv").out
    assert ask("export", "results", "--to", "csv", "-o", "curves.csv").out == "curves.csv\n"
    assert Path("curves.csv").read_text(encoding="utf-8") == shown
    Path("curves.csv").write_text("mine")
    again = ask("export", "results", "--to", "csv", "-o", "curves.csv")
    assert again.code == 2
    assert "curves.csv: this exists already, and is not overwritten" in again.err
    assert Path("curves.csv").read_text() == "mine"


def test_an_export_that_fails_leaves_nothing_behind(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Iterator[str]:
        yield "half"
        raise OSError(28, "No space left on device")

    stored(quickstart(), Path("results"))
    monkeypatch.setattr("clipbench.cli.export.csv_texts", broken)
    answer = ask("export", "results", "--to", "csv", "-o", "curves.csv")
    assert (answer.code, answer.out) == (2, "")
    assert "curves.csv: cannot write this (No space left on device)" in answer.err
    assert [path.name for path in Path().iterdir()] == ["results"]


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_exported(ask: Ask) -> None:
    records = [record(run("sgd", seed=seed), [2.0]) for seed in (0, 1)]
    stored(records, Path("results"))
    broken = store.folder_of(records[0].run, Path("results"))
    (broken / store.RUN).write_text("{")
    answer = ask("export", "results", "--to", "csv")
    assert answer.code == 0
    assert arms_and_seeds(answer.out) == [("sgd", "1")]
    assert f"not read: {broken}" in answer.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("nowhere", "--to", "csv"), 2, "nowhere: there is no such folder"),
        (("empty", "--to", "csv"), 3, "no runs in empty"),
        (("results", "--to", "tensorboard"), 2, "--to tensorboard needs -o FOLDER"),
        (("results", "--to", "csv", "-o", "file/curves.csv"), 2, "cannot write this (Not a directory)"),
        (("results", "--to", "tensorboard", "-o", "events"), 2, "pip install tensorboard"),
        (("results", "--to", "parquet"), 2, "parquet"),
    ],
)
def test_what_cannot_be_exported_is_told_with_a_remedy(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, told: str
) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    stored(quickstart(), Path("results"))
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    answer = ask("export", *words)
    assert (answer.code, answer.out) == (code, "")
    assert told in answer.err
    assert not Path("events").exists()


def scalars(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """By tag the steps, wall times and values, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing import event_file_loader
    from tensorboard.util import tensor_util

    found: dict[str, list[tuple[int, float, float]]] = {}
    [file] = folder.iterdir()
    for event in event_file_loader.EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            row = event.step, event.wall_time, float(tensor_util.make_ndarray(value.tensor))
            found.setdefault(value.tag, []).append(row)
    return found


def test_tensorboard_reads_a_folder_for_each_run(ask: Ask) -> None:
    pytest.importorskip("tensorboard", reason="not installed: tensorboard")
    rows = [Measurement(50, 0.5, "own", "slope", -1.5), Measurement(50, 0.5, "adam", "slope", math.inf)]
    records: list[Record] = [with_rows(record(run(arm, seed=1), [3.0, 2.5]), rows) for arm in ("sgd", "sgd+clip")]
    stored(records, Path("results"))
    answer = ask("export", "results", "--to", "tensorboard", "-o", "events")
    assert (answer.code, answer.out) == (0, "events\n"), answer.err
    assert sorted(path.parent for path in Path("events").rglob("events.out.tfevents.*")) == sorted(
        store.folder_of(each.run, Path("events")) for each in records
    )
    assert scalars(store.folder_of(records[0].run, Path("events"))) == {
        "code_lm/eval_loss": [(0, 0.0, 3.0), (50, 0.5, 2.5)],
        "code_lm/slope@own": [(50, 0.5, -1.5)],
        "code_lm/slope@adam": [(50, 0.5, math.inf)],
    }
    assert ask("export", "results", "--to", "tensorboard", "-o", "events").code == 2
