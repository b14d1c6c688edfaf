"""`clipbench.load` and `clipbench.load_curves`: results as plain dicts, without torch."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from cli.front import stored
from judging.made import ending, question, record, run, trials, with_rows

import clipbench
from clipbench import store
from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.measurements import Measurement


def test_a_run_is_a_flat_dict(tmp_path: Path) -> None:
    ended = ending(record(run("sgd", lr=0.5, seed=3), [3.0, 2.5]), state_bytes=8, peak_bytes=2**40)
    [loaded] = clipbench.load(stored([ended], tmp_path))
    options = json.loads(loaded.pop("options"))
    assert options["lr"] == 0.5
    assert loaded == {
        "spec": "quickstart",
        "task": "code_lm",
        "arm": "sgd",
        "seed": 3,
        "optimizer": "sgd",
        "clip": None,
        "device": "cpu",
        "status": "finished",
        "final_loss": 2.5,
        "reason": "",
        "steps": 200,
        "samples": 1600,
        "tokens": 0,
        "train_seconds": 2.0,
        "step_seconds": 0.01,
        "wall_seconds": 3.0,
        "state_bytes": 8,
        "peak_bytes": 2**40,
        "key": ended.run.key,
        "folder": str(store.folder_of(ended.run, tmp_path)),
    }


def test_all_runs_have_the_same_keys_and_plain_values(tmp_path: Path) -> None:
    clipped = record(run("sgd+clip", clip=0.1), [3.0], status="diverged", reason="nan")
    loaded = clipbench.load(stored([record(run("sgd"), {}, status="unfinished"), clipped], tmp_path))
    unfinished, diverged = loaded
    assert list(unfinished) == list(diverged)
    assert (unfinished["status"], unfinished["steps"], unfinished["reason"]) == ("unfinished", None, None)
    assert math.isnan(unfinished["final_loss"])
    assert (diverged["status"], diverged["reason"]) == ("diverged", "nan")
    assert json.loads(diverged["clip"])["fraction"] == 0.1
    assert {type(value) for each in loaded for value in each.values()} <= {str, int, float, type(None)}


def test_a_curve_is_a_dict_for_each_recorded_value(tmp_path: Path) -> None:
    rows = [Measurement(50, 0.5, "own", "slope", -1.5)]
    loaded = clipbench.load_curves(str(stored([with_rows(record(run("=1+1", use="sgd"), [3.0]), rows)], tmp_path)))
    of_run = {"spec": "quickstart", "task": "code_lm", "arm": "=1+1", "seed": 0}  # data: no apostrophe
    assert loaded == [
        {**of_run, "step": 0, "seconds": 0.0, "direction": "", "quantity": "eval_loss", "value": 3.0},
        {**of_run, "step": 50, "seconds": 0.5, "direction": "own", "quantity": "slope", "value": -1.5},
    ]


def test_trials_are_left_out(tmp_path: Path) -> None:
    chosen = record(run("sgd", lr=0.1), [3.0])
    stored([chosen, *trials("sgd", {0.1: 2.0, 0.2: 2.5})], tmp_path, question=question("sgd"))
    assert [each["key"] for each in clipbench.load(tmp_path)] == [chosen.run.key]


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [record(run("sgd", seed=seed), [2.0]) for seed in (0, 1)]
    broken = store.folder_of(records[0].run, stored(records, tmp_path))
    (broken / store.RUN).write_text("{")
    assert [each["seed"] for each in clipbench.load(tmp_path)] == [1]
    assert f"not read: {broken}" in capsys.readouterr().err


def test_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndecidedError, match="no runs in"):
        clipbench.load(tmp_path)
    with pytest.raises(ClipbenchError, match="there is no such folder"):
        clipbench.load_curves(tmp_path / "nowhere")


@pytest.mark.slow
def test_nothing_is_loaded_before_its_use_and_torch_never(tmp_path: Path) -> None:
    stored([record(run("sgd"), [2.0])], tmp_path)
    program = """
import sys
import clipbench
print(sorted(name for name in sys.modules if name.startswith("clipbench")))
assert clipbench.load(sys.argv[1]) and clipbench.load_curves(sys.argv[1])
print([name for name in ("torch", "numpy", "scipy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout.splitlines() == ["['clipbench']", "[]"]
