"""What the command line asks of a spec beside its file."""

from pathlib import Path

import pytest

from clipbench.errors import ClipbenchError
from clipbench.spec import Asked, ask

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


def test_nothing_asked_is_the_spec_as_it_stands(path: Path) -> None:
    question, runs = ask(path, Asked(), resolve=cpu)
    assert [(run.seed, run.arm.name) for run in runs[:3]] == [(3, "sgd[lr=0.1]"), (3, "sgd[lr=0.2]"), (3, "adam")]
    assert question.keys == tuple(run.key for run in runs)
    assert {run.device for run in runs} == {"cpu"}


def test_seeds_device_and_threads_take_the_place_of_the_specs(path: Path) -> None:
    _, runs = ask(path, Asked(seeds=(7,), device="mps", threads=2), resolve=cpu)
    assert {(run.seed, run.device, run.threads) for run in runs} == {(7, "mps", 2)}


@pytest.mark.parametrize(
    ("pattern", "arms"),
    [("adam", {"adam"}), ("sgd*", {"sgd[lr=0.1]", "sgd[lr=0.2]"}), ("sgd[lr=0.1]", {"sgd[lr=0.1]"})],
)
def test_a_filter_keeps_arms_by_name_or_pattern(path: Path, pattern: str, arms: set[str]) -> None:
    question, runs = ask(path, Asked(only=pattern), resolve=cpu)
    assert {run.arm.name for run in runs} == arms
    assert len(question.keys) == 6  # the other arms are still part of the plan


def test_a_filter_that_fits_nothing_names_the_arms(path: Path) -> None:
    with pytest.raises(ClipbenchError, match=r"no arm\n  the arms are: sgd\[lr=0.1\], sgd\[lr=0.2\], adam"):
        ask(path, Asked(only="lion"), resolve=cpu)


def test_a_quick_look_is_one_seed_and_a_tenth_under_its_own_name(path: Path) -> None:
    question, runs = ask(path, Asked(quick=True), resolve=cpu)
    assert {(run.spec, run.seed, run.budget.amount) for run in runs} == {("rates-quick", 3, 2.0)}
    assert question.text.endswith("not comparable.)")
    _, runs = ask(path, Asked(overrides=["budget.steps=4"], quick=True), resolve=cpu)
    assert {run.budget.amount for run in runs} == {1.0}
    _, runs = ask(path, Asked(overrides=["budget={seconds: 4}"], quick=True), resolve=cpu)
    assert {run.budget.amount for run in runs} == {0.4}
