"""A run that was interrupted ends where one that ran through ends, bit for bit, or its record says that it cannot."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from making import make_run

from clipbench import store
from clipbench.budget import Budget
from clipbench.records import RESUME, Arm, Choice, ClipSettings, Measure, Outcome, Record, Run, Schedule
from clipbench.running import preparing, worker
from clipbench.running.equipment import build_problem
from clipbench.running.worker import work

pytestmark = pytest.mark.slow  # runs are made, stopped and resumed

SGD = "torch.optim:SGD"


def described(task: str, optimizer: str, *, ghosts: tuple[Arm, ...] = (), **options: Any) -> Run:
    arm = Arm("arm", Choice("o", optimizer, optimizer, {"lr": 0.01}))
    return make_run(
        task=Choice("t", task, task, options), arm=arm, budget=Budget(20, "steps"), measure=Measure(5, 6, ghosts=ghosts)
    )


def carry_on(run: Run, results: Path, *, stop_at: int | None = None) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    calls = count()
    work(folder, device="cpu", side_by_side=1, stop=lambda: stop_at is not None and next(calls) >= stop_at)
    return store.read(folder)


def ended(record: Record) -> Outcome:
    assert record.outcome is not None
    assert record.outcome.status == "finished"
    return record.outcome


def numbers(record: Record) -> list[tuple[int, str, str, float]]:
    return [(row.step, row.direction, row.quantity, row.value) for row in record.measurements]


def through_and_resumed(run: Run, results: Path) -> tuple[Record, Record, bool]:
    """Both ends, and whether a checkpoint was there in between."""
    through = carry_on(run, results / "through")
    paused = carry_on(run, results / "resumed", stop_at=11)
    kept = (Path(paused.folder) / store.CHECKPOINT).exists()
    return through, carry_on(run, results / "resumed"), kept


COMES_BACK = [
    *(("forgetful:task", SGD, {"model": model}) for model in ("Buffered", "Counting", "Remembering", "Noisy")),
    ("forgetful:task", SGD, {"model": "GloballyNoisy"}),
    *(("faulty:noisy", f"forgetful:{name}", {}) for name in ("HalfMomentum", "DoubleMomentum", "Counter", "Drawing")),
    ("faulty:noisy", "forgetful:Averaging", {}),
    ("faulty:noisy", "torch.optim:Adam", {}),
]
IS_LOST = [
    ("forgetful:task", SGD, {"model": "Boxed"}, "weights"),
    ("forgetful:streaming", SGD, {}, "weights"),
    ("faulty:noisy", "forgetful:HiddenMomentum", {}, "weights"),
    ("faulty:noisy", "forgetful:LateClock", {}, "attributes in the optimizer"),
    ("faulty:noisy", "forgetful:MeanAside", {}, "weights by optimizer.eval()"),
]


@pytest.mark.parametrize(("task", "optimizer", "options"), COMES_BACK)
def test_state_that_no_state_dict_holds_comes_back(
    tmp_path: Path, task: str, optimizer: str, options: dict[str, Any]
) -> None:
    through, resumed, kept = through_and_resumed(described(task, optimizer, **options), tmp_path)
    assert kept
    assert ended(resumed).weights_sha256 == ended(through).weights_sha256
    assert numbers(resumed) == numbers(through)
    assert RESUME not in ended(resumed).remarks
    assert (ended(resumed).resumed_at, ended(through).resumed_at) == ((11,), ())
    assert ended(resumed).fingerprints == ended(through).fingerprints


@pytest.mark.parametrize(("task", "optimizer", "options", "what"), IS_LOST)
def test_what_does_not_come_back_starts_again_and_the_record_says_so(
    tmp_path: Path, task: str, optimizer: str, options: dict[str, Any], what: str
) -> None:
    through, resumed, kept = through_and_resumed(described(task, optimizer, **options), tmp_path)
    assert not kept
    assert ended(resumed).weights_sha256 == ended(through).weights_sha256
    assert numbers(resumed) == numbers(through)
    assert ended(resumed).resumed_at == ()
    [said] = ended(resumed).remarks[RESUME]
    assert said.startswith("interrupted, it starts again from step 0: from a checkpoint its next step gives other ")
    assert said.endswith(what)


def test_a_count_that_a_class_has_for_all_of_its_objects_is_not_trusted(tmp_path: Path) -> None:
    paused = carry_on(described("faulty:noisy", "forgetful:ClassCount"), tmp_path, stop_at=11)
    assert not (Path(paused.folder) / store.CHECKPOINT).exists()


@pytest.mark.parametrize(("optimizer", "kind"), [("Projecting", "Projector"), ("Delayed", "deque")])
def test_state_that_torch_does_not_read_back_is_named_in_a_sentence(tmp_path: Path, optimizer: str, kind: str) -> None:
    run = described("faulty:noisy", f"forgetful:{optimizer}")
    assert ended(carry_on(run, tmp_path)).remarks[RESUME] == (
        f"interrupted, it starts again from step 0: a {kind} in its state cannot be read back without running code",
    )


def test_an_optimizer_inside_that_has_not_stepped_yet_is_not_trusted(tmp_path: Path) -> None:
    through, resumed, kept = through_and_resumed(described("faulty:noisy", "forgetful:InnerOptimizer"), tmp_path)
    assert not kept
    assert ended(resumed).weights_sha256 == ended(through).weights_sha256
    assert ended(resumed).remarks[RESUME] == (
        "interrupted, it starts again from step 0: it holds an optimizer that has not stepped yet",
    )


@pytest.mark.parametrize("stop_at", [5, 11])
def test_batches_that_depend_on_what_was_drawn_before_are_noticed(tmp_path: Path, stop_at: int) -> None:
    run = described("forgetful:shuffling", SGD)
    through = carry_on(run, tmp_path / "through")
    carry_on(run, tmp_path / "resumed", stop_at=stop_at)
    resumed = carry_on(run, tmp_path / "resumed")
    assert ended(resumed).weights_sha256 == ended(through).weights_sha256
    assert numbers(resumed) == numbers(through)


@pytest.mark.parametrize("ghost", ["forgetful:HalfMomentum", "forgetful:Counter", "forgetful:HiddenMomentum"])
def test_a_ghosts_state_comes_back_or_the_run_starts_again(tmp_path: Path, ghost: str) -> None:
    ghosts = (Arm("ghost", Choice("g", ghost, ghost, {"lr": 0.02}), ClipSettings(0.3), Schedule("cosine")),)
    norms = Choice("norms", "norms", "clipbench.probes.norms:measure")
    run = described("faulty:noisy", SGD, ghosts=ghosts)
    run = replace(run, measure=replace(run.measure, probes=(norms,)))
    through, resumed, kept = through_and_resumed(run, tmp_path)
    assert numbers(resumed) == numbers(through)
    assert any(direction == "ghost" for _, direction, _, _ in numbers(through))
    assert kept == (ghost != "forgetful:HiddenMomentum")


def test_where_a_plain_repeat_differs_the_checkpoint_serves_and_the_record_says_how_far(tmp_path: Path) -> None:
    run = described("forgetful:jittering", SGD)
    paused = carry_on(run, tmp_path, stop_at=11)
    assert (Path(paused.folder) / store.CHECKPOINT).exists()
    [said] = ended(carry_on(run, tmp_path)).remarks[RESUME]
    assert said == "not bit for bit if interrupted, nor is a plain repeat on this machine"


def test_loss_of_state_does_not_hide_behind_rounding_that_differs(tmp_path: Path) -> None:
    """A repeat that differs in its last digits allows for those, and not for a momentum that is gone."""
    run = described("forgetful:jittering", "forgetful:HiddenMomentum")
    assert "starts again" in ended(carry_on(run, tmp_path)).remarks[RESUME][0]


@pytest.mark.parametrize(("optimizer", "kept"), [("torch.optim:Adam", True), ("forgetful:HiddenMomentum", False)])
def test_parts_that_are_slow_to_build_are_proved_at_the_first_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, kept: bool
) -> None:
    """Without a checkpoint until the step that follows the first; and the proof leaves no trace in the run."""
    run = described("forgetful:task", optimizer, model="GloballyNoisy")
    through = ended(carry_on(run, tmp_path / "quick to build"))
    monkeypatch.setattr(preparing, "SLOW_TO_BUILD", -1.0)
    early = carry_on(run, tmp_path / "early", stop_at=3)
    assert not (Path(early.folder) / store.CHECKPOINT).exists()
    monkeypatch.setattr(worker, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(worker, "CHECKPOINT_SHARE", 0.0)
    paused = carry_on(run, tmp_path / "later", stop_at=6)
    assert (Path(paused.folder) / store.CHECKPOINT).exists() == kept
    for results in ("early", "later"):
        again = ended(carry_on(run, tmp_path / results))
        assert again.weights_sha256 == through.weights_sha256
        assert (RESUME in again.remarks) != kept


def test_without_a_checkpoint_parts_that_are_slow_to_build_are_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Mock(wraps=build_problem)
    monkeypatch.setattr(preparing, "build_problem", build)
    run = described("faulty:noisy", SGD)
    carry_on(run, tmp_path / "quick")
    assert build.call_count == 3  # to be tried, to read a checkpoint, to be trained
    monkeypatch.setattr(preparing, "SLOW_TO_BUILD", -1.0)
    carry_on(run, tmp_path / "slow")
    assert build.call_count == 4


def _another_key(saved: dict[str, Any]) -> None:
    saved["key"] = "0" * 12


def _a_billion_steps(saved: dict[str, Any]) -> None:
    saved["content"]["state"]["spent"]["steps"] = 10**9


def _another_shape(saved: dict[str, Any]) -> None:
    saved["content"]["model"] = {name: torch.zeros(2, 2) for name in saved["content"]["model"]}


def _no_optimizer(saved: dict[str, Any]) -> None:
    del saved["content"]["optimizer"]


def _more_rows_than_there_are(saved: dict[str, Any]) -> None:
    saved["recorded"] += 1000


def _no_rows(saved: dict[str, Any]) -> None:
    saved["recorded"] = 0


def _a_text_for_a_number(saved: dict[str, Any]) -> None:
    saved["content"]["state"]["loss_sum"] = "much"


def _steps_below_zero(saved: dict[str, Any]) -> None:
    saved["content"]["state"]["resumed_at"] = [-3]


def _more_samples_than_anything_counts(saved: dict[str, Any]) -> None:
    saved["content"]["state"]["spent"]["samples"] = 10**30


MISFITS = [
    _steps_below_zero,
    _more_samples_than_anything_counts,
    _another_key,
    _a_billion_steps,
    _another_shape,
    _no_optimizer,
    _more_rows_than_there_are,
    _no_rows,
    _a_text_for_a_number,
]


@pytest.mark.parametrize("spoil", MISFITS)
def test_a_checkpoint_that_does_not_fit_means_a_start_from_step_zero(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], capfd: pytest.CaptureFixture[str]
) -> None:
    run = described("faulty:noisy", "torch.optim:Adam")
    through = carry_on(run, tmp_path / "through")
    path = Path(carry_on(run, tmp_path / "spoilt", stop_at=11).folder) / store.CHECKPOINT
    saved = torch.load(path, weights_only=True)
    spoil(saved)
    torch.save(saved, path)
    again = carry_on(run, tmp_path / "spoilt")
    assert "the run starts again from step 0" in capfd.readouterr().out
    assert ended(again).weights_sha256 == ended(through).weights_sha256
    assert numbers(again) == numbers(through)


@pytest.mark.parametrize("end", [b";", b"7", b"8"])
def test_measurements_that_were_changed_since_the_checkpoint_are_taken_again(tmp_path: Path, end: bytes) -> None:
    """A row that is none would end the run with results that nobody can read; another number would pass for its own."""
    run = described("faulty:noisy", "torch.optim:Adam")
    through = carry_on(run, tmp_path / "through")
    path = Path(carry_on(run, tmp_path / "changed", stop_at=11).folder) / store.MEASUREMENTS
    heading, row, *rows = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([heading, row[:-1] + end, *rows, b""]))
    again = carry_on(run, tmp_path / "changed")
    assert numbers(again) == numbers(through)
    assert ended(again).weights_sha256 == ended(through).weights_sha256


class Trap:
    """Code that a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def test_a_checkpoint_is_read_without_running_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = described("faulty:noisy", SGD)
    path = Path(carry_on(run, tmp_path / "here", stop_at=11).folder) / store.CHECKPOINT
    torch.save({**torch.load(path, weights_only=True), "ledger": Trap()}, path)
    ended(carry_on(run, tmp_path / "here"))
    assert not Path("sprung").exists()


def test_a_run_that_goes_on_under_another_numerical_set_up_says_so(tmp_path: Path) -> None:
    run = described("faulty:noisy", SGD)
    path = Path(carry_on(run, tmp_path, stop_at=11).folder) / store.CHECKPOINT
    torch.save({**torch.load(path, weights_only=True), "numerics": "another"}, path)
    assert ended(carry_on(run, tmp_path)).remarks[RESUME] == ("went on at step 11 under another numerical set-up",)
