"""`clipbench.problem` keeps what a task promises, whatever the data sets draw, and says what it cannot use."""

import random
from collections import namedtuple
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

import clipbench
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.problems import data_of
from clipbench.running.evaluation import evaluate
from clipbench.running.fingerprints import batch_sha256, batches_sha256

CPU = torch.device("cpu")
X = torch.arange(100.0).reshape(50, 2)
Y = torch.arange(50) % 3
Pair = namedtuple("Pair", "x y")  # noqa: PYI024 - torch's collate knows this kind


def points(first: int = 0, last: int = 50) -> TensorDataset:
    return TensorDataset(X[first:last], Y[first:last])


def of_pair(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def made(seed: int = 0, **changed: Any) -> Problem:
    given: dict[str, Any] = {
        "model": lambda: nn.Linear(2, 3),
        "loss": of_pair,
        "train": lambda: points(0, 30),
        "test": lambda: points(30, 50),
        "batch_size": 4,
    }
    return clipbench.problem(seed, CPU, **{**given, **changed})


def take(problem: Problem, count: int, start: int = 0) -> list[Batch]:
    return list(islice(problem.train_batches(start), count))


class Cropped(Dataset[tuple[Tensor, int]]):
    """Each example is drawn anew from all three global generators."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        drawn = random.random() + np.random.rand() + torch.rand(()).item()
        return X[number] + drawn, int(Y[number])


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(9))


def test_a_pass_has_each_example_at_most_once_and_the_next_is_shuffled_anew() -> None:
    batches = take(made(), 14)  # 30 examples: 7 whole batches of 4 in a pass
    passes = [torch.cat([batch["0"][:, 0] for batch in batches[n : n + 7]]).tolist() for n in (0, 7)]
    assert all(len(set(each)) == 28 and set(each) <= set(X[:30, 0].tolist()) for each in passes)
    assert passes[0] != passes[1]
    assert {batch.samples for batch in batches} == {4}


def test_inputs_and_classes_stay_together() -> None:
    for batch in (*take(made(), 9), *made().eval_batches, *made().probe_batches):
        assert torch.equal(batch["1"], (batch["0"][:, 0] / 2).long() % 3)


def test_the_evaluation_loss_is_the_mean_over_every_test_example() -> None:
    problem = made(test=lambda: points(33, 50))  # 17: the last batch has one
    with torch.no_grad():
        whole = cross_entropy(problem.model(X[33:]), Y[33:])
    assert evaluate(problem).loss == pytest.approx(whole.item(), rel=1e-6)
    assert [batch.samples for batch in problem.eval_batches] == [4, 4, 4, 4, 1]


def test_the_probe_batches_are_four_batches_of_test_examples_from_all_over_and_the_same_for_every_seed() -> None:
    probes = made(test=lambda: points(0, 50)).probe_batches
    numbers = [int(x) // 2 for batch in probes for x in batch["0"][:, 0]]
    assert len(set(numbers)) == 16
    assert max(numbers) >= 16  # data sets are often sorted by class
    assert batches_sha256(probes) == batches_sha256(made(7, test=lambda: points(0, 50)).probe_batches)


def test_what_a_data_set_draws_follows_the_seed_and_the_number_of_the_batch() -> None:
    torch.manual_seed(1)
    problem = made(train=Cropped, test=Cropped)
    first = [batch_sha256(batch) for batch in take(problem, 15)]
    torch.manual_seed(2)
    random.seed(3)
    np.random.seed(4)
    again = made(train=Cropped, test=Cropped)
    for start in (14, 3, 0):
        assert batch_sha256(take(again, 1, start)[0]) == first[start]
    assert len(set(first)) == 15
    assert not set(first) & {batch_sha256(batch) for batch in take(made(1, train=Cropped, test=Cropped), 15)}
    assert batches_sha256(problem.eval_batches) == batches_sha256(again.eval_batches)


def test_nothing_that_is_drawn_moves_the_global_generators() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    take(made(train=Cropped, test=Cropped, model=lambda: nn.Linear(2, int(3 + 0 * np.random.rand()))), 3)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_random_split_divides_the_same_way_for_train_and_test_and_every_seed() -> None:
    def half(which: int) -> Callable[[], Dataset[Any]]:
        return lambda: random_split(points(), [30, 20])[which]

    problem, other = made(train=half(0), test=half(1)), made(5, train=half(0), test=half(1))
    held = {float(x) for batch in problem.eval_batches for x in batch["0"][:, 0]}
    assert len(held) == 20
    assert held == {float(x) for batch in other.eval_batches for x in batch["0"][:, 0]}
    assert held.isdisjoint(float(x) for batch in take(problem, 28) for x in batch["0"][:, 0])


@pytest.mark.parametrize(
    ("example", "read"),
    [
        (lambda n: (X[n], Y[n]), lambda batch: (batch[0], batch[1])),
        (lambda n: {"x": X[n], "y": int(Y[n])}, lambda batch: (batch["x"], batch["y"])),
        (lambda n: Pair(X[n].numpy(), Y[n]), lambda batch: (batch.x, batch.y)),
        (lambda n: {"a": {"x": X[n]}, "b": [Y[n], 0]}, lambda batch: (batch["a"]["x"], batch["b"][0])),
        (lambda n: torch.cat([X[n], Y[n : n + 1]]), lambda batch: (batch[:, :2], batch[:, 2].long())),
    ],
    ids=["tuple", "dict", "namedtuple", "nested", "tensor"],
)
def test_the_loss_sees_what_torchs_collate_makes(
    example: Callable[[int], Any], read: Callable[[Any], tuple[Tensor, Tensor]]
) -> None:
    examples: Any = [example(n) for n in range(50)]
    seen: list[Any] = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        seen.append(batch)
        x, y = read(batch)
        return cross_entropy(model(x), y)

    problem = made(loss=loss, train=lambda: examples, test=lambda: examples)
    plain = made(train=points, test=points)
    ours, theirs = (problem.loss(each, take(problem, 1)[0]) for each in (problem.model, plain.model))
    expected = plain.loss(plain.model, take(plain, 1)[0])
    assert ours == theirs == expected
    [loaded] = islice(DataLoader(examples, batch_size=4), 1)
    assert type(seen[0]) is type(loaded)


def test_the_numbers_of_a_seed_stay_what_they_are() -> None:
    """No key has this code in it: who changes these raises METHOD."""
    problem, drawn = made(3), made(3, train=Cropped, test=Cropped)
    weights = next(problem.model.parameters()).flatten().tolist()
    order = [int(x) // 2 for batch in take(problem, 2, start=6) for x in batch["0"][:, 0]]
    probed = [int(x) // 2 for x in problem.probe_batches[0]["0"][:, 0]]
    crops = [each["0"][0, 0].item() for each in (*take(drawn, 1), drawn.eval_batches[0], drawn.probe_batches[0])]
    assert weights[0] == pytest.approx(-0.512716, abs=1e-6)
    assert order == [16, 18, 6, 25, 4, 6, 19, 21]
    assert probed == [34, 36, 47, 46]
    assert crops == pytest.approx([19.77361, 0.93351, 29.31639], abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train": DataLoader(points())},
            "train: `train` is a DataLoader, whose batches follow no seed\n  hand the data",
        ),
        ({"test": lambda: DataLoader(points())}, "test: test() is a DataLoader, whose batches follow no seed"),
        ({"train": Stream}, "train: train() is a Stream, of which an interrupted run cannot find example i again"),
        ({"train": lambda: iter([1, 2])}, "train: train() is a list_iterator, of which an interrupted run"),
        ({"train": points()}, "train: `train` is a TensorDataset, not a function\n  hand a function that makes"),
        ({"train": lambda: 3}, "train: train() returns a int, not a data set"),
        ({"train": list}, "train: train() has no examples\n  look at the path"),
        (
            {"batch_size": 31},
            "train: train() has 30 examples, fewer than a batch of 31\n  set batch_size to 30 or less",
        ),
        (
            {"batch_size": 6},
            "test: test() has 20 examples, and the probes need 24\n  hold out more examples",
        ),
        (
            {"test": lambda: points(0, 3)},
            "test: test() has 3 examples, and the probes need 16\n  hold out more examples",
        ),
        ({"model": nn.Linear(2, 3)}, "model: `model` is a Linear, not a function\n  hand a function that makes it"),
        ({"model": lambda: None}, "model: model() returns a NoneType, not a torch.nn.Module"),
        ({"train": lambda: [("text", 1)] * 9}, "train: the examples of train() hold a str at 0/0, which is no number"),
        ({"train": lambda: [object()] * 9}, "train: torch's default collate makes no batch of the examples of train()"),
        (
            {"test": lambda: [X[0]] * 20},
            "test: the examples of test() have the parts examples, and those of train() 0, 1",
        ),
    ],
)
def test_what_cannot_be_used_is_said_with_its_mend(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ClipbenchError) as caught:
        made(**changed)
    assert str(caught.value).startswith(message)
    assert caught.value.remedy


def test_shapes_that_differ_are_said_when_they_meet() -> None:
    problem = made(
        train=lambda: [(torch.zeros(1 + n % 2), 0) for n in range(30)], test=lambda: [(torch.zeros(1), 0)] * 20
    )
    with pytest.raises(ClipbenchError, match="of the same shapes in every example"):
        take(problem, 9)


@pytest.mark.parametrize("wrong", [lambda model, batch: model(batch[0]), lambda *_: 0.5], ids=["logits", "float"])
def test_a_loss_that_is_no_mean_is_said(wrong: Callable[..., Any]) -> None:
    problem = made(loss=wrong)
    with pytest.raises(ClipbenchError, match="not the mean loss of the batch as a 0-d tensor"):
        problem.loss(problem.model, take(problem, 1)[0])


def test_the_text_of_data_changes_with_what_is_in_the_files_and_with_nothing_else(tmp_path: Path) -> None:
    def text(folder: str) -> str | None:
        return data_of(lambda seed, _: made(seed, data=tmp_path / folder, train=lambda: 1 / 0))  # is not called

    for folder in ("one", "two"):
        (tmp_path / folder / "in").mkdir(parents=True)
        (tmp_path / folder / "in" / "x").write_bytes(b"12")
        (tmp_path / folder / "y").touch()
    first = text("one")
    assert first
    assert text("two") == first  # a copy is the same data
    (tmp_path / "one" / ".hidden").touch()
    assert text("one") == first
    (tmp_path / "one" / "in" / "x").write_bytes(b"21")
    assert text("one") != first
    (tmp_path / "two" / "in" / "x").rename(tmp_path / "two" / "in" / "z")
    assert text("two") != first
    with pytest.raises(ClipbenchError, match=r"there are no data at .*three"):
        text("three")


def test_a_task_that_names_no_data_says_nothing() -> None:
    assert data_of(lambda seed, _: made(seed)) is None
    assert data_of(lambda *_: None) is None


def test_a_large_batch_is_probed_on_what_is_held_out() -> None:
    """Four batches of 12 would be 48; 40 are there, and 32 are enough."""
    held_out = points(0, 40)
    problem = made(batch_size=12, test=lambda: held_out)
    assert [batch.samples for batch in problem.probe_batches] == [12, 12, 12, 4]
