"""One run in this process, from its description to its record."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from making import SHARPNESS, make_run, outcome_of

from clipbench import store
from clipbench.budget import LEDGER_ROWS, Budget, Unit
from clipbench.errors import STOPPED
from clipbench.records import Arm, Choice, ClipSettings, Measure, Record, Run, Schedule
from clipbench.running import checkpoint, train, worker
from clipbench.running.training import Training
from clipbench.running.worker import work
from clipbench.spec import catalogue

pytestmark = pytest.mark.slow  # runs are made

NOISY = Choice("noisy", "noisy", "faulty:noisy")
NO_PROBES = Measure(4, 5)
PROBES = [f"clipbench.probes.{name}:measure" for name in catalogue.names("probes")] + ["faulty:meddling_probe"]


def make(run: Run, results: Path, *, stop: Callable[[], bool] = lambda: False) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=stop)
    return store.read(folder)


def arm(target: str, **options: Any) -> Arm:
    return Arm("an arm", Choice(target, target, target, options))


def values(record: Record, quantity: str) -> dict[int, float]:
    return {row.step: row.value for row in record.measurements if row.quantity == quantity}


def test_a_run_is_recorded_from_its_start_to_its_end(tmp_path: Path) -> None:
    record = make(make_run(steps=12), tmp_path)
    assert outcome_of(record).status == "finished"
    assert (outcome_of(record).steps, outcome_of(record).samples, outcome_of(record).tokens) == (12, 12, 0)
    losses = values(record, "eval_loss")
    assert list(losses) == [0, 4, 8, 12]
    assert losses[12] < losses[0]
    assert list(values(record, "train_loss")) == [4, 8, 12]
    assert list(values(record, "directional_sharpness")) == [5, 10]
    assert outcome_of(record).effective["momentum"] == 0.9
    assert record.environment is not None
    assert record.environment.threads == 1
    assert not (Path(record.folder) / store.LOG).exists()


def test_a_run_records_when_it_began_and_what_it_held(tmp_path: Path) -> None:
    before = time.time()
    outcome = outcome_of(make(make_run(steps=2), tmp_path))
    assert before <= outcome.started <= time.time()
    assert outcome.state_bytes == 16 * 4  # the momentum of sixteen coordinates
    assert outcome.peak_bytes is not None
    assert 2**24 < outcome.peak_bytes < 2**40  # torch alone is more than 16 MiB
    assert outcome.step_flops is not None


def test_the_train_loss_is_the_mean_of_the_mini_batches_since_the_last_evaluation(tmp_path: Path) -> None:
    """By hand: with one curvature in all directions, the loss falls by the same factor at each step."""
    task = Choice("quadratic", "quadratic", "clipbench.tasks.quadratic:build", {"dimension": 2, "condition": 1.0})
    record = make(make_run(steps=4, task=task, arm=arm("torch.optim:SGD", lr=0.1), measure=NO_PROBES), tmp_path)
    first, last = (values(record, "eval_loss")[step] for step in (0, 4))
    losses = [first * (last / first) ** (step / 4) for step in range(4)]
    assert values(record, "train_loss")[4] == pytest.approx(sum(losses) / 4, rel=1e-5)


@pytest.mark.parametrize(("unit", "amount", "steps"), [("steps", 7, 7), ("samples", 64, 4), ("seconds", 0.05, None)])
def test_a_budget_ends_the_run_in_its_own_unit(tmp_path: Path, unit: Unit, amount: float, steps: int | None) -> None:
    run = make_run(task=NOISY, budget=Budget(amount, unit), measure=NO_PROBES)
    outcome = outcome_of(make(run, tmp_path))
    assert outcome.steps == steps if steps else outcome.train_seconds >= amount
    if unit == "seconds":  # the step that crosses the line is the last
        assert outcome.train_seconds < amount + 0.5
    assert outcome.steps == outcome.samples / 16


def test_the_ledger_adds_up_to_the_wall_time_within_one_percent(tmp_path: Path) -> None:
    outcome = outcome_of(make(make_run(steps=300, task=NOISY), tmp_path))
    assert set(outcome.ledger) == set(LEDGER_ROWS)
    assert sum(outcome.ledger.values()) == pytest.approx(outcome.wall_seconds, rel=0.01)
    # The stopwatch and the ledger time the steps independently; the probed steps' looks are off both. A busy machine
    # may take the processor away between the readings of the two.
    assert outcome.train_seconds == pytest.approx(outcome.ledger["train"], rel=0.05, abs=0.03)
    assert all(outcome.ledger[row] > 0 for row in LEDGER_ROWS if row not in ("ghosts", "compile"))  # there are none


@pytest.mark.parametrize("probes", [[probe] for probe in PROBES] + [PROBES], ids=lambda probes: "+".join(probes))
def test_the_curve_with_and_without_probes_is_bit_identical(tmp_path: Path, probes: list[str]) -> None:
    """Pitfall 2, and more: dropout, batch norm, gradients and the random state are as if nobody had looked."""
    clipped = Arm("clipped", make_run().arm.optimizer, ClipSettings(0.1))
    run = make_run(steps=23, task=NOISY, arm=clipped)
    chosen = tuple(Choice(probe, probe, probe) for probe in probes)
    looked = make(replace(run, measure=Measure(4, 3, chosen)), tmp_path)
    assert not outcome_of(looked).failed_probes
    alone = make(replace(run, measure=Measure(4, 3)), tmp_path)
    assert outcome_of(looked).weights_sha256 == outcome_of(alone).weights_sha256
    assert values(looked, "eval_loss") == values(alone, "eval_loss")
    assert values(looked, "train_loss") == values(alone, "train_loss")
    assert len(looked.measurements) > len(alone.measurements)


def test_another_evaluation_cadence_leaves_the_weights_alone(tmp_path: Path) -> None:
    hashes = {
        outcome_of(make(make_run(steps=20, task=NOISY, measure=Measure(every, 50)), tmp_path)).weights_sha256
        for every in (1, 7, 20)
    }
    assert len(hashes) == 1


def test_the_same_seed_gives_the_same_weights_and_another_seed_gives_others(tmp_path: Path) -> None:
    """Pitfall 18: the user's seed is the one that is used."""
    runs = [make_run(task=NOISY, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (make(run, tmp_path / str(i)) for i, run in enumerate(runs))
    assert outcome_of(first).weights_sha256 == outcome_of(again).weights_sha256 != outcome_of(other).weights_sha256
    assert values(first, "eval_loss") == values(again, "eval_loss")
    assert values(first, "eval_loss")[0] != values(other, "eval_loss")[0]


@pytest.mark.parametrize("stop_at", [1, 4, 5, 10, 17])
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path: Path, stop_at: int) -> None:
    clipped = Arm("clipped", Choice("a", "a", "torch.optim:AdamW", {"lr": 0.01}), ClipSettings(0.1))
    run = make_run(steps=20, task=NOISY, arm=replace(clipped, schedule=Schedule("cosine", warmup=0.2)))
    whole = make(run, tmp_path / "whole")
    calls = iter(range(100))
    paused = make(run, tmp_path / "paused", stop=lambda: next(calls) == stop_at)
    assert paused.outcome is None
    assert (Path(paused.folder) / store.CHECKPOINT).exists()
    resumed = make(run, tmp_path / "paused")
    assert outcome_of(resumed).weights_sha256 == outcome_of(whole).weights_sha256
    assert [(row.step, row.quantity, row.value) for row in resumed.measurements] == [
        (row.step, row.quantity, row.value) for row in whole.measurements
    ]
    assert not (Path(resumed.folder) / store.CHECKPOINT).exists()
    assert outcome_of(resumed).wall_seconds > outcome_of(resumed).train_seconds
    assert sum(outcome_of(resumed).ledger.values()) == pytest.approx(outcome_of(resumed).wall_seconds, rel=0.05)


@pytest.mark.parametrize("asked_at", [0, 2, 6])
def test_a_run_that_is_given_up_while_its_steps_are_tried_stays_unfinished(tmp_path: Path, asked_at: int) -> None:
    """In the check of life, and in the proof of a checkpoint; it starts again from step 0."""
    run, folder = make_run(task=NOISY), store.folder_of(make_run(task=NOISY), tmp_path / "given up")
    store.describe(run, folder)
    give_up = Mock(side_effect=[call == asked_at for call in range(100)])  # looking puts back what is no mock
    assert work(folder, device="cpu", side_by_side=1, stop=lambda: False, give_up=give_up) == STOPPED
    assert give_up.call_count == asked_at + 1  # nothing was tried after that
    last = store.read_heartbeat(folder)
    assert last is not None
    assert last["stopping"]
    assert store.read_outcome(folder) is None
    assert not (folder / store.CHECKPOINT).exists()
    assert outcome_of(make(run, tmp_path / "given up")).weights_sha256 == outcome_of(make(run, tmp_path)).weights_sha256


def test_a_failure_of_a_run_that_is_to_stop_is_no_result(tmp_path: Path) -> None:
    """The signal that stops it ends its data loaders, too, and then its next batch fails."""
    run = make_run(task=Choice("t", "t", "faulty:noisy"), arm=arm("faulty:Raising", lr=0.005))
    run = replace(run, arm=replace(run.arm, liveness="off"))
    folder = store.folder_of(run, tmp_path)
    store.describe(run, folder)
    asked = iter([False] * 4)  # the four steps of the proof
    assert work(folder, device="cpu", side_by_side=1, stop=lambda: False, give_up=lambda: next(asked, True)) == STOPPED
    last = store.read_heartbeat(folder)
    assert last is not None
    assert last["stopping"]
    assert store.read_outcome(folder) is None


@pytest.mark.parametrize(
    ("unit", "options", "reason"),
    [
        ("tokens", {}, "the budget is in tokens and the task counts none: use samples or steps"),
        ("tokens", {"tokens": 0}, "the budget is in tokens and the task counts 0 in its first batch: use steps"),
        ("samples", {"samples": 0}, "the budget is in samples and the task counts 0 in its first batch: use steps"),
        ("samples", {"samples": -1}, "the budget is in samples and the task counts -1 in its first batch: use steps"),
    ],
)
def test_a_budget_that_the_first_batch_does_not_count_is_refused_before_any_step(
    tmp_path: Path, unit: str, options: dict[str, int], reason: str
) -> None:
    task = Choice("countless", "countless", "faulty:countless", options)
    outcome = outcome_of(make(make_run(task=task, budget=Budget(100, unit)), tmp_path))  # type: ignore[arg-type]
    assert (outcome.status, outcome.reason) == ("failed", reason)
    assert outcome.ledger["life"] == outcome.ledger["proof"] == 0


@pytest.mark.parametrize(("unit", "options"), [("tokens", {}), ("tokens", {"tokens": -1}), ("samples", {"samples": 0})])
def test_a_budget_that_is_not_spent_any_more_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, options: dict[str, int]
) -> None:
    monkeypatch.setattr(train, "MOST_IDLE", 50)
    task = Choice("countless", "countless", "faulty:countless", {**options, "until": 10})
    outcome = outcome_of(make(make_run(task=task, budget=Budget(100, unit), measure=Measure(50, 50)), tmp_path))  # type: ignore[arg-type]
    assert outcome.status == "failed"
    assert outcome.reason == f"the last 50 steps spent nothing of the budget of 100 {unit}"


def test_a_budget_may_rest_for_some_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "MOST_IDLE", 2)
    task = Choice("resting", "resting", "faulty:resting")
    assert outcome_of(make(make_run(task=task, budget=Budget(10, "tokens")), tmp_path)).status == "finished"


def test_a_damaged_checkpoint_means_a_start_from_step_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(steps=20, task=NOISY)
    calls = iter(range(100))
    paused = make(run, tmp_path, stop=lambda: next(calls) == 9)
    path = Path(paused.folder) / store.CHECKPOINT
    path.write_bytes(path.read_bytes()[:200])
    again = make(run, tmp_path)
    assert "starts again from step 0" in capsys.readouterr().out
    assert outcome_of(again).weights_sha256 == outcome_of(make(run, tmp_path / "whole")).weights_sha256
    assert list(values(again, "eval_loss")) == [0, 4, 8, 12, 16, 20]


def test_a_checkpoint_is_written_as_time_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Mock(wraps=checkpoint.save)
    monkeypatch.setattr(worker, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(worker, "CHECKPOINT_SHARE", 0.0)
    monkeypatch.setattr(checkpoint, "save", save)
    record = make(make_run(steps=5), tmp_path)
    assert save.call_count == 6
    assert outcome_of(record).weights_sha256 == outcome_of(make(make_run(steps=5), tmp_path / "plain")).weights_sha256


def test_an_end_above_the_start_is_recorded_as_a_fact_for_its_reader_to_judge(tmp_path: Path) -> None:
    record = make(make_run(steps=5, arm=arm("torch.optim:SGD", lr=0.5)), tmp_path)
    losses = values(record, "eval_loss")
    outcome = outcome_of(record)
    assert (outcome.status, outcome.reason, outcome.non_finite_step) == ("finished", "", None)
    change = outcome.change
    assert change is not None
    assert (change.first, change.last) == (losses[0], losses[5])
    assert losses[0] < losses[5] < math.inf
    assert math.isnan(change.error)  # of one evaluation batch there is none
    assert not store.missing([record.run], tmp_path)  # a result, not something to try again


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tmp_path: Path) -> None:
    record = make(make_run(steps=50, task=Choice("lost", "lost", "faulty:lost_in_space")), tmp_path)
    outcome = outcome_of(record)
    assert (outcome.status, outcome.steps, outcome.non_finite_step) == ("diverged", 7, 6)
    assert outcome.reason == "the loss was nan at step 6"


def test_an_explosion_to_infinity_is_divergence(tmp_path: Path) -> None:
    record = make(make_run(steps=300, arm=arm("torch.optim:SGD", lr=10.0)), tmp_path)
    assert outcome_of(record).status == "diverged"
    assert outcome_of(record).steps < 300


def test_a_spike_that_recovers_is_not_divergence(tmp_path: Path) -> None:
    record = make(make_run(steps=12, arm=arm("faulty:Spiking", lr=0.005), measure=Measure(1, 50)), tmp_path)
    losses = values(record, "eval_loss")
    assert max(losses.values()) > 1e6 * losses[0]
    assert outcome_of(record).status == "finished"


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (make_run(arm=arm("faulty:Raising", lr=0.005)), "RuntimeError: the fifth step is too far"),
        (make_run(arm=arm("faulty:not_an_optimizer", lr=0.005)), "built a int, not a torch.optim.Optimizer"),
        (make_run(arm=arm("faulty:Unmoving", lr=0.1)), "no parameter moved"),
        (make_run(task=Choice("t", "t", "faulty:not_there")), "AttributeError"),
        (make_run(arm=arm("torch.optim:SGD", lr=-1.0)), "Invalid learning rate"),
    ],
)
def test_a_failure_is_the_runs_own_row_with_its_reason(
    tmp_path: Path, run: Run, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    record = make(run, tmp_path)
    assert outcome_of(record).status == "failed"
    assert reason in outcome_of(record).reason
    assert "Traceback" in capfd.readouterr().err
    assert store.missing([run], tmp_path) == [run]


def test_a_probe_that_fails_costs_its_own_rows_and_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    probes = (Choice("odd", "odd", "faulty:failing_probe"), SHARPNESS)
    record = make(make_run(steps=17, measure=Measure(4, 5, probes)), tmp_path)
    assert outcome_of(record).status == "finished"
    assert dict(outcome_of(record).failed_probes) == {"odd": "at step 10: ValueError: nothing to see at step 10"}
    assert list(values(record, "probed")) == [5, 15]
    assert list(values(record, "directional_sharpness")) == [5, 10, 15]
    assert "nothing to see" in capfd.readouterr().err


def test_what_a_probe_says_of_itself_is_kept_once(tmp_path: Path) -> None:
    record = make(
        make_run(steps=17, measure=Measure(4, 5, (Choice("eye", "eye", "faulty:remarking_probe"),))), tmp_path
    )
    assert dict(outcome_of(record).remarks) == {"eye": ("by eye", "twice")}
    assert values(record, "rate") == dict.fromkeys([5, 10, 15], 0.005)


def test_probes_look_at_the_steps_that_complete_the_given_fractions_of_the_budget(tmp_path: Path) -> None:
    """At 40 steps, 5 % is complete after the second, 26 % in the course of the eleventh and all after the last."""
    measure = Measure(4, 50, (SHARPNESS,), probe_at=(0.05, 0.26, 1.0))
    record = make(make_run(steps=40, measure=measure), tmp_path)
    assert list(values(record, "directional_sharpness")) == [1, 10, 39]


def test_the_first_step_is_not_looked_at_but_the_one_after_it_is(tmp_path: Path) -> None:
    measure = Measure(4, 50, (SHARPNESS,), probe_at=(0.001, 0.002, 0.5))
    assert list(values(make(make_run(steps=20, measure=measure), tmp_path), "directional_sharpness")) == [1, 9]


def test_fractions_of_a_budget_in_samples_are_completed_by_samples(tmp_path: Path) -> None:
    measure = Measure(4, 50, (SHARPNESS,), probe_at=(0.5,))
    made = make_run(budget=Budget(30, "samples"), measure=measure)
    assert list(values(make(made, tmp_path), "directional_sharpness")) == [14]


def test_parameters_move_in_every_timed_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pitfall 13, under the schedule with the smallest rates: neither the first nor the last step is a no-op."""
    moved = []
    original = train.take_step

    def watched(training: Training, *args: Any, **named: Any) -> float:
        before = training.problem.model.get_parameter("x").detach().clone()
        loss = original(training, *args, **named)
        moved.append(not torch.equal(before, training.problem.model.get_parameter("x")))
        return loss

    monkeypatch.setattr(train, "take_step", watched)
    decaying = replace(make_run().arm, schedule=Schedule("linear", warmup=0.5))
    make(make_run(steps=10, arm=decaying), tmp_path)
    assert moved == [True] * 10


def test_the_schedule_completes_and_is_recorded(tmp_path: Path) -> None:
    decaying = replace(make_run().arm, schedule=Schedule("linear"))
    record = make(make_run(steps=10, arm=decaying, measure=Measure(1, 50)), tmp_path)
    rates = values(record, "learning_rate")
    # Recorded at step s is the rate of the step before it: read in that step's middle, 1 − (s − ½)/10.
    assert [rates[step] for step in range(1, 11)] == pytest.approx([0.005 * (1 - (s - 0.5) / 10) for s in range(1, 11)])


def test_the_clipped_fraction_is_measured_and_not_echoed(tmp_path: Path) -> None:
    clipped = replace(make_run().arm, clip=ClipSettings(0.3))
    record = make(make_run(steps=12, arm=clipped), tmp_path)
    assert values(record, "clipped_fraction") == {5: 4 / 16, 10: 4 / 16}  # int(16 · 0.3) = 4 coordinates


@pytest.mark.parametrize(
    ("clip", "fraction"),
    [
        (ClipSettings(threshold=1e-6), 1.0),
        (ClipSettings(threshold=1e6), 0.0),
        (ClipSettings(norm=1e-6), 1.0),
        (ClipSettings(norm=1e6), 0.0),
    ],
)
def test_what_a_fixed_limit_clipped_is_recorded_as_it_was_found(
    tmp_path: Path, clip: ClipSettings, fraction: float
) -> None:
    record = make(make_run(steps=12, arm=replace(make_run().arm, clip=clip)), tmp_path)
    assert values(record, "clipped_fraction") == {5: fraction, 10: fraction}
    assert values(record, "clip_threshold") == {5: clip.amount, 10: clip.amount}
    assert record.run.arm.clip == clip
