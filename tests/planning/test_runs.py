from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from spec.bench import MINIMAL, Bench, printed_elsewhere

from clipbench.data import Source
from clipbench.errors import ClipbenchError
from clipbench.planning import runs as planning
from clipbench.planning.runs import plan, trials
from clipbench.records import Run
from clipbench.spec import Spec


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Source]:
    known = {"bowl_data": Source(lambda: "abc")}
    monkeypatch.setattr(planning, "SOURCES", known)
    return known


def only(spec: Spec) -> Run:
    return plan(spec, device="cpu")[0]


def test_seeds_are_outermost_then_tasks_then_arms(bench: Bench) -> None:
    runs = plan(bench.replaced("task: valley", "task: [bowl, valley]"), device="cpu")
    assert [str(run) for run in runs] == [
        f"{task}/{arm}/seed {seed}" for seed in (0, 1) for task in ("bowl", "valley") for arm in ("slow", "fast")
    ]
    assert len({run.key for run in runs}) == len(runs)


def test_a_run_carries_all_that_the_spec_says(bench: Bench) -> None:
    spec = bench.load(MINIMAL + "threads: 3\n")
    run = plan(spec, device="cuda:1")[0]
    assert (run.spec, run.device, run.threads, run.seed) == ("race", "cuda:1", 3, 0)
    assert (run.task, run.arm, run.budget, run.measure) == (spec.tasks[0], spec.arms[0], spec.budget, spec.measure)


def test_a_task_with_data_is_planned_with_the_fingerprint_of_the_data(bench: Bench) -> None:
    runs = plan(bench.replaced("task: valley", "task: [bowl, valley]"), device="cpu")
    assert {run.task.name: run.data for run in runs} == {"bowl": "abc", "valley": ""}


def test_data_that_clipbench_does_not_know_is_an_error(bench: Bench, shelves: Path) -> None:
    path = shelves / "tasks" / "bowl.py"
    path.write_text(path.read_text().replace("bowl_data", "soup"))
    with pytest.raises(ClipbenchError, match="'bowl' names the data 'soup'"):
        plan(bench.replaced("task: valley", "task: bowl"), device="cpu")


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_seeds_that_are_none_repeated_or_negative_are_refused(bench: Bench, seeds: tuple[int, ...]) -> None:
    """The file's own are checked when it is read; these come from the command line."""
    with pytest.raises(ClipbenchError, match="seeds"):
        plan(replace(bench.load(), seeds=seeds), device="cpu")


def test_a_run_has_a_device_and_never_auto(bench: Bench) -> None:
    with pytest.raises(ValueError, match="auto"):
        plan(bench.load(), device="auto")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("task: valley", "task: {use: valley, depth: 2.0}"),
        ("task: valley", "task: bowl"),
        ("lr: 0.1", "lr: 0.2"),
        ("lr: 0.1", "lr: 0.1, momentum: 0.5"),
        ("lr: 0.1", "lr: 0.1, betas: [0.9, 0.99]"),
        ("lr: 0.1", "lr: 0.1, clip: {fraction: 0.1}"),
        ("lr: 0.1", "lr: 0.1, clip: {threshold: 0.1}"),
        ("lr: 0.1", "lr: 0.1, clip: {norm: 0.1}"),
        ("lr: 0.1", "lr: 0.1, schedule: cosine"),
        ("{steps: 100}", "{steps: 101}"),
        ("{steps: 100}", "{samples: 100}"),
        ("[0, 1]", "[1, 0]"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nschedule: linear"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nthreads: 2"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nevaluate: {every: 10}"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nmeasure: {every: 10}"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nmeasure: {probes: [sharpness, norms]}"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nmeasure: {probes: [{use: sharpness, samples: 2}]}"),
    ],
)
def test_whatever_decides_the_numbers_decides_the_key(bench: Bench, old: str, new: str) -> None:
    assert only(bench.replaced(old, new)).key != only(bench.load()).key


def test_every_setting_of_a_clip_decides_the_key(bench: Bench) -> None:
    clips = [
        "{fraction: 0.1}",
        "{fraction: 0.2}",
        "{fraction: 0.1, of: update}",
        "{fraction: 0.1, scope: tensor}",
        "{fraction: 0.1, scope: group}",
        "{threshold: 0.1}",
        "{threshold: 0.2}",
        "{norm: 0.1}",
        "{norm: 0.2}",
    ]
    keys = [only(bench.arm(f"{{use: descent, lr: 0.1, clip: {clip}}}")).key for clip in clips]
    assert len(set(keys)) == len(clips)
    assert only(bench.arm("{use: descent, lr: 0.1, clip: {fraction: 0.1, scope: global}}")).key == keys[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Is it faster?", "# Another question"),
        ("  slow:", "  crawl:"),
        ("  fast: {use: descent, lr: 0.3, momentum: 0.9}\n", ""),
        ("task: valley", "task: {use: valley}"),
        ("task: valley", "task: {use: valley, depth: 1}"),
        ("task: valley", "task: {use: valley, depth: [1.0, 2.0]}"),
        ("lr: 0.1", "lr: [1e-1, 0.2]"),
        ("lr: 0.1", "lr: 0.1, momentum: 0, betas: [0.9, 0.999]"),
        ("lr: 0.1", "lr: 0.1, clip: {fraction: 0}"),
        ("lr: 0.1", "lr: 0.1, schedule: constant"),
        ("lr: 0.1", "lr: 0.1, liveness: warn"),
        ("seeds: [0, 1]", "seeds: [0]\nbaseline: fast\ntarget: {loss: 1}\ndevice: cpu\nthreads: 1"),
        ("seeds: [0, 1]", "seeds: [0]\nevaluate: {every: 20}\nmeasure: {every: 50, probes: [sharpness]}"),
    ],
)
def test_labels_and_defaults_written_out_leave_the_key_alone(bench: Bench, old: str, new: str) -> None:
    assert only(bench.replaced(old, new)).key == only(bench.load()).key


def test_the_data_decides_the_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.replaced("task: valley", "task: bowl")
    before = only(spec).key
    monkeypatch.setattr(planning, "SOURCES", {"bowl_data": Source(lambda: "abd")})
    assert only(spec).key != before


@pytest.mark.parametrize(("old", "new"), [("momentum: float = 0", "momentum: float = 0.5"), ("= 1e-8", "= 1e-7")])
def test_a_new_default_is_a_new_run(bench: Bench, shelves: Path, old: str, new: str) -> None:
    before = only(bench.load())
    path = shelves / "optimizers" / "descent.py"
    path.write_text(path.read_text().replace(old, new))
    after = only(bench.load())
    assert after.key != before.key
    # The description tells the two apart by itself, even were their code held for the same.
    same_code = replace(after.arm.optimizer, source=before.arm.optimizer.source)
    assert replace(after, arm=replace(after.arm, optimizer=same_code)).key != before.key


@pytest.mark.slow
def test_a_plan_is_the_same_in_every_process(bench: Bench, shelves: Path) -> None:
    bench.load()
    script = (
        "import sys; from pathlib import Path\n"
        "from clipbench.planning.runs import plan\n"
        "from clipbench.spec import load\n"
        "runs = plan(load(sys.argv[1], shelves=Path(sys.argv[2])), device='cpu'); "
        "print([(str(run), run.key) for run in runs])"
    )
    expected = [(str(run), run.key) for run in plan(bench.load(), device="cpu")]
    assert printed_elsewhere(script, bench.path, shelves) == {f"{expected}\n"}


TUNED = MINIMAL.replace("lr: 0.1", "lr: [0.1, 0.2]") + "tuning: {seeds: [8, 9]}\nmeasure: {every: 7}\n"


def test_an_arm_that_is_tuned_has_no_runs_until_it_is_selected(bench: Bench) -> None:
    spec = bench.load(TUNED.replace("task: valley", "task: [bowl, valley]"))
    assert {run.arm.name for run in plan(spec, device="cpu")} == {"fast"}
    chosen = {("bowl", "slow"): spec.searched[0].selected({"lr": 0.2})}
    runs = plan(spec, device="cpu", selected=chosen)
    assert [str(run) for run in runs if run.seed == 0] == [
        "bowl/slow/seed 0",
        "bowl/fast/seed 0",
        "valley/fast/seed 0",
    ]
    assert runs[0].arm.optimizer.options["lr"] == 0.2
    assert {run.trial_of for run in runs} == {""}


def test_a_trial_has_the_whole_budget_the_tuning_seeds_and_no_probes(bench: Bench) -> None:
    spec = bench.load(TUNED)
    made = trials(spec, spec.tasks[0], {"slow": [{"lr": 0.1}, {"lr": 0.4}]}, device="cpu")
    assert [[str(run) for run in runs] for runs in made["slow"]] == [
        ["valley/slow[lr=0.1]/seed 8", "valley/slow[lr=0.1]/seed 9"],
        ["valley/slow[lr=0.4]/seed 8", "valley/slow[lr=0.4]/seed 9"],
    ]
    for run in (run for runs in made["slow"] for run in runs):
        assert (run.budget, run.trial_of, run.measure.probes, run.measure.ghosts) == (spec.budget, "slow", (), ())
        assert run.measure.evaluate_every == spec.measure.evaluate_every


def test_what_is_probed_in_the_reported_runs_does_not_make_the_trials_anew(bench: Bench) -> None:
    def keys(text: str) -> list[str]:
        spec = bench.load(text)
        made = trials(spec, spec.tasks[0], {"slow": [{"lr": 0.1}]}, device="cpu")
        return [run.key for run in made["slow"][0]]

    assert keys(TUNED) == keys(TUNED.replace("{every: 7}", "{every: 9, probes: []}"))
    assert keys(TUNED) != keys(TUNED.replace("{steps: 100}", "{steps: 50}"))


def test_seeds_that_tuned_an_arm_cannot_be_reported(bench: Bench) -> None:
    with pytest.raises(ClipbenchError, match="tuned on seed 9, so it cannot be reported"):
        plan(replace(bench.load(TUNED), seeds=(7, 9)), device="cpu")


def test_trials_are_not_planned_for_a_device_that_is_not_known(bench: Bench) -> None:
    spec = bench.load(TUNED)
    with pytest.raises(ValueError, match="auto"):
        trials(spec, spec.tasks[0], {"slow": [{"lr": 0.1}]}, device="auto")
