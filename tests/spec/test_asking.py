"""What the command line asks of a spec beside its file."""

from pathlib import Path
from typing import Any

import pytest

from clipbench.errors import ClipbenchError
from clipbench.planning.runs import plan
from clipbench.records import Run
from clipbench.spec import Asked, Inquiry, ask

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


def cpu(device: str) -> str:
    return "cpu" if device == "auto" else device


def asked(path: Path, **changes: Any) -> tuple[Inquiry, list[Run]]:
    inquiry = ask(path, Asked(**changes), resolve=cpu)
    return inquiry, list(plan(inquiry.spec, device=inquiry.spec.device))


def test_nothing_asked_is_the_spec_as_it_stands(path: Path) -> None:
    inquiry, runs = asked(path)
    assert [(run.seed, run.arm.name) for run in runs[:3]] == [(3, "sgd[lr=0.1]"), (3, "sgd[lr=0.2]"), (3, "adam")]
    assert inquiry.only is None
    assert {run.device for run in runs} == {"cpu"}


def test_seeds_device_and_threads_take_the_place_of_the_specs(path: Path) -> None:
    _, runs = asked(path, seeds=(7,), device="mps", threads=2)
    assert {(run.seed, run.device, run.threads) for run in runs} == {(7, "mps", 2)}


@pytest.mark.parametrize(
    ("pattern", "arms"),
    [("adam", {"adam"}), ("sgd*", {"sgd[lr=0.1]", "sgd[lr=0.2]"}), ("sgd[lr=0.1]", {"sgd[lr=0.1]"})],
)
def test_a_filter_wants_arms_by_name_or_pattern(path: Path, pattern: str, arms: set[str]) -> None:
    inquiry, runs = asked(path, only=pattern)
    assert {run.arm.name for run in runs if inquiry.wants(run.arm.name)} == arms
    assert len(runs) == 6  # the other arms are still part of the plan


def test_a_filter_that_fits_nothing_names_the_arms(path: Path) -> None:
    with pytest.raises(ClipbenchError, match=r"no arm\n  the arms are: sgd\[lr=0.1\], sgd\[lr=0.2\], adam"):
        asked(path, only="lion")


def test_a_quick_look_is_one_seed_and_a_tenth_under_its_own_name(path: Path) -> None:
    inquiry, runs = asked(path, quick=True)
    assert {(run.spec, run.seed, run.budget.amount) for run in runs} == {("rates-quick", 3, 2.0)}
    assert inquiry.spec.question.endswith("not comparable.)")
    _, runs = asked(path, overrides=["budget.steps=4"], quick=True)
    assert {run.budget.amount for run in runs} == {1.0}
    _, runs = asked(path, overrides=["budget={seconds: 4}"], quick=True)
    assert {run.budget.amount for run in runs} == {0.4}


def test_a_quick_look_tunes_on_one_seed_with_as_many_trials(path: Path) -> None:
    overrides = ["tuning={seeds: [8, 9], trials: 2}"]
    inquiry, _ = asked(path, overrides=overrides, quick=True)
    assert inquiry.spec.tuning is not None
    assert inquiry.spec.tuning.seeds == (8,)
    assert len(inquiry.spec.searched[0].settings) == 2


def test_a_filter_names_a_tuned_arm_as_the_spec_does(path: Path) -> None:
    inquiry, _ = asked(path, overrides=["tuning.seeds=[8]"], only="sgd")
    assert [arm.name for arm in inquiry.spec.arms if inquiry.wants(arm.name)] == ["sgd"]
