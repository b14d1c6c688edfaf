"""What probes see of a step along a run: each is measured once, and the weights are copied once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from making import make_run
from torch.utils._python_dispatch import TorchDispatchMode

from clipbench import store
from clipbench.contracts import Snapshot
from clipbench.geometry import shared
from clipbench.geometry.curvature import directional_curvature
from clipbench.records import Arm, Choice, Measure, Record, Run
from clipbench.running import train
from clipbench.running.training import Training
from clipbench.running.worker import work

NOISY = Choice("noisy", "noisy", "faulty:noisy")
ADAM = Arm("adam", Choice("adam", "adam", "torch.optim:Adam", {"lr": 0.01}))
CURVATURES = [Choice(name, name, f"clipbench.probes.{name}:measure") for name in ("sharpness", "taylor", "kinks")]


def make(run: Run, results: Path) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    return store.read(folder)


@pytest.mark.slow
def test_probes_of_a_run_share_one_measurement_and_say_what_each_says_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    original = directional_curvature

    def counting(*given: Any, **options: Any) -> Any:
        measured.append(len(given[2]))
        return original(*given, **options)

    monkeypatch.setattr(shared, "directional_curvature", counting)
    measure = Measure(4, 5, ghosts=(ADAM,))

    def rows(*probes: Choice) -> set[tuple[object, ...]]:
        record = make(make_run(steps=12, task=NOISY, measure=replace(measure, probes=probes)), tmp_path)
        assert record.outcome is not None
        assert set(record.outcome.remarks) == {probe.name for probe in probes}
        taken = {row for row in record.measurements if not row.quantity.startswith(("eval", "train", "learning"))}
        return {(row.step, row.direction, row.quantity, row.value) for row in taken}

    together = rows(*CURVATURES)
    assert measured == [4, 1] * 2  # at steps 5 and 10: the probe batches, and the mini-batch
    assert together == set.union(*(rows(probe) for probe in CURVATURES))


def seen(snapshot: Snapshot) -> Iterator[tuple[str, str, float]]:
    """What a snapshot holds, as numbers."""
    yield "", "gradient", sum(float(g.double().sum()) for g in snapshot.gradient.values())
    yield "", "weights", sum(float(p.detach().double().sum()) for p in snapshot.parameters.values())
    for name, update in snapshot.directions.items():
        yield name, "update", sum(float(u.double().sum()) for u in update.values())


class Copies(TorchDispatchMode):
    """Counts whole copies of one weight: of its shape, made by clone, or copied into memory made before."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape, self.made = weight.shape, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.clone.default and args[0].shape == self.shape:
            self.made += 1
        if func is torch.ops.aten._foreach_copy_.default:
            self.made += sum(tensor.shape == self.shape for tensor in args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("ghosts", "copies"), [((), 4), ((ADAM,), 6)])
def test_a_probed_step_copies_the_weights_once_before_it_and_once_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghosts: tuple[Arm, ...], copies: int
) -> None:
    """One of the gradient besides, and one for the probe, which may change them; and a ghost has both put back.

    At the first look it also steps in float64, and has both put back once more: whether that is needed is known then.
    """
    made: list[int] = []
    original = train._probed_step

    def watched(training: Training, *given: Any) -> float:
        with Copies(next(training.problem.model.parameters())) as counted:
            loss = original(training, *given)
        made.append(counted.made)
        return loss

    monkeypatch.setattr(train, "_probed_step", watched)
    probe = Choice("seen", "seen", f"{__name__}:seen")
    make(make_run(steps=12, task=NOISY, measure=Measure(4, 5, (probe,), ghosts=ghosts)), tmp_path)
    first, second = made
    assert second == copies
    assert first == copies + (3 if ghosts else 0)


def test_ghosts_change_nothing_of_what_a_snapshot_holds(tmp_path: Path) -> None:
    probe = Choice("seen", "seen", f"{__name__}:seen")
    arm = Arm("sgd", Choice("sgd", "sgd", "torch.optim:SGD", {"lr": 0.05}), None)
    without, among = (
        [
            (row.step, row.direction, row.quantity, row.value)
            for row in make(
                make_run(steps=12, task=NOISY, arm=arm, measure=Measure(4, 5, (probe,), ghosts=ghosts)), tmp_path
            ).measurements
            if row.quantity in ("gradient", "weights", "update") and row.direction != "adam"
        ]
        for ghosts in ((), (ADAM,))
    )
    assert len(without) == 6
    assert among == without


def twice(_: Snapshot) -> Iterator[tuple[str, str, float]]:
    yield "own", "odd", 1.0
    yield "own", "odd", 1.0


def of_the_loop(_: Snapshot) -> Iterator[tuple[str, str, float]]:
    yield "", "eval_loss", 1.0


def once(_: Snapshot) -> Iterator[tuple[str, str, float]]:
    yield "own", "odd", 2.0


def again(_: Snapshot) -> Iterator[tuple[str, str, float]]:
    yield "own", "odd", 3.0


def test_a_number_that_is_there_already_costs_its_probe_alone(tmp_path: Path) -> None:
    probes = tuple(
        Choice(each.__name__, each.__name__, f"{__name__}:{each.__name__}")
        for each in (twice, of_the_loop, once, again)
    )
    record = make(make_run(measure=Measure(5, 5, probes)), tmp_path)
    assert record.outcome is not None
    assert record.outcome.status == "finished"
    assert record.outcome.failed_probes == {
        "twice": "at step 5: ValueError: odd of own is recorded already at this step",
        "of_the_loop": "at step 5: ValueError: eval_loss is recorded already at this step",
        "again": "at step 5: ValueError: odd of own is recorded already at this step",
    }
    assert [row.value for row in record.measurements.series("own", "odd")] == [2.0, 2.0]
