"""The keys of the runs of the specs that come with clipbench: who has made them does not make them again.

`python tests/spec/test_keys.py` writes keys.json anew.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from clipbench.data import SOURCES, Source
from clipbench.planning import runs as planning
from clipbench.planning.runs import plan, trials
from clipbench.records import Arm, Choice, Run
from clipbench.spec import load

FOLDER = Path(__file__).parents[2] / "benchmarks"
SPECS = sorted(FOLDER.glob("*.yaml"))
KEPT = Path(__file__).with_name("keys.json")
RENAMED = (
    "Runs that were made under these keys are made again. If you added an option: give the field a default that does "
    "what was done before, and its runs keep their keys. If a field means something else at its default, or numbers "
    "change: raise METHOD in clipbench/records.py. Then: python tests/spec/test_keys.py"
)
EDITED = (
    "The code of a shelf's file, or of what it imports from networks/, momentum and data, was edited, so that its runs "
    "are made again. If that is meant: python tests/spec/test_keys.py. If only words or layout changed, it is a fault."
)


def first_runs(path: Path) -> list[Run]:
    """A run of each task and arm, reported or tried, on the CPU, whatever data this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SOURCES", {name: Source(lambda: "data") for name in SOURCES})
        spec = load(path)
        reported = [run for run in plan(spec, device="cpu") if run.seed == spec.seeds[0]]
        settings = {arm.name: arm.settings for arm in spec.searched}
        tried = [trials(spec, task, settings, device="cpu") for task in spec.tasks] if settings else []
    return [*reported, *(runs[0] for of_task in tried for of_arm in of_task.values() for runs in of_arm)]


def without_code(run: Run) -> Run:
    """The run as if all code were the same."""

    def same(choice: Choice) -> Choice:
        return replace(choice, source="")

    def of(arm: Arm) -> Arm:
        return replace(arm, optimizer=same(arm.optimizer))

    ghosts, probes = tuple(map(of, run.measure.ghosts)), tuple(map(same, run.measure.probes))
    return replace(
        run, task=same(run.task), arm=of(run.arm), measure=replace(run.measure, ghosts=ghosts, probes=probes)
    )


def keys(path: Path) -> dict[str, dict[str, str]]:
    return {str(run): {"key": run.key, "without code": without_code(run).key} for run in first_runs(path)}


@pytest.fixture(scope="module")
def kept() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = json.loads(KEPT.read_text())
    return found


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_runs_of_a_spec_that_comes_with_clipbench_keep_their_keys(
    path: Path, kept: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> None:
    now, then = keys(path), kept[path.stem]
    assert {run: each["without code"] for run, each in now.items()} == {
        run: each["without code"] for run, each in then.items()
    }, RENAMED
    assert now == then, EDITED


if __name__ == "__main__":
    KEPT.write_text(json.dumps({path.stem: keys(path) for path in SPECS}, indent=1, ensure_ascii=False) + "\n")
