"""Metrics and the loss of a slice of training data: recorded beside the evaluation loss, at the same weights."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_run, outcome_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import clipbench
from clipbench import store
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Choice, Measure, Record, Run
from clipbench.running import metrics
from clipbench.running.equipment import build_problem
from clipbench.running.evaluation import evaluate
from clipbench.running.worker import work

CPU = torch.device("cpu")
DRAWN = torch.Generator().manual_seed(0)
X = torch.randn(61, 3, generator=DRAWN)
Y = (X[:, 0] + 0.3 * torch.randn(61, generator=DRAWN) > 0.6).long()  # the class 1 is the rare one
SLICE = 2  # batches


def accuracy(model: nn.Module, batch: Any) -> tuple[Tensor, int]:
    right = model(batch[0]).argmax(1) == batch[1]
    return right.sum(), len(right)


def loss_of_the_rare(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    rare = batch[1] == 1
    return cross_entropy(model(batch[0])[rare], batch[1][rare], reduction="sum"), rare.sum()


def meddling(model: nn.Module, batch: Any) -> tuple[float, int]:
    """It draws, trains, writes into the weights, and leaves gradients."""
    random.random(), np.random.rand(), torch.rand(3)
    model.train()
    with torch.enable_grad():
        model(batch[0]).sum().backward()
    for parameter in model.parameters():
        parameter.detach().add_(1.0)
    return 1.0, 2


def raising(model: nn.Module, batch: Any) -> tuple[float, int]:  # noqa: ARG001
    raise ValueError("no class\nhas it")


def of_finite(model: nn.Module, batch: Any) -> tuple[Tensor, int]:
    """What scikit-learn's metrics do with a NaN."""
    if not model(batch[0]).isfinite().all():
        raise ValueError("input contains NaN")
    return accuracy(model, batch)


def slow(model: nn.Module, batch: Any) -> tuple[float, int]:  # noqa: ARG001
    time.sleep(0.01)
    return 1.0, 1


METRICS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "none": {},
    "both": {"accuracy": accuracy, "rare": loss_of_the_rare},
    "meddling": {"meddling": meddling},
    "raising": {"accuracy": accuracy, "raising": raising},
    "of finite": {"of finite": of_finite},
    "slow": {"slow": slow},
    "nan": {"nan": lambda *_: (float("nan"), 1), "inf": lambda *_: (torch.tensor(float("inf")), 1)},
    "weightless": {"weightless": lambda *_: (1.0, 0)},
    "single": {"single": lambda *_: torch.tensor([1.0, 2.0])},
    "texts": {"texts": lambda *_: ("a", "b")},
}


def measured(seed: int, device: torch.device, of: str = "both", train_slice: int = SLICE) -> Problem:
    return clipbench.problem(
        seed,
        device,
        model=lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2)),
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
        train=lambda: TensorDataset(X[:20], Y[:20]),
        test=lambda: TensorDataset(X[20:], Y[20:]),  # 41: the last batch has one
        batch_size=5,
        metrics=METRICS[of],
        train_slice=train_slice,
    )


def described(optimizer: str = "torch.optim:SGD", steps: int = 8, every: int = 4, **options: Any) -> Run:
    task = Choice("t", "t", f"{__name__}:measured", options)
    arm = Arm("arm", Choice("o", optimizer, optimizer, {"lr": 0.1}))
    return make_run(task=task, arm=arm, steps=steps, measure=Measure(every, 50))


def make(run: Run, results: Path, *, stop_at: int | None = None) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    calls = count()
    work(folder, device="cpu", side_by_side=1, stop=lambda: stop_at is not None and next(calls) >= stop_at)
    return store.read(folder)


def values(record: Record, quantity: str) -> dict[int, float]:
    return {row.step: row.value for row in record.measurements if row.quantity == quantity}


def test_metrics_are_sums_over_weights_of_all_evaluation_batches(tmp_path: Path) -> None:
    """By hand, over all examples at once; a mean over batches would be another number."""
    record = make(described(), tmp_path)
    problem = measured(0, CPU)
    problem.model.eval()
    with torch.no_grad():
        logits = problem.model(X[20:])
        right = (logits.argmax(1) == Y[20:]).float()
        rare = cross_entropy(logits, Y[20:], reduction="none")[Y[20:] == 1]
        per_batch = [part.mean() for part in right.split(5)]
    assert values(record, "accuracy")[0] == pytest.approx(right.mean().item())
    assert values(record, "accuracy")[0] != pytest.approx(sum(per_batch).item() / len(per_batch))
    assert values(record, "rare")[0] == pytest.approx(rare.mean().item())
    assert list(values(record, "accuracy")) == list(values(record, "eval_loss")) == [0, 4, 8]
    assert {row.direction for row in record.measurements if row.quantity in ("accuracy", "rare")} == {""}


def test_metrics_and_the_slice_follow_the_weights(tmp_path: Path) -> None:
    of_two_states = make(described("forgetful:Averaging", steps=6, every=3), tmp_path)
    for quantity in ("accuracy", "rare", "train_slice_loss"):
        assert len(set(values(of_two_states, quantity).values())) > 1
    # With a rate of 0 the weights stay, and so does all that is read of them.
    still = described(steps=6, every=3)
    still = replace(still, arm=Arm("arm", Choice("o", "x", "torch.optim:SGD", {"lr": 1e-30}), liveness="off"))
    for quantity in ("accuracy", "rare", "train_slice_loss", "eval_loss"):
        assert len(set(values(make(still, tmp_path / "still"), quantity).values())) == 1


def test_of_two_states_metrics_are_read_at_the_weights_of_the_evaluation_loss(tmp_path: Path) -> None:
    """A metric that is the loss has its value, and not that at the training point."""
    run = described("forgetful:Averaging", steps=6, every=3)
    run = replace(run, task=Choice("t", "t", f"{__name__}:of_its_loss"))
    record = make(run, tmp_path)
    for step in (3, 6):
        assert values(record, "as a metric")[step] == pytest.approx(values(record, "eval_loss")[step], rel=1e-6)
    apart = values(record, "eval_loss")[6] / values(record, "eval_loss_at_training_point")[6]
    assert abs(apart - 1) > 1e-4


def of_its_loss(seed: int, device: torch.device) -> Problem:
    problem = measured(seed, device)
    return replace(
        problem,
        metrics={"as a metric": lambda model, batch: (problem.loss(model, batch) * batch.weight, batch.weight)},
    )


def test_the_slice_is_of_training_examples_the_same_for_every_seed_and_read_in_evaluation_mode(tmp_path: Path) -> None:
    problem = measured(3, CPU)
    rows = torch.cat([batch["0"] for batch in problem.train_slice])
    assert rows.shape == (SLICE * 5, 3)
    assert {tuple(row) for row in rows.tolist()} <= {tuple(row) for row in X[:20].tolist()}
    assert torch.equal(rows, torch.cat([batch["0"] for batch in measured(4, CPU).train_slice]))
    problem.model.eval()
    targets = torch.cat([batch["1"] for batch in problem.train_slice])
    with torch.no_grad():
        expected = cross_entropy(problem.model(rows), targets).item()
    run = replace(described(), seed=3)
    assert values(make(run, tmp_path), "train_slice_loss")[0] == pytest.approx(expected, rel=1e-6)
    assert not values(make(described(train_slice=0), tmp_path / "none"), "train_slice_loss")


@pytest.mark.parametrize("of", ["both", "meddling", "nan"])
def test_a_run_with_metrics_is_bit_for_bit_the_run_without(tmp_path: Path, of: str) -> None:
    with_metrics = make(described(of=of), tmp_path / "with")
    without = make(described(of="none", train_slice=0), tmp_path / "without")
    assert outcome_of(with_metrics).weights_sha256 == outcome_of(without).weights_sha256
    for quantity in ("eval_loss", "train_loss"):
        assert values(with_metrics, quantity) == values(without, quantity)


def test_a_metric_that_is_no_finite_number_is_recorded_as_it_is(tmp_path: Path) -> None:
    record = make(described(of="nan"), tmp_path)
    assert outcome_of(record).status == "finished"
    assert all(np.isnan(value) for value in values(record, "nan").values())
    assert set(values(record, "inf").values()) == {float("inf")}


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ("raising", "the metric 'raising' raised ValueError: no class has it"),
        ("weightless", "the metric 'weightless' has a weight of 0 over all evaluation batches"),
        ("single", "the metric 'single' returned a Tensor, not a pair of numbers"),
        ("texts", "the metric 'texts' returned a tuple, not a pair of numbers"),
    ],
)
def test_a_metric_that_is_none_fails_the_run_in_a_sentence_that_names_it(tmp_path: Path, of: str, reason: str) -> None:
    outcome = outcome_of(make(described(of=of), tmp_path))
    assert outcome.status == "failed"
    assert outcome.reason == reason


def test_a_diverged_run_is_not_failed_by_a_metric_that_takes_no_nan(tmp_path: Path) -> None:
    run = described(of="of finite", every=1)
    run = replace(run, arm=Arm("arm", Choice("o", "x", "torch.optim:SGD", {"lr": 1e30})))
    outcome = outcome_of(make(run, tmp_path))
    assert outcome.status == "diverged"


def test_metrics_are_off_the_clock_in_the_row_of_the_evaluation(tmp_path: Path) -> None:
    outcome = outcome_of(make(described(of="slow"), tmp_path))
    slept = 3 * 9 * 0.01  # evaluations, batches
    assert outcome.ledger["evaluation"] > slept
    assert outcome.train_seconds < slept


def test_an_interrupted_run_has_the_metrics_of_one_that_ran_through(tmp_path: Path) -> None:
    run = described(steps=20, every=5)
    through = make(run, tmp_path / "through")
    paused = make(run, tmp_path / "resumed", stop_at=11)
    assert (Path(paused.folder) / store.CHECKPOINT).exists()
    resumed = make(run, tmp_path / "resumed")
    numbers = [[(row.step, row.quantity, row.value) for row in each.measurements] for each in (through, resumed)]
    assert numbers[0] == numbers[1]
    assert len(values(resumed, "accuracy")) == 5
    assert outcome_of(resumed).weights_sha256 == outcome_of(through).weights_sha256


def test_a_probe_that_takes_the_name_of_a_metric_fails_alone(tmp_path: Path) -> None:
    probe = Choice("named", "named", f"{__name__}:named")
    run = replace(described(), measure=Measure(4, 4, (probe,)))
    outcome = outcome_of(make(run, tmp_path))
    assert outcome.status == "finished"
    assert "accuracy is recorded already at this step" in outcome.failed_probes["named"]


def named(snapshot: Any) -> list[tuple[str, str, float]]:  # noqa: ARG001
    return [("", "accuracy", 1.0)]


def test_no_metric_sees_what_another_leaves() -> None:
    problem = measured(0, CPU)
    alone = metrics.readings(problem)
    together = metrics.readings(replace(problem, metrics={"meddling": meddling_of_batch, **problem.metrics}))
    assert together == {"meddling": 1.0, **alone}


def meddling_of_batch(model: nn.Module, batch: Batch) -> tuple[float, int]:
    meddling(model, [batch["0"]])
    return 1.0, 1


def wrong(seed: int, device: torch.device, number: int) -> Problem:
    return replace(measured(seed, device), metrics=WRONG[number][0])  # type: ignore[arg-type]


NAMED = "clipbench has a quantity of this name"
WRONG: list[tuple[object, str]] = [
    ({"": accuracy}, "a metric called '': a name is text that can be printed, without blanks around it"),
    ({"a\nb": accuracy}, "a metric called 'a\\nb': a name is text that can be printed"),
    ({" a": accuracy}, "a metric called ' a': a name is text"),
    ({3: accuracy}, "a metric called 3: a name is text"),
    ({"accuracy@5": accuracy}, "a metric called 'accuracy@5': what follows an @ is a direction"),
    *(
        ({name: accuracy}, f"a metric called '{name}': {NAMED}")
        for name in ("eval_loss", "final_loss", "steps", "slope", "weights", "train_slice_loss", "cosine")
    ),
    ({"accuracy": 0.5}, "a float for its metric 'accuracy'"),
    ([accuracy], "a list for its metrics\n  give a dict of functions by name"),
]


@pytest.mark.parametrize("number", range(len(WRONG)), ids=lambda number: WRONG[number][1])
def test_metrics_that_cannot_be_recorded_are_refused_before_the_run(number: int) -> None:
    target = f"{__name__}:wrong"
    with pytest.raises(ClipbenchError) as caught:
        build_problem(make_run(task=Choice("wrong", target, target, {"number": number})), CPU)
    assert f"the task '{target}' built a problem with {WRONG[number][1]}" in str(caught.value)
    assert "\n  give " in str(caught.value)


def test_a_slice_that_is_no_list_of_batches_is_refused() -> None:
    target = f"{__name__}:with_slice"
    for given, said in (([X], "a Tensor in its train_slice"), ([Batch({}, samples=0)], "a train_slice without a term")):
        SLICES[:] = given
        with pytest.raises(ClipbenchError, match=said):
            build_problem(make_run(task=Choice("s", target, target)), CPU)


SLICES: list[Any] = []


def with_slice(seed: int, device: torch.device) -> Problem:
    return replace(measured(seed, device), train_slice=SLICES)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metrics": [accuracy]}, "metrics: `metrics` is a list"),
        ({"metrics": {"accuracy": 1}}, "metrics: the metric 'accuracy' is a int, not a function"),
        ({"train_slice": 5}, "train_slice: train_slice=5 asks for 25 examples, and train() has 20"),
    ],
)
def test_the_helper_says_what_it_cannot_use(changed: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "model": lambda: nn.Linear(3, 2),
        "loss": lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
        "train": lambda: TensorDataset(X[:20], Y[:20]),
        "test": lambda: TensorDataset(X[20:], Y[20:]),
        "batch_size": 5,
    }
    with pytest.raises(ClipbenchError) as caught:
        clipbench.problem(0, CPU, **{**given, **changed})
    assert str(caught.value).startswith(said)
    assert "\n  " in str(caught.value)


def test_the_loss_has_the_bits_that_it_has_without_metrics() -> None:
    problem = measured(0, CPU)
    metrics.readings(problem)
    assert evaluate(problem) == evaluate(measured(0, CPU, "none"))
