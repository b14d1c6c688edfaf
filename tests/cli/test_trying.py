"""`run` and `validate --build` try every arm first: a fault is said at once, once, and costs its own runs alone."""

import json
from pathlib import Path

import pytest
from cli.front import Ask, asking
from console import records

from clipbench import spec, store
from clipbench.planning.runs import plan

pytestmark = pytest.mark.slow  # arms are tried and run in processes of their own

SPEC = """\
# Which of these can take a step?
task: {use: quadratic, dimension: 8}
optimizers:
  sgd: {use: sgd, lr: 0.005}
  negative: {use: sgd, lr: -0.1}
  fast: {use: sgd, lr: 0.1, momentum: 2}
budget: {steps: 10}
seeds: [0, 1]
measure: {every: 5, probes: [norms]}
device: cpu
"""
OWN = """\
import os
from pathlib import Path
import torch

class Exiting(torch.optim.SGD):
    def step(self):
        super().step()
        if not Path("mended").exists():
            os._exit(7)

def nothing(snapshot):
    raise ValueError("nothing to see")
"""
WITH_OWN = SPEC.replace("[norms]", '[norms, {use: "own_steps:nothing"}]').replace(
    "budget:", '  exiting: {use: "own_steps:Exiting", lr: 0.1}\nbudget:'
)
MENDED = SPEC.replace("-0.1", "0.1").replace("momentum: 2", "momentum: 0.2")
TASKS = """\
import clipbench
from clipbench.tasks.quadratic import build
from torch.utils.data import DataLoader

def copied(seed, device):
    return build(0, device, dimension=8)

def loader(seed, device):
    from torch.nn import Linear
    data = DataLoader([1, 2, 3])
    return clipbench.problem(
        seed, device, model=lambda: Linear(1, 1), loss=None, train=data, test=data, batch_size=1
    )

def pair(seed, device):
    return 1, 2

def metered(seed, device):
    from dataclasses import replace
    return replace(build(seed, device, dimension=8), metrics={"size": lambda model, _: (model.x.norm(), 1)})
"""
REASONS = {
    "negative": "ValueError: lr must be a number above 0, not -0.1",
    "fast": "ValueError: momentum must be at least 0 and below 1, not 2.0",
    "exiting": "the worker ended with exit code 7",
}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    Path("steps.yaml").write_text(SPEC)
    Path("own_steps.py").write_text(OWN)
    return asking(monkeypatch, capsys)


@pytest.fixture
def ask_only(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """A run that would be made is a failure of the test."""
    monkeypatch.setattr("clipbench.cli.campaign.supervise", lambda *_, **__: pytest.fail("something was run"))
    return ask


def outcomes() -> dict[str, tuple[str, str]]:
    found = records(Path("results")).items()
    return {name: (record.outcome.status, record.outcome.reason) for name, record in found if record.outcome}


def test_what_fails_is_said_once_and_recorded_and_the_rest_is_run(ask: Ask) -> None:
    Path("steps.yaml").write_text(WITH_OWN)
    answer = ask("run", "steps.yaml")
    assert answer.code == 4
    lines = answer.err.splitlines()
    assert lines[0] == "trying 4 arms on quadratic"
    first_run = lines.index("2 runs: 0 reused, 2 to make")
    for arm, reason in REASONS.items():
        [number] = [number for number, line in enumerate(lines) if reason in line]
        assert lines[number] == f"quadratic/{arm}: {reason} (2 runs count as failed)"
        assert number < first_run
    [probe] = [line for line in lines[:first_run] if "nothing to see" in line]
    assert probe.startswith("the probe nothing fails on quadratic: at step 1: ValueError: nothing to see")
    assert "6 runs failed; why: clipbench show results/steps/quadratic/negative/0-" in lines[-1]
    assert outcomes() == {
        **{f"quadratic/sgd/seed {seed}": ("finished", "") for seed in (0, 1)},
        **{f"quadratic/{arm}/seed {seed}": ("failed", reason) for arm, reason in REASONS.items() for seed in (0, 1)},
    }
    assert "raise ValueError" in ask("show", lines[-1].split()[-1]).out
    folder = next(Path("results/steps/quadratic/sgd").iterdir())
    before = (folder / "run.json").read_bytes()
    Path("mended").touch()  # and the first rate as well
    again = ask("run", "steps.yaml", "--set", "optimizers.negative.lr=0.1")
    assert again.code == 4
    assert again.err.splitlines()[0] == "trying 3 arms on quadratic"
    assert "6 runs: 2 reused, 4 to make" in again.err
    assert again.err.count(REASONS["fast"]) == 1
    assert (folder / "run.json").read_bytes() == before
    ended = outcomes()
    assert [ended[f"quadratic/{arm}/seed 1"][0] for arm in ("negative", "fast", "exiting")] == [
        "finished",
        "failed",
        "finished",
    ]


GROUPED = """\
# Which parameters does each group take?
task: {use: heavy_tail, groups: 3, features: 6}
optimizers:
  sgd: {use: sgd, lr: 0.05}
  mixed: {groups: {matrices: {kind: matrix, use: sgd, momentum: 0.9, lr: 0.05}, rest: {use: adam, lr: 0.01}}}
budget: {steps: 4}
seeds: [0]
measure: {every: 2, probes: [norms]}
device: cpu
"""


def test_trying_shows_what_each_group_takes_and_refuses_a_group_that_takes_nothing(ask: Ask) -> None:
    Path("steps.yaml").write_text(GROUPED)
    valid = ask("validate", "steps.yaml", "--build")
    assert valid.code == 0
    assert [line.split()[1:3] for line in valid.out.splitlines() if "1 parameter:" in line] == [
        ["mixed", "matrices"],
        ["mixed", "rest"],
    ]
    misnamed = ("--set", "optimizers.mixed.groups.matrices.names=[layers.*]")
    refused = ask("validate", "steps.yaml", "--build", *misnamed)
    assert refused.code == 2
    assert "the group 'matrices' (matrix, layers.*) takes no parameter; there are" in refused.err
    lost = ask("validate", "steps.yaml", "--build", "--set", "optimizers.mixed.groups.rest.kind=embedding")
    assert "takes no parameter" in lost.err
    assert ask("run", "steps.yaml", *misnamed).code == 4
    assert outcomes()["heavy_tail/mixed/seed 0"][0] == "failed"
    assert "1 parameter:" not in ask("plan", "steps.yaml").out
    assert ask("run", "steps.yaml").code == 0
    assert "1 parameter:" in ask("plan", "steps.yaml").out


def test_a_plan_says_what_costly_probes_cost(ask: Ask) -> None:
    costly = ("--set", "measure.probes=[sharpness, {use: layers, limit: none}]")
    assert "probe layers, at each probed step: a curvature for each layer" in ask("plan", "steps.yaml", *costly).err
    assert "at each probed step" not in ask("plan", "steps.yaml").err


def test_a_plan_tries_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipbench.cli.trying.tried", lambda *_, **__: pytest.fail("something was tried"))
    assert ask("plan", "steps.yaml").code == 0
    assert ask("run", "steps.yaml", "--dry-run").code == 0
    assert ask("validate", "steps.yaml").code == 0


def test_where_every_arm_fails_nothing_is_run(ask_only: Ask) -> None:
    answer = ask_only("run", "steps.yaml", "--filter", "[nf]*")
    assert answer.code == 2
    assert answer.err.count(REASONS["negative"]) == answer.err.count(REASONS["fast"]) == 1
    assert answer.err.endswith("\n  nothing was run\n")
    told = [line.partition("error: steps: ")[2] for line in answer.err.splitlines() if "error: " in line]
    assert told == [f"quadratic/{arm}: {REASONS[arm]}" for arm in ("negative", "fast")]  # a line for each fault
    assert not list(Path("results").rglob("run.json"))


def test_where_a_task_cannot_be_built_nothing_is_run_not_even_of_another_spec(ask_only: Ask) -> None:
    heads = "{use: code_lm, width: 16, heads: 3, layers: 1, context: 16, batch: 4}"
    Path("heads.yaml").write_text(SPEC.replace("{use: quadratic, dimension: 8}", heads))
    answer = ask_only("run", "steps.yaml", "heads.yaml", "--filter", "sgd")
    assert answer.code == 2
    assert "error: heads: code_lm cannot be built: " in answer.err
    assert "heads" in answer.err
    assert not list(Path("results").rglob("run.json"))


def test_of_a_tuned_arm_a_trial_that_cannot_step_is_a_failed_trial(ask: Ask) -> None:
    tuned = SPEC.replace("{use: sgd, lr: 0.005}", "{use: sgd, lr: [0.001, 0.002, 0.004]}")
    tuned = tuned.replace("lr: -0.1", "lr: [-0.1, 0.002, 0.004]").replace(
        "seeds: [0, 1]", "seeds: [0]\ntuning: {seeds: [9]}"
    )
    Path("steps.yaml").write_text(tuned)
    answer = ask("run", "steps.yaml", "--filter", "[sn]*", "--format", "jsonl")
    assert answer.code == 4
    events = [json.loads(line) for line in answer.out.splitlines()]
    assert events[0] | {"seconds": 0} == {
        "event": "tried",
        "task": "quadratic",
        "arms": ["sgd[lr=0.001]", "sgd[lr=0.004]", "negative[lr=-0.1]", "negative[lr=0.004]"],
        "failed": {"negative[lr=-0.1]": REASONS["negative"]},
        "failed_probes": {},
        "reason": "",
        "seconds": 0,
    }
    ended = {event["arm"]: event["outcome"]["status"] for event in events if event["event"] == "finished"}
    assert ended.pop("negative[lr=-0.1]") == "failed"
    assert set(ended.values()) == {"finished"}
    assert {"sgd", "negative", "negative[lr=0.002]"} < ended.keys()
    assert "negative on quadratic: selected lr=0.004 from 3 trials" in answer.err


def test_a_run_with_a_checkpoint_has_taken_its_steps_and_is_not_failed_by_a_trial(ask_only: Ask) -> None:
    loaded = spec.load("steps.yaml")
    run = next(run for run in plan(loaded, device="cpu") if run.arm.name == "negative")
    folder = store.folder_of(run, Path("results"))
    store.describe(run, folder)
    (folder / store.CHECKPOINT).write_bytes(b"paid for")
    with pytest.raises(pytest.fail.Exception, match="something was run"):
        ask_only("run", "steps.yaml", "--filter", "negative", "--seeds", "0")
    assert (folder / store.CHECKPOINT).read_bytes() == b"paid for"


def test_validate_builds_if_it_is_asked_to(ask: Ask) -> None:
    Path("steps.yaml").write_text(WITH_OWN)
    answer = ask("validate", "steps.yaml", "--build")
    assert answer.code == 2
    assert answer.out == ""
    for arm, reason in REASONS.items():
        assert answer.err.count(f"steps.yaml: quadratic/{arm}: {reason}") == 1
    assert "steps.yaml: the probe nothing fails on quadratic: at step 1: ValueError: nothing to see" in answer.err
    assert not Path("results").exists()
    Path("steps.yaml").write_text(MENDED)
    answer = ask("validate", "steps.yaml", "--build")
    assert (answer.code, answer.out) == (0, "steps.yaml: valid: 3 arms × 1 task × 2 seeds\n")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("copied", "copied breaks its contract: the seed changes nothing: seeds 0 and 1 have the same weights and"),
        (
            "loader",
            "loader cannot be built: `train` is a DataLoader, whose batches follow no seed; ",
        ),
        (
            "pair",
            "pair cannot be built: the task 'own_steps:pair' built a tuple, not a ",
        ),
    ],
)
def test_validate_proves_the_contract_of_a_task(ask_only: Ask, task: str, message: str) -> None:
    Path("own_steps.py").write_text(TASKS)
    Path("steps.yaml").write_text(MENDED.replace("{use: quadratic, dimension: 8}", f'{{use: "own_steps:{task}"}}'))
    answer = ask_only("validate", "steps.yaml", "--build")
    assert (answer.code, answer.out) == (2, "")
    [line] = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: steps.yaml: {message}")


METERED = MENDED.replace("{use: quadratic, dimension: 8}", '{use: "own_steps:metered"}').replace("[0, 1]", "[0]")
LACKS = "no evaluation on metered records siz, and"
THERE = "did you mean 'size'? the task's metrics: size"


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("target: {quantity: siz, at_most: 1}", "the target is of it"),
        ("tuning: {seeds: [9], select: {quantity: siz, better: lower}}", "trials are selected by it"),
    ],
)
def test_a_quantity_that_no_evaluation_records_is_a_fault_before_anything_runs(
    ask_only: Ask, section: str, why: str
) -> None:
    Path("own_steps.py").write_text(TASKS)
    Path("steps.yaml").write_text(f"{METERED.replace('lr: 0.005', 'lr: [0.005, 0.01]')}{section}\n")
    answer = ask_only("validate", "steps.yaml", "--build")
    assert answer.code == 2
    assert f"error: steps.yaml: {LACKS} {why}; {THERE}" in answer.err
    Path("steps.yaml").write_text(
        f"{METERED.replace('lr: 0.005', 'lr: [0.005, 0.01]')}{section.replace('siz', 'size')}\n"
    )
    assert ask_only("validate", "steps.yaml", "--build").code == 0


def test_runs_are_made_without_their_target_and_not_without_what_selects_them(ask: Ask) -> None:
    Path("own_steps.py").write_text(TASKS)
    Path("steps.yaml").write_text(f"{METERED}target: {{quantity: siz, at_most: 1}}\n")
    answer = ask("run", "steps.yaml")
    assert answer.code == 0
    assert f"{LACKS} the target is of it; {THERE}" in answer.err
    assert "No evaluation on metered records siz" in ask("compare", "results", "--full").out
    select = "tuning: {seeds: [9], select: {quantity: siz, better: lower}}"
    Path("tuned.yaml").write_text(f"{METERED.replace('lr: 0.005', 'lr: [0.005, 0.01]')}{select}\n")
    answer = ask("run", "tuned.yaml")
    assert answer.code == 2
    assert f"error: tuned: {LACKS} trials are selected by it; {THERE}\n  nothing was run" in answer.err
    assert not Path("results/tuned/metered").exists()
