"""Ghosts along a run: they see its gradients, leave no trace, and cost their own rows alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from making import SHARPNESS, make_run, outcome_of
from torch import nn

from clipbench import store
from clipbench.errors import ClipbenchError
from clipbench.measurements import Measurement
from clipbench.records import (
    OWN,
    UPDATE_NORM,
    UPDATE_ROUNDING,
    Arm,
    Choice,
    ClipSettings,
    Measure,
    Record,
    Run,
    Schedule,
)
from clipbench.running import ghosts, preparing
from clipbench.running.ghosts import Ghosts
from clipbench.running.worker import work

NOISY = Choice("noisy", "noisy", "faulty:noisy")
NORMS = Choice("norms", "norms", "clipbench.probes.norms:measure")
MEASURE = Measure(4, 5, (SHARPNESS, NORMS))


def arm(name: str, target: str, clip: ClipSettings | None = None, **options: Any) -> Arm:
    return Arm(name, Choice(target, target, target, options), clip)


ADAM = arm("adam", "torch.optim:Adam", lr=0.01)
ARMS = {
    "sgd": arm("a", "clipbench.optimizers.sgd:build", lr=0.01, momentum=0.9, dampening=0.9),
    "sgd with a clip": arm("a", "torch.optim:SGD", ClipSettings(0.3), lr=0.01, momentum=0.9),
    "the numerator clipped": arm("a", "torch.optim:Adam", ClipSettings(0.3, of="numerator"), lr=0.01),
    "the update clipped": arm("a", "torch.optim:AdamW", ClipSettings(0.3, of="update"), lr=0.01),
    "a fixed threshold": arm("a", "torch.optim:SGD", ClipSettings(threshold=0.01), lr=0.01),
    "adafactor": arm("a", "clipbench.optimizers.adafactor:build", lr=0.01),
    "lion": arm("a", "clipbench.optimizers.lion:build", lr=0.01),
    "sign": arm("a", "clipbench.optimizers.signsgd:build", lr=0.01),
    "normalized": arm("a", "clipbench.optimizers.normalized_sgd:build", lr=0.01),
    "a schedule": replace(arm("a", "torch.optim:Adam", lr=0.01), schedule=Schedule("cosine", warmup=0.2)),
}


def make(run: Run, results: Path, *, stop: Callable[[], bool] = lambda: False) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=stop)
    return store.read(folder)


def rows(record: Record, direction: str) -> list[tuple[int, str, float]]:
    return [(row.step, row.quantity, row.value) for row in record.measurements if row.direction == direction]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARMS)
def test_a_ghost_of_the_trained_arm_goes_its_way_bit_for_bit(tmp_path: Path, name: str) -> None:
    itself = replace(ARMS[name], name="itself")
    record = make(make_run(steps=21, task=NOISY, arm=ARMS[name], measure=replace(MEASURE, ghosts=(itself,))), tmp_path)
    own = rows(record, OWN)
    assert {step for step, _, _ in own} == {5, 10, 15, 20}
    assert [row for row in rows(record, "itself") if not row[1].startswith("clip")] == own


@pytest.mark.slow
def test_a_run_with_ghosts_ends_where_it_ends_without(tmp_path: Path) -> None:
    haunted = replace(MEASURE, ghosts=tuple(replace(each, name=name) for name, each in ARMS.items()))
    with_ghosts, without = (make(make_run(steps=17, task=NOISY, measure=m), tmp_path) for m in (haunted, MEASURE))
    assert with_ghosts.outcome is not None
    assert without.outcome is not None
    assert with_ghosts.outcome.failed_probes == {}
    assert with_ghosts.outcome.ledger["ghosts"] > 10 * without.outcome.ledger["ghosts"]
    assert with_ghosts.outcome.weights_sha256 == without.outcome.weights_sha256
    assert rows(with_ghosts, OWN) == rows(without, OWN)
    assert {row.direction for row in with_ghosts.measurements} == {"", OWN, *ARMS}


def test_a_ghosts_clip_is_recorded_under_its_name(tmp_path: Path) -> None:
    ghost = arm("clipped", "torch.optim:SGD", ClipSettings(0.25), lr=0.01)
    record = make(make_run(steps=6, measure=replace(MEASURE, ghosts=(ghost,))), tmp_path)
    assert (5, "clipped_fraction", 0.25) in rows(record, "clipped")
    assert not [row for row in rows(record, "") if row[1] == "clipped_fraction"]


def test_a_probe_is_told_the_rate_of_each_ghost(tmp_path: Path) -> None:
    rate = Choice("rates", "rates", f"{__name__}:rates")
    ghost = replace(ARMS["a schedule"], name="later", schedule=Schedule("linear"))
    measure = Measure(4, 5, (rate,), ghosts=(ghost,))
    measured = make(make_run(steps=10, measure=measure), tmp_path).measurements
    assert [(row.direction, row.value) for row in measured if row.quantity == "rate"] == [
        (OWN, 0.005),
        ("later", pytest.approx(0.01 * (1 - 5.5 / 10))),
    ]


def rates(snapshot: Any) -> Iterator[tuple[str, str, float]]:
    for name in snapshot.directions:
        yield name, "rate", snapshot.learning_rates[name]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [3, 8])
def test_an_interrupted_run_goes_on_with_its_ghosts_as_they_were(tmp_path: Path, stop_at: int) -> None:
    run = make_run(steps=17, task=NOISY, measure=replace(MEASURE, ghosts=(ADAM, replace(ARMS["lion"], name="lion"))))
    whole = make(run, tmp_path / "whole")
    calls = iter(range(100))
    stopped = make(run, tmp_path / "stopped", stop=lambda: next(calls) == stop_at)
    assert stopped.outcome is None
    resumed = make(run, tmp_path / "stopped")

    def values(record: Record) -> list[Measurement]:
        return [row._replace(seconds=0.0) for row in record.measurements]

    assert values(resumed) == values(whole)


class FailsLater(torch.optim.SGD):
    """Moves the weights and fails at its seventh step in a run; the check of life takes three."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        super().step(closure)
        state: Any = self.state  # torch says that its keys are tensors
        count = state.setdefault("count", {"n": 0})
        count["n"] += 1
        if count["n"] == 7:
            raise RuntimeError("seven is enough")


@pytest.mark.parametrize("stop_at", [None, 8])
def test_a_ghost_that_fails_costs_its_own_rows_and_is_named(
    tmp_path: Path, stop_at: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    ghost = Arm("weak", Choice("weak", "weak", f"{__name__}:FailsLater", {"lr": 0.01}))
    run = make_run(steps=17, measure=replace(MEASURE, ghosts=(ghost, ADAM)))
    calls = iter(range(100))
    if stop_at is not None:
        make(run, tmp_path, stop=lambda: next(calls) == stop_at)
    record = make(run, tmp_path)
    assert record.outcome is not None
    assert record.outcome.status == "finished"
    assert dict(record.outcome.failed_probes) == {"the ghost weak": "at step 6: RuntimeError: seven is enough"}
    assert {step for step, _, _ in rows(record, "weak")} == {5}
    assert {step for step, _, _ in rows(record, "adam")} == {5, 10, 15}
    assert "seven is enough" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("ghost", "reason"),
    [
        (arm("dead", "faulty:Unmoving", lr=0.1), "no parameter moved"),
        (arm("dead", "torch.optim:SGD", lr=-1.0), "Invalid learning rate"),
        (arm("dead", "torch.optim:LBFGS", lr=0.1), "needs a closure"),
    ],
)
def test_a_ghost_that_is_not_alive_is_named_and_the_run_goes_on(
    tmp_path: Path, ghost: Arm, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    record = make(make_run(steps=6, measure=replace(MEASURE, ghosts=(ghost, ADAM))), tmp_path)
    assert record.outcome is not None
    assert record.outcome.status == "finished"
    assert reason in record.outcome.failed_probes["the ghost dead"]
    assert rows(record, "adam")
    assert not rows(record, "dead")
    assert "Traceback" in capfd.readouterr().err


def with_gradients() -> nn.Module:
    model = nn.Linear(64, 64)
    model(torch.ones(64)).square().sum().backward()
    return model


def test_more_ghosts_than_memory_says_how_many_fit() -> None:
    """Adam holds two tensors of the model's size and its update is a third; the first state is there already."""
    adams = [replace(ADAM, name=f"adam {i}") for i in range(10)]
    model = with_gradients()
    size = sum(parameter.nbytes for parameter in model.parameters())
    crowd = Ghosts(adams, model, free=lambda _: 3 * 3 * size - 2 * size + 1000)
    with pytest.raises(ClipbenchError, match=r"3 of 10 ghosts fit in memory: each takes about 0\.0 MiB"):
        crowd.step(read=False)


def test_ghosts_that_fit_are_asked_once_and_step_on() -> None:
    asked: list[torch.device] = []

    def free(device: torch.device) -> int:
        asked.append(device)
        return 2**30

    both = Ghosts([ADAM, replace(ARMS["lion"], name="lion")], with_gradients(), free=free)
    both.step(read=False)
    assert set(both.step(read=True)) == {"adam", "lion"}
    assert len(asked) == 2


def room_in_the_host(device: torch.device) -> int:
    return 0 if device == torch.device("cpu") else 2**30


def test_states_that_would_fill_the_device_are_kept_in_the_hosts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model lies on the CPU and the host is told apart from it: what counts is that the states travel."""
    monkeypatch.setattr(ghosts, "HOST", torch.device("cpu", 0))  # not equal to torch.device("cpu")
    arms = [ADAM, replace(ARMS["the numerator clipped"], name="clipped")]
    model = with_gradients()
    roomy = Ghosts(arms, model, free=lambda _: 2**30)
    narrow = Ghosts(arms, model, free=room_in_the_host)
    for _ in range(3):
        expected, found = roomy.step(read=True), narrow.step(read=True)
        assert all(torch.equal(expected[n][p], found[n][p]) for n in expected for p in expected[n])
    assert narrow.offloaded
    assert not roomy.offloaded
    away = [ghost.away for ghost in narrow._ghosts.values()]
    assert all(len(each) >= 4 for each in away)  # two moments of two parameters


def test_the_next_forward_pass_and_a_probe_keep_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 sizes of the model are free, 74 of them until the next forward pass alone."""
    monkeypatch.setattr(ghosts, "HOST", torch.device("cpu", 0))
    arms = [replace(ADAM, name=f"adam {i}") for i in range(12)]
    model = with_gradients()
    size = sum(parameter.nbytes for parameter in model.parameters())

    def stepped(to_come: int) -> Ghosts:
        crowd = Ghosts(arms, model, free=lambda _: 80 * size, to_come=lambda _: to_come * size)
        for _ in range(2):
            crowd.step(read=True)
        return crowd

    assert not stepped(30).offloaded  # 12 ghosts of 3 sizes, and 6 for the probe
    # Of 80, 50 are for the forward pass and 6 for the probe: 24 are left, and the first state is there already.
    assert stepped(50).offloaded == {f"adam {i}" for i in range(8, 12)}
    assert stepped(74).offloaded == {each.name for each in arms}


def test_the_record_says_whether_ghosts_were_kept_in_the_hosts_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(steps=6, measure=replace(MEASURE, ghosts=(ADAM,)))
    roomy = make(run, tmp_path / "roomy")
    monkeypatch.setattr(ghosts, "HOST", torch.device("cpu", 0))
    monkeypatch.setattr(preparing, "Ghosts", partial(Ghosts, free=room_in_the_host))
    narrow = make(run, tmp_path / "narrow")
    assert roomy.outcome is not None
    assert narrow.outcome is not None
    assert "ghosts" not in roomy.outcome.remarks
    assert narrow.outcome.remarks["ghosts"] == (
        "states and updates are kept in the host's memory, as they would fill the device's",
    )
    assert rows(narrow, "adam") == rows(roomy, "adam")


def test_the_direction_of_a_small_step_is_read_in_float64_and_its_run_goes_on_as_before(tmp_path: Path) -> None:
    """A rate that moves weights by a hundredth of their spacing: the clipped ghost's direction is still the rule's."""
    run = make_run(
        arm=arm("sgd", "torch.optim:SGD", lr=0.005),
        measure=Measure(4, 5, probes=(NORMS,), ghosts=()),
    )
    small = replace(arm("small", "torch.optim:SGD", lr=1e-9), clip=ClipSettings(0.3), liveness="off")
    plain = make(run, tmp_path / "plain")
    haunted = make(replace(run, measure=replace(run.measure, ghosts=(small,))), tmp_path / "haunted")
    assert haunted.weights == plain.weights
    lengths = haunted.measurements.by_step("small", UPDATE_NORM)
    gradients = haunted.measurements.by_step("", "gradient_norm")
    for step, length in lengths.items():
        assert 0.1 * 1e-9 * gradients[step] < length < 1e-9 * gradients[step]  # clipped, and not rounded to nothing
    [remark] = outcome_of(haunted).remarks["the ghost small"]
    assert "its update is read in float64" in remark
    assert not haunted.measurements.series("small", UPDATE_ROUNDING)


def test_the_small_step_of_a_ghost_in_a_wrapper_is_read_in_float32_and_marked(tmp_path: Path) -> None:
    """What a wrapper keeps need not survive another dtype, so that its direction is left as rounded as it is."""
    around = Choice("lookahead", "lookahead", "clipbench.wrappers.lookahead:build", {"k": 100, "alpha": 0.5})
    small = replace(arm("small", "torch.optim:SGD", lr=1e-7), wrap=(around,), liveness="off")
    record = make(make_run(measure=Measure(4, 5, probes=(NORMS,), ghosts=(small,))), tmp_path)
    marks = record.measurements.by_step("small", UPDATE_ROUNDING)
    assert list(marks) == list(record.measurements.by_step("small", UPDATE_NORM)) == [5, 10]
    assert all(mark > 1e-4 for mark in marks.values())
    [remark] = outcome_of(record).remarks["the ghost small"]
    assert "its direction is rounded" in remark
