"""What the command line asks of a spec beside its file."""

from pathlib import Path
from typing import Any

import pytest

from clipbench.errors import ClipbenchError
from clipbench.planning.runs import plan
from clipbench.records import Run
from clipbench.spec import Overrides, Spec, load

SPEC = """\
# Which rate?
task: {use: quadratic}
optimizers:
  sgd: {use: sgd, lr: [0.1, 0.2]}
  adam: {use: adam, lr: 0.1}
budget: {steps: 25}
seeds: [3, 4]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "rates.yaml").write_text(SPEC)
    return tmp_path / "rates.yaml"


def asked(path: Path, **changes: Any) -> tuple[Spec, list[Run]]:
    spec = load(path, Overrides(**changes))
    return spec, list(plan(spec, device="cpu" if spec.device == "auto" else spec.device))


def test_nothing_asked_is_the_spec_as_it_stands(path: Path) -> None:
    spec, runs = asked(path)
    assert [(run.seed, run.arm.name) for run in runs[:3]] == [(3, "sgd[lr=0.1]"), (3, "sgd[lr=0.2]"), (3, "adam")]
    assert (spec.only, spec.device) == (None, "auto")


def test_seeds_device_and_threads_take_the_place_of_the_specs(path: Path) -> None:
    _, runs = asked(path, seeds=(7,), device="mps", threads=2)
    assert {(run.seed, run.device, run.threads) for run in runs} == {(7, "mps", 2)}


@pytest.mark.parametrize(
    ("pattern", "arms"),
    [("adam", {"adam"}), ("sgd*", {"sgd[lr=0.1]", "sgd[lr=0.2]"}), ("sgd[lr=0.1]", {"sgd[lr=0.1]"})],
)
def test_a_filter_wants_arms_by_name_or_pattern(path: Path, pattern: str, arms: set[str]) -> None:
    spec, runs = asked(path, only=pattern)
    assert {run.arm.name for run in runs if spec.wants(run.arm.name)} == arms
    assert len(runs) == 6  # the other arms are still part of the plan


def test_a_filter_that_fits_nothing_names_the_arms(path: Path) -> None:
    with pytest.raises(ClipbenchError, match=r"no arm\n  the arms are: sgd\[lr=0.1\], sgd\[lr=0.2\], adam"):
        asked(path, only="lion")


def test_a_quick_look_is_one_seed_and_a_tenth_under_its_own_name(path: Path) -> None:
    spec, runs = asked(path, quick=True)
    assert {(run.spec, run.seed, run.budget.amount) for run in runs} == {("rates-quick", 3, 2.0)}
    assert spec.question.endswith("not comparable.)")
    _, runs = asked(path, values=["budget.steps=4"], quick=True)
    assert {run.budget.amount for run in runs} == {1.0}
    _, runs = asked(path, values=["budget={seconds: 4}"], quick=True)
    assert {run.budget.amount for run in runs} == {0.4}


def test_a_quick_look_tunes_on_one_seed_with_as_many_trials(path: Path) -> None:
    values = ["tuning={seeds: [8, 9], trials: 2}"]
    spec, _ = asked(path, values=values, quick=True)
    assert spec.tuning is not None
    assert spec.tuning.seeds == (8,)
    assert len(spec.searched[0].settings) == 2


def test_a_filter_names_a_tuned_arm_as_the_spec_does(path: Path) -> None:
    spec, _ = asked(path, values=["tuning.seeds=[8]"], only="sgd")
    assert [arm.name for arm in spec.arms if spec.wants(arm.name)] == ["sgd"]
