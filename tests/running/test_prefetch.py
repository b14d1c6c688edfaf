"""Batches that a thread draws while a step runs: when it draws, what is raised where, and that no number changes."""

import threading
import traceback
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest
import torch
from making import make_run, outcome_of
from running.working import made
from torch import Tensor, nn

from clipbench.budget import Ledger
from clipbench.contracts import Batch, Problem
from clipbench.records import Choice, Record
from clipbench.running import prefetch, preparing
from clipbench.running.prefetch import AHEAD, Pin, drawing, pin_for, pinned, prefetched

CPU = torch.device("cpu")
NOISY = Choice("noisy", "noisy", f"{__name__}:noisy")
FAILING = Choice("failing", "failing", f"{__name__}:noisy", {"fails_at": 7})


def batch_of(number: int) -> Batch:
    return Batch({"x": torch.randn(4, 8, generator=torch.Generator().manual_seed(number))}, 4)


def numbers(batches: Iterator[Batch], much: int) -> list[int]:
    return [int(batch["number"]) for batch in islice(batches, much)]


def noisy(seed: int, device: torch.device, *, fails_at: int | None = None) -> Problem:
    """A model that draws from the global generator at every step, and batches that do not."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 1)).to(device)

    def batches(start: int) -> Iterator[Batch]:
        for number in count(start):
            if number == fails_at:
                raise OSError(f"example {number} cannot be read")
            yield batch_of(number)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        value: Tensor = model(batch["x"]).square().mean()
        return value

    held = [batch_of(-number) for number in range(1, 9)]
    return Problem(model, loss, batches, held, held)


class Watched:
    """Batches without end, and by which thread each was drawn; `begun` and `held` let a test stop the thread in one."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.begun, self.held = threading.Event(), threading.Event()
        self.held.set()

    def __iter__(self) -> Iterator[Batch]:
        for number in count():
            self.threads.append(threading.get_ident())
            self.begun.set()
            self.held.wait()
            yield Batch({"number": torch.tensor(number)}, 1)


def wait_for(condition: object, seconds: float = 5.0) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if callable(condition) and condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run draws its batches ahead, as on a GPU."""
    monkeypatch.setattr(preparing, "pin_for", lambda *_: lambda batch: batch)


def numbers_of(record: Record) -> tuple[str, list[tuple[int, str, str, float]]]:
    return outcome_of(record).weights_sha256, [
        (row.step, row.direction, row.quantity, row.value) for row in record.measurements
    ]


def test_two_batches_are_drawn_while_a_step_runs_and_none_at_other_times() -> None:
    watched = Watched()
    with prefetched(iter(watched), lambda batch: batch, Ledger()) as batches:
        assert numbers(batches, 1) == [0]
        assert watched.threads == [threading.get_ident()]
        with drawing(batches):
            wait_for(lambda: len(watched.threads) == 1 + AHEAD)
        assert numbers(batches, 4) == [1, 2, 3, 4]
    mine = [each == threading.get_ident() for each in watched.threads]
    assert mine == [True, *[False] * AHEAD, True, True]


def test_after_a_step_the_draw_under_way_is_waited_for_as_data_and_no_other_begins() -> None:
    watched, ledger = Watched(), Ledger()
    with prefetched(iter(watched), lambda batch: batch, ledger) as batches:
        next(batches)
        watched.begun.clear()
        watched.held.clear()
        with drawing(batches):
            assert watched.begun.wait(5)
            threading.Timer(0.2, watched.held.set).start()
        assert len(watched.threads) == 2
        assert ledger.close()["data"] > 0.1
        assert numbers(batches, 2) == [1, 2]


def test_without_a_pin_nothing_is_drawn_ahead() -> None:
    watched = Watched()
    given = iter(watched)
    with prefetched(given, None, Ledger()) as batches:
        assert batches is given
        with drawing(batches):
            assert numbers(batches, 2) == [0, 1]
    assert set(watched.threads) == {threading.get_ident()}


def test_what_is_drawn_either_way_is_pinned() -> None:
    seen: list[int] = []

    def pin(batch: Batch) -> Batch:
        seen.append(int(batch["number"]))
        return batch

    with prefetched(iter(Watched()), pin, Ledger()) as batches:
        next(batches)
        with drawing(batches):
            wait_for(lambda: len(seen) == 1 + AHEAD)
    assert seen == [0, 1, 2]


def test_pinning_takes_dense_tensors_and_leaves_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = Batch({"x": torch.zeros(2), "sparse": torch.eye(2).to_sparse()}, 2, 6, torch.tensor([2, 4]))
    found = pinned(batch)
    assert found["x"].tolist() == [1, 1]
    assert found["sparse"] is batch["sparse"]
    assert found.terms is batch.terms
    assert (found.samples, found.tokens) == (2, 6)


@pytest.mark.parametrize(
    ("device", "target", "says_so", "expected"),
    [
        ("cuda", "clipbench.tasks.code_lm:build", False, pinned),
        ("cuda", "mine:build", False, None),  # it may put the global generators back beside a step that draws
        ("cuda", "mine:build", True, pinned),
        ("cpu", "clipbench.tasks.code_lm:build", True, None),
    ],
)
def test_batches_are_drawn_ahead_on_a_gpu_and_of_tasks_known_to_be_safe(
    device: str, target: str, says_so: bool, expected: Pin | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "device_of", lambda _: torch.device(device))
    problem = Problem(nn.Linear(1, 1), lambda *_: torch.zeros(()), lambda _: iter([]), [], [], prefetch=says_so)
    assert pin_for(problem, Choice("mine", "mine", target)) is expected


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [None, 6])
def test_no_number_changes_and_an_interrupted_run_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int | None
) -> None:
    run = make_run(task=NOISY)
    plain = made(run, tmp_path / "plain")
    drawn: list[str] = []

    def pin(batch: Batch) -> Batch:
        drawn.append(threading.current_thread().name)
        return batch

    monkeypatch.setattr(preparing, "pin_for", lambda *_: pin)
    before = threading.active_count()
    record = made(run, tmp_path / "ahead", stop_at=stop_at)
    if stop_at is not None:
        assert record.status == "unfinished"
        record = made(run, tmp_path / "ahead")
    assert threading.active_count() == before
    assert any(name.startswith("prefetch") for name in drawn)
    assert numbers_of(record) == numbers_of(plain)
    assert outcome_of(record).fingerprints == outcome_of(plain).fingerprints


@pytest.mark.slow
@pytest.mark.usefixtures("ahead")
def test_what_drawing_raises_fails_the_run_at_that_batch_and_the_thread_ends(tmp_path: Path) -> None:
    before = threading.active_count()
    outcome = outcome_of(made(make_run(task=FAILING), tmp_path))
    assert (outcome.status, outcome.steps) == ("failed", 7)
    assert "example 7 cannot be read" in outcome.reason
    assert threading.active_count() == before


def test_what_drawing_raises_in_the_thread_keeps_its_traceback() -> None:
    batches = noisy(0, CPU, fails_at=1).train_batches(0)
    with prefetched(batches, lambda batch: batch, Ledger()) as drawn:
        next(drawn)
        with drawing(drawn):
            wait_for(lambda: getattr(batches, "gi_frame", None) is None)
        with pytest.raises(OSError, match="example 1") as raised:
            next(drawn)
    assert [each.name for each in traceback.extract_tb(raised.value.__traceback__)][-1] == "batches"
