"""The paper's benchmarks: valid and planned anywhere, and the one on Python's code run in small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipbench import store
from clipbench.spec import Overrides, load

FOLDER = Path(__file__).parents[1] / "benchmarks" / "paper"
SPECS = sorted(FOLDER.glob("*.yaml"))
OFFLINE = [path for path in SPECS if path.stem.endswith("-offline")]


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def test_there_are_three_of_each_task() -> None:
    kinds = ("", "-scratch", "-offline")
    assert set(names(SPECS)) == {f"{task}{kind}" for task in ("translation", "autoregressive") for kind in kinds}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_asks_a_question_and_tunes_every_arm_alike_on_a_seed_that_is_not_reported(path: Path) -> None:
    spec = load(path)
    assert spec.question.split("\n")[0].endswith("?")
    assert spec.searched == spec.arms
    rates = [space for arm in spec.searched for space in arm.spaces]
    assert {round(space.high / space.low) for space in rates if space.high and space.low} == {100}
    assert spec.tuning is not None
    assert spec.tuning.trials == 4
    assert len(spec.seeds) == 3
    assert not set(spec.seeds) & set(spec.tuning.seeds)
    assert (spec.budget.amount, spec.budget.unit) == (20, "epochs")
    assert [round(20 * share) for share in spec.measure.probe_at] == [2, 5, 10, 20]  # the paper's epochs


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_arm_with_a_clip_stands_beside_the_same_arm_without(path: Path) -> None:
    arms = [arm.name for arm in load(path).arms]
    clipped = [name for name in arms if "+clip" in name]
    assert clipped
    assert {name.partition("+clip")[0] for name in clipped} <= set(arms)


def test_those_without_a_network_have_the_models_of_those_with() -> None:
    for path in OFFLINE:
        [ours], [theirs] = (load(each).tasks for each in (path, FOLDER / f"{path.stem[:-8]}-scratch.yaml"))
        assert ours.use == theirs.use
        assert ours.options["size"] == "full"
        assert not {"model", "data", "tokenizer"} & {
            name for name in ours.options if ours.options[name] not in ("", "bytes")
        }
        assert ours.options["batch"] == theirs.options["batch"] == 32


@pytest.mark.parametrize("path", OFFLINE, ids=lambda path: path.stem)
def test_a_quick_look_is_at_a_tiny_model(path: Path) -> None:
    spec = load(path, Overrides(quick=True))
    assert (spec.tasks[0].options["size"], spec.budget.amount, spec.budget.unit) == ("tiny", 5, "steps")
    assert len(spec.seeds) == 1


@pytest.mark.slow
def test_a_quick_look_at_the_whole_protocol_is_made(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="not installed: transformers")
    spec = FOLDER / "autoregressive-offline.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "clipbench", "run", str(spec), "--quick", "-o", str(tmp_path / "results")],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records, unreadable = store.read_all(tmp_path / "results" / "autoregressive-offline-quick")
    assert not unreadable
    arms = {arm.name for arm in load(spec).arms}
    reported = {each.run.arm.name: each for each in records if not each.run.trial_of}
    assert reported.keys() == arms
    assert all(each.outcome is not None and each.outcome.status == "finished" for each in records)
    for path in ("sgd", "adam"):
        sharp = {row.direction for row in reported[path].measurements if row.quantity == "directional_sharpness"}
        assert sharp == {"own", *(arms - {path})}
        assert "accuracy" in {row.quantity for row in reported[path].measurements}
