"""The paper's benchmarks: valid and planned anywhere, and those run in small whose text lies on every machine."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clipbench import store
from clipbench.planning.runs import trials
from clipbench.running.trying import Tried, tried
from clipbench.spec import Overrides, load

FOLDER = Path(__file__).parents[1] / "benchmarks" / "paper"
SPECS = sorted(FOLDER.glob("*.yaml"))
OFFLINE = [path for path in SPECS if path.stem.endswith("-offline")]
FURTHER = ("masked_lm", "classification", "images")
LOOKED_AT = [*OFFLINE, *(FOLDER / f"{name}.yaml" for name in FURTHER)]
NEEDED = {"translation-offline": "num2words", "images": "sklearn"}


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def test_there_are_three_of_each_of_the_papers_tasks_and_one_of_each_further_task() -> None:
    kinds = ("", "-scratch", "-offline")
    three = {f"{task}{kind}" for task in ("translation", "autoregressive") for kind in kinds}
    assert set(names(SPECS)) == three | set(FURTHER)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_is_planned_without_a_hub_weights_or_data(path: Path) -> None:
    none = "sys.modules['transformers'] = sys.modules['huggingface_hub'] = None"
    script = f"import sys, runpy; {none}; runpy.run_module('clipbench', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script, "plan", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 reused" in done.stdout


def test_the_page_names_each() -> None:
    page = (FOLDER.parents[1] / "docs" / "paper.md").read_text()
    assert all(f"| `{name}` " in page for name in names(SPECS))


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


@pytest.mark.parametrize("path", LOOKED_AT, ids=lambda path: path.stem)
def test_a_quick_look_is_at_a_tiny_model_and_needs_no_network(path: Path) -> None:
    spec = load(path, Overrides(quick=True))
    options = spec.tasks[0].options
    assert (options.get("size", "tiny"), spec.budget.amount, spec.budget.unit) == ("tiny", 5, "steps")
    assert not any(options.get(name) for name in ("model", "data", "pretrained"))
    assert options.get("tokenizer", "bytes") == "bytes"
    assert len(spec.seeds) == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in LOOKED_AT if path not in OFFLINE], ids=lambda path: path.stem)
def test_every_arm_of_a_quick_look_takes_its_first_steps(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("transformers", *NEEDED.get(path.stem, "").split()):
        pytest.importorskip(package, reason=f"not installed: {package}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = load(path, Overrides(quick=True))
    of_arms = trials(spec, spec.tasks[0], {arm.name: arm.settings for arm in spec.searched}, device="cpu")
    first = [runs[0][0] for runs in of_arms.values()]
    found = tried(first, replace(first[0].measure, probes=spec.measure.probes))
    assert {run.trial_of for run in first} == {arm.name for arm in spec.arms}
    assert found == Tried(recorded=found.recorded)
    assert "accuracy" in found.recorded


@pytest.mark.slow
@pytest.mark.parametrize("path", OFFLINE, ids=lambda path: path.stem)
def test_a_quick_look_at_the_whole_protocol_is_made(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="not installed: transformers")
    if needed := NEEDED.get(path.stem):
        pytest.importorskip(needed, reason=f"not installed: {needed}")
    done = subprocess.run(
        [sys.executable, "-m", "clipbench", "run", str(path), "--quick", "-o", str(tmp_path / "results")],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records, unreadable = store.read_all(tmp_path / "results" / f"{path.stem}-quick")
    assert not unreadable
    arms = {arm.name for arm in load(path).arms}
    reported = {each.run.arm.name: each for each in records if not each.run.trial_of}
    assert reported.keys() == arms
    assert all(each.outcome is not None and each.outcome.status == "finished" for each in records)
    for along in ("sgd", "adam"):
        sharp = {row.direction for row in reported[along].measurements if row.quantity == "directional_sharpness"}
        assert sharp == {"own", *(arms - {along})}
        assert "accuracy" in {row.quantity for row in reported[along].measurements}
