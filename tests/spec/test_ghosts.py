"""Ghosts and the points to look at, as a spec writes them."""

from typing import Any

import pytest
from spec.bench import MINIMAL, Bench

from clipbench.planning.runs import plan
from clipbench.records import Run
from clipbench.spec import question

GRID = MINIMAL.replace("lr: 0.1}", "lr: [0.1, 0.2]}")


def ghosts_of(runs: tuple[Run, ...]) -> dict[str, list[str]]:
    return {run.arm.name: [ghost.name for ghost in run.measure.ghosts] for run in runs}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{along: [slow]}", {"slow": ["fast"], "fast": []}),
        ("{along: all}", {"slow": ["fast"], "fast": ["slow"]}),
        ("{along: all, of: [fast]}", {"slow": ["fast"], "fast": []}),
        ("{along: [fast], of: [slow, fast]}", {"slow": [], "fast": ["slow"]}),
    ],
)
def test_every_other_arm_that_is_named_is_a_ghost(bench: Bench, written: str, expected: dict[str, Any]) -> None:
    spec = bench.load(MINIMAL + f"measure: {{ghosts: {written}}}\n")
    assert ghosts_of(plan(spec, device="cpu")) == expected
    assert spec.measure.ghosts == ()


def test_a_grid_is_meant_whole_by_its_name_and_one_arm_of_it_by_its_own(bench: Bench) -> None:
    whole = bench.load(GRID + "measure: {ghosts: {along: [fast], of: [slow]}}\n")
    assert ghosts_of(plan(whole, device="cpu"))["fast"] == ["slow[lr=0.1]", "slow[lr=0.2]"]
    one = bench.load(GRID + 'measure: {ghosts: {along: [slow], of: ["slow[lr=0.2]"]}}\n')
    assert ghosts_of(plan(one, device="cpu")) == {"slow[lr=0.1]": ["slow[lr=0.2]"], "slow[lr=0.2]": [], "fast": []}


def test_arms_that_are_only_ghosts_make_no_runs(bench: Bench) -> None:
    spec = bench.load(GRID + "baseline: fast\nmeasure: {ghosts: {along: [fast], only: true}}\n")
    runs = plan(spec, device="cpu")
    assert ghosts_of(runs) == {"fast": ["slow[lr=0.1]", "slow[lr=0.2]"]}
    assert len(runs) == 2
    assert question(spec).arms == ("fast",)


def test_a_run_with_ghosts_is_another_run(bench: Bench) -> None:
    without = plan(bench.load(), device="cpu")
    haunted = plan(bench.load(MINIMAL + "measure: {ghosts: {along: [slow]}}\n"), device="cpu")
    assert [a.key == b.key for a, b in zip(without, haunted, strict=True)] == [False, True] * 2


def test_points_of_the_budget_take_the_place_of_a_cadence(bench: Bench) -> None:
    assert bench.load(MINIMAL + "measure: {at: [1, 0.05, 0.25]}\n").measure.probe_at == (0.05, 0.25, 1.0)


@pytest.mark.parametrize(
    ("measure", "fault"),
    [
        ("{ghosts: {along: [slo]}}", "8:28: measure.ghosts.along.0: there is no arm 'slo'; did you mean 'slow'?"),
        (
            "{ghosts: {along: all, of: [quick]}}",
            "8:37: measure.ghosts.of.0: there is no arm 'quick'; known: fast, slow",
        ),
        ("{ghosts: {along: []}}", "8:27: measure.ghosts.along: "),
        ("{ghosts: {along: [slow, slow]}}", "8:27: measure.ghosts.along: slow is here twice"),
        ("{ghosts: {of: all}}", "8:11: measure.ghosts: the key 'along' is missing"),
        ("{ghosts: {along: [fast], only: true}}", "8:27: measure.ghosts.along: the baseline, 'slow', is only a ghost"),
        ("{probes: [], ghosts: {along: all}}", "8:10: measure: `ghosts` are only seen by probes"),
        ("{every: 5, at: [0.5]}", "8:10: measure: probes run `every` so many steps or `at` fractions"),
        ("{at: [0]}", "8:16: measure.at.0: must be above 0"),
        ("{at: [1.5]}", "8:16: measure.at.0: must be at most 1"),
        ("{at: [0.5, 0.5]}", "8:15: measure.at: 0.5 is here twice"),
    ],
)
def test_a_fault_is_told_with_its_place(bench: Bench, measure: str, fault: str) -> None:
    [found] = bench.faults(lambda: bench.load(MINIMAL + f"measure: {measure}\n"))
    assert found.startswith(fault)


def test_a_ghost_cannot_have_the_name_of_a_runs_own_steps(bench: Bench) -> None:
    text = MINIMAL.replace("slow:", "own: ") + "measure: {ghosts: {along: [fast]}}\n"
    [found] = bench.faults(lambda: bench.load(text))
    assert found.startswith("4:3: optimizers.own: 'own' is how a run's own steps are called")
    assert bench.load(MINIMAL.replace("slow:", "own: ")).arms[0].name == "own"


TUNED = (
    MINIMAL.replace("lr: 0.1}", "lr: [0.1, 0.2]}").replace("lr: 0.3, momentum: 0.9}", "lr: 0.3}")
    + "tuning: {seeds: [7]}\nmeasure: {ghosts: {along: [fast]}}\n"
)


def test_a_run_waits_for_a_ghost_that_is_being_tuned_and_goes_on_without_one_that_none_of_its_trials_selected(
    bench: Bench,
) -> None:
    spec = bench.load(TUNED)
    [slow] = spec.searched
    assert plan(spec, device="cpu") == ()
    best = slow.selected({"lr": 0.2})
    chosen = plan(spec, device="cpu", selected={("valley", "slow"): best})
    assert ghosts_of(chosen) == {"slow": [], "fast": ["slow"]}
    assert chosen[1].measure.ghosts[0].optimizer.options["lr"] == 0.2
    assert ghosts_of(plan(spec, device="cpu", selected={("valley", "slow"): None})) == {"fast": []}
