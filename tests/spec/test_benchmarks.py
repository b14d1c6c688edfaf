"""The specs that come with clipbench."""

from pathlib import Path

import pytest
from spec.bench import settled

from clipbench.records import Arm
from clipbench.spec import load

FOLDER = Path(__file__).parents[2] / "benchmarks"
SPECS = sorted(FOLDER.glob("*.yaml"))


def settings(arm: Arm) -> tuple[object, ...]:
    return arm.optimizer.use, tuple(sorted(arm.optimizer.options.items())), arm.clip


def test_there_are_some() -> None:
    assert {"quickstart", "quickstart_rates", "clips", "clips_rates"} <= {path.stem for path in SPECS}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_is_right_and_opens_with_its_question(path: Path) -> None:
    assert load(path).question.split("\n")[0].endswith("?")


@pytest.mark.parametrize("name", ["quickstart", "clips"])
def test_every_rate_comes_from_the_grid_beside_it_on_a_seed_that_is_not_reported(name: str) -> None:
    spec, grid = load(FOLDER / f"{name}.yaml"), load(FOLDER / f"{name}_rates.yaml")
    assert {settings(arm) for arm in settled(spec)} <= {settings(arm) for arm in settled(grid)}
    assert not set(spec.seeds) & set(grid.seeds)
    assert (spec.tasks, spec.budget) == (grid.tasks, grid.budget)


def test_every_arm_of_the_tuned_benchmark_leaves_something_open_in_spaces_of_one_width() -> None:
    spec = load(FOLDER / "tuned.yaml")
    assert spec.searched == spec.arms
    rates = [space for arm in spec.searched for space in arm.spaces if space.setting == "lr"]
    assert {round(space.high / space.low) for space in rates if space.high and space.low} == {100}


def test_every_arm_of_the_clips_has_as_many_trials() -> None:
    grid = load(FOLDER / "clips_rates.yaml")
    names = [arm.name.partition("[")[0] for arm in grid.arms]
    assert {names.count(name) for name in names} == {9}
