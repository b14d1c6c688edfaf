"""A task that breaks a promise is told so in one sentence with its mend, and one that keeps them is not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
import torch
from making import make_run
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import clipbench
from clipbench.contracts import Batch, Metric, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import Choice
from clipbench.running import contract
from clipbench.running.contract import broken
from clipbench.running.equipment import build_problem
from clipbench.running.trial import sources

CPU = torch.device("cpu")
X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def sound(seed: int) -> Problem:
    return clipbench.problem(
        seed,
        CPU,
        model=lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)),
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
        train=lambda: TensorDataset(X[:32], Y[:32]),
        test=lambda: TensorDataset(X[32:], Y[32:]),
        batch_size=8,
    )


def with_loss(loss: Callable[[nn.Module, Batch], Any]) -> Callable[[int], Problem]:
    return lambda seed: replace(sound(seed), loss=loss)


def with_batches(batches: Callable[[int, int], Any]) -> Callable[[int], Problem]:
    return lambda seed: replace(sound(seed), train_batches=lambda start: batches(seed, start))


def with_metric(metric: Metric) -> Callable[[int], Problem]:
    return lambda seed: replace(sound(seed), metrics={"mine": metric})


def points(*numbers: int) -> Batch:
    chosen = torch.tensor(numbers, dtype=torch.long) % 32
    return Batch({"0": X[chosen], "1": Y[chosen]}, samples=len(numbers))


def globally(seed: int, start: int) -> Iterator[Batch]:  # noqa: ARG001
    while True:
        yield points(*torch.randint(32, (8,)).tolist())


def from_one_stream(seed: int) -> Problem:
    """The classic: a generator that goes on, whatever step a run starts at."""
    generator = torch.Generator().manual_seed(seed)
    return replace(
        sound(seed),
        train_batches=lambda _: (points(*torch.randint(32, (8,), generator=generator).tolist()) for _ in count()),
    )


def of_global_weights(seed: int) -> Problem:
    return replace(sound(seed), model=nn.Linear(3, 2))


def texts(seed: int, *, mean_of_all: bool) -> Problem:
    """Rows of up to five tokens, padded with zeros; `mean_of_all` forgets to leave the padding out."""

    def batch(number: int) -> Batch:
        generator = torch.Generator().manual_seed(number)
        lengths = torch.randint(1, 6, (8, 1), generator=generator)
        mask = (torch.arange(5) < lengths).float()
        return Batch({"x": torch.randn(8, 5, 3, generator=generator), "mask": mask}, samples=8, tokens=int(mask.sum()))

    return Problem(
        model=sound(seed).model.get_submodule("0"),
        loss=lambda model, batch: (
            (model(batch["x"]).mean(-1) * batch["mask"]).square().sum()
            / (batch["mask"].numel() if mean_of_all else batch["mask"].sum())
        ),
        train_batches=lambda start: (batch(1000 * seed + i) for i in count(start)),
        eval_batches=[batch(-i) for i in range(1, 5)],
        probe_batches=[batch(-i) for i in range(1, 5)],
    )


def writing(model: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(model(batch["0"].mul_(0.9)), batch["1"])


def drawing(model: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(model(batch["0"]) + next(NOISE), batch["1"])


def noise() -> Iterator[Tensor]:
    """A Python generator, which nothing winds back."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(2, generator=generator)


NOISE = noise()


@dataclass(frozen=True)
class Wrong:
    """A task that breaks a promise, and how the sentence about it begins and ends."""

    name: str
    build: Callable[[int], Problem]
    begins: str
    ends: str

    def __str__(self) -> str:
        return self.name


WRONG = [
    Wrong(
        "batches from the global generator",
        with_batches(globally),
        "the training batches do not follow the seed: built twice with seed 3 they differ",
        "manual_seed(seed)",
    ),
    Wrong("global weights", of_global_weights, "the initial weights do not follow the seed", "manual_seed(seed)"),
    Wrong(
        "one seed for all",
        lambda _: sound(0),
        "the seed changes nothing: seeds 3 and 4 have the same weights and training batches",
        "draw the initial weights and the order of the examples from it",
    ),
    Wrong("one stream", from_one_stream, "training batch 0 depends on what was drawn before it", "that number"),
    Wrong(
        "a start that is ignored",
        with_batches(lambda seed, _: (points(seed + i) for i in count())),
        "training batch 1 depends on what was drawn before it",
        "drawn from the seed and that number",
    ),
    Wrong(
        "an end",
        with_batches(lambda seed, start: (points(seed + i) for i in range(start, 100))),
        "the task's training batches ended at step 199",
        "the budget says when training stops",
    ),
    Wrong(
        "an early end",
        with_batches(lambda seed, start: (points(seed + i) for i in range(start, 2))),
        "the task's training batches ended at step 2",
        "the budget says when training stops",
    ),
    Wrong("empty", with_batches(lambda *_: (points() for _ in count())), "the task's training batch 0 is empty", "cut"),
    Wrong(
        "lists",
        with_batches(lambda *_: iter(DataLoader(TensorDataset(X, Y), batch_size=8))),
        "the task's training batch 0 is a list, not a clipbench.contracts.Batch",
        "let clipbench.problem make the batches",
    ),
    Wrong(
        "a loader",
        with_batches(lambda *_: DataLoader(TensorDataset(X, Y), batch_size=8)),
        "train_batches(0) returned a DataLoader, which is no iterator",
        "let clipbench.problem draw them from the data set",
    ),
    Wrong(
        "few probes",
        lambda seed: replace(sound(seed), probe_batches=[points(1, 2, 3)]),
        "probe_batches have 3 samples, and a curvature needs 32 at least",
        "add held-out batches",
    ),
    Wrong(
        "a sum",
        with_loss(lambda model, batch: cross_entropy(model(batch["0"]), batch["1"], reduction="sum")),
        "the loss is no mean over samples",
        "without padding",
    ),
    Wrong(
        "no mean",
        with_loss(lambda model, batch: cross_entropy(model(batch["0"]), batch["1"], reduction="none")),
        "the loss is a tensor of shape (8,), not a 0-d tensor",
        "return the tensor itself",
    ),
    Wrong(
        "padding in the loss", lambda seed: texts(seed, mean_of_all=True), "the loss is no mean over tokens", "padding"
    ),
    Wrong("a batch that is written into", with_loss(writing), "the loss changes its batch", "writing into them"),
    Wrong(
        "noise in the evaluation",
        with_loss(drawing),
        "two evaluations of the same weights give ",
        "where the model is in evaluation mode",
    ),
    Wrong(
        "another slice each time",
        lambda seed: replace(sound(seed), train_slice=[points(*torch.randint(32, (8,)).tolist())]),
        "the batches of train_slice do not follow the seed",
        "manual_seed(seed)",
    ),
    Wrong(
        "a metric that raises",
        with_metric(lambda model, batch: (model(batch["x"]).sum(), 1)),
        "the metric 'mine' raised KeyError: 'x'; ",
        "take it out of the task's metrics",
    ),
    Wrong(
        "a metric without a weight",
        with_metric(lambda model, batch: model(batch["0"]).sum()),
        "the metric 'mine' returned a Tensor, not a pair of numbers; ",
        "such as (correct.sum(), len(correct))",
    ),
    Wrong(
        "a metric of nothing",
        with_metric(lambda *_: (0.0, 0)),
        "the metric 'mine' has a weight of 0 over all evaluation batches; ",
        "evaluate on batches that have such terms",
    ),
    Wrong(
        "noise in a metric",
        with_metric(lambda _, batch: (torch.rand(()), len(batch["0"]))),
        "the metric 'mine' is ",
        "let it draw nothing at random",
    ),
    Wrong(
        "a metric that writes into its batch",
        with_metric(lambda _, batch: (batch["0"].mul_(0.9).sum(), 1)),
        "the metric 'mine' changes its batch",
        "writing into them",
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_broken_promise_is_said_with_its_mend(wrong: Wrong) -> None:
    [sentence] = broken(wrong.build, 3, last=199)
    assert sentence.startswith(wrong.begins)
    assert sentence.endswith(wrong.ends)
    assert "; " in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "build", [sound, lambda seed: texts(seed, mean_of_all=False)], ids=["images", "padding left out"]
)
def test_a_sound_task_breaks_none(build: Callable[[int], Problem]) -> None:
    assert list(broken(build, 3, last=199)) == []


def test_the_last_batch_is_not_waited_for_where_it_is_reached_by_drawing_all_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contract, "PATIENCE", 0.0)
    asked: list[int] = []

    def batches(seed: int, start: int) -> Iterator[Batch]:
        asked.append(start)
        return (points(seed + i) for i in count(start))

    assert list(broken(with_batches(batches), 3, last=10**9)) == []
    assert max(asked) < 10**9


def tuple_task(seed: int, device: torch.device) -> object:  # noqa: ARG001
    return sound(seed).model, sound(seed).loss


def loader_task(seed: int, device: torch.device, where: str) -> Problem:  # noqa: ARG001
    given: dict[str, Any] = {where: DataLoader(TensorDataset(X, Y), batch_size=8)}
    return replace(sound(seed), **given)


def listed_task(seed: int, device: torch.device) -> Problem:  # noqa: ARG001
    return replace(sound(seed), eval_batches=[[X, Y]])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("tuple_task", {}, "built a tuple, not a clipbench.contracts.Problem\n  return clipbench.problem(...) or"),
        ("loader_task", {"where": "train_batches"}, "with a DataLoader for its train_batches\n  give a function"),
        ("loader_task", {"where": "eval_batches"}, "with a DataLoader for its eval_batches\n  give a list of batches"),
        ("loader_task", {"where": "probe_batches"}, "with a DataLoader for its probe_batches\n  give a list of"),
        ("listed_task", {}, "with a list in its eval_batches\n  make Batch({'x': x, 'y': y}, samples=len(x)) of it"),
    ],
)
def test_what_is_no_problem_is_said_with_its_mend(task: str, options: dict[str, str], message: str) -> None:
    target = f"{__name__}:{task}"
    with pytest.raises(ClipbenchError) as caught:
        build_problem(make_run(task=Choice(task, target, target, options)), CPU)
    assert str(caught.value).startswith(f"{target}: the task '{target}' built a ")
    assert message in str(caught.value)


@pytest.mark.parametrize("wrong", [each for each in WRONG if each.name in ("empty", "lists", "a loader")], ids=str)
def test_what_is_no_batch_fails_a_run_before_its_first_step_with_the_same_reason(wrong: Wrong) -> None:
    with pytest.raises(ClipbenchError, match=r"the task's training batch 0 is (empty|a list)") as caught:
        sources(wrong.build(0))
    assert caught.value.remedy
