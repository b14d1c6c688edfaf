"""A task from a model, a loss and two torch data sets: what `clipbench.problem` does.

It draws everything from the seed, and batch i from the seed and i alone. No key of a run has this file in it: whoever
changes a number here raises METHOD in `clipbench/records.py`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from clipbench.contracts import Batch, Metric, Problem
from clipbench.errors import ClipbenchError
from clipbench.examples import Examples, batch_of, collated, drawing_from, form_of, leaves, rebuilt
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import generator, shuffled_epochs
from clipbench.sources.contents import contents

PROBED = 4  # training batches whose size the probe batches have together, where there are so many examples
FEWEST = 32  # examples to probe on, where four training batches are more; the standard error says if it is enough

LossOfExamples = Callable[[nn.Module, Any], Tensor]
MetricOfExamples = Callable[[nn.Module, Any], tuple[float | Tensor, float | Tensor]]
PathLike = str | os.PathLike[str]


def problem(
    seed: int,
    device: torch.device,
    *,
    model: Callable[[], nn.Module],
    loss: LossOfExamples,
    train: Callable[[], Examples],
    test: Callable[[], Examples],
    batch_size: int,
    data: PathLike | Iterable[PathLike] = (),
    metrics: Mapping[str, MetricOfExamples] = MappingProxyType({}),
    train_slice: int = 0,
) -> Problem:
    """A problem of a seed from a model and data sets: `build` of a task returns it.

    The seed decides the initial weights, the order of the training examples, which are shuffled anew for every pass,
    and whatever the data set draws for an example, such as a random crop. What is left over of a pass is not used in
    it. The evaluation loss is that of all test examples, in batches of `batch_size`; they are kept in memory. The probe
    batches are four batches of test examples, always the same: they are held out from training, and not from the
    evaluation.

    Args:
        seed: as `build` got it.
        device: as `build` got it.
        model: makes the model, with new weights; a class will do.
        loss: of the model and a batch, the mean over the batch's examples, a 0-d tensor. The batch is what torch's
            default collate makes of the examples: `x, y = batch`, `batch[0]` or `batch["x"]`.
        train: makes the data set of the training examples. `train` and `test` begin in the same random state, whatever
            the seed is, so that `random_split` divides the same way in both.
        test: makes the data set of the held-out examples: at least four training batches of them.
        batch_size: training examples in a batch.
        data: files and folders that the data sets are read from. What is in them is in the key of the runs, so that
            changed data make runs again. A function `fingerprint` beside `build` takes precedence.
        metrics: functions by name, of the model and a batch as `loss` gets it. Each returns a sum over the batch's
            terms and how many they are: `(right.sum(), len(right))`. Σ sums / Σ numbers over the test examples is
            recorded at every evaluation, under the metric's name.
        train_slice: batches of training examples whose loss is recorded beside the evaluation loss, always the same.

    Raises:
        ClipbenchError: something is not what it must be; what, and what to do.
        ValueError: `batch_size` is not a positive whole number, or `train_slice` is negative.
    """
    if _only_asked.get():
        raise _DataNamed([data] if isinstance(data, str | os.PathLike) else list(data))
    require_positive(batch_size=batch_size)
    with drawing_from("weights", seed):
        made = _model(model).to(device)
    training, held_out = _examples("train", train), _examples("test", test)
    _require_enough(training, held_out, batch_size)
    first = collated("train", training, [0], ("example",))
    form, names = form_of(first), dict(leaves("train", first)).keys()
    order = shuffled_epochs({"number": torch.arange(len(training))}, batch_size, seed=seed)

    def of_batch(model: nn.Module, batch: Batch) -> Tensor:
        return _required_mean(loss(model, rebuilt(form, batch.tensors)))

    def train_batches(start: int) -> Iterator[Batch]:
        for step, chosen in enumerate(order(start), start):
            yield batch_of("train", training, chosen["number"].tolist(), ("examples", seed, step))

    numbers = torch.randperm(len(held_out), generator=generator("probes"))[: PROBED * batch_size].tolist()
    evaluated = _in_batches("test", held_out, range(len(held_out)), batch_size, "evaluation")
    _require_same_parts(names, evaluated[0].tensors.keys())
    return Problem(
        model=made,
        loss=of_batch,
        train_batches=train_batches,
        eval_batches=evaluated,
        probe_batches=_in_batches("test", held_out, numbers, batch_size, "probes"),
        metrics={name: _of_batch(metric, form) for name, metric in _callable(metrics).items()},
        train_slice=_slice(training, train_slice, batch_size),
        examples=len(training),
    )


def _model(make: object) -> nn.Module:
    remedy = "hand a function that makes it, `model=lambda: ...`: its weights must be drawn anew for every seed"
    if isinstance(make, nn.Module) or not callable(make):
        raise ClipbenchError(f"`model` is a {type(make).__name__}, not a function", where="model", remedy=remedy)
    made = make()
    if not isinstance(made, nn.Module):
        message = f"model() returns a {type(made).__name__}, not a torch.nn.Module"
        raise ClipbenchError(message, where="model", remedy="return the model from it")
    return made


def _examples(name: str, make: object) -> Examples:
    """The data set that a function makes, or what is wrong with it."""
    if isinstance(make, DataLoader) or not callable(make):
        _refuse_streams(name, f"`{name}`", make)
        raise ClipbenchError(
            f"`{name}` is a {type(make).__name__}, not a function",
            where=name,
            remedy=f"hand a function that makes the data set, `{name}=lambda: ...`, so that an import loads nothing",
        )
    with drawing_from("data sets"):
        examples = make()
    _refuse_streams(name, f"{name}()", examples)
    if not (hasattr(examples, "__len__") and hasattr(examples, "__getitem__")):
        raise ClipbenchError(
            f"{name}() returns a {type(examples).__name__}, not a data set",
            where=name,
            remedy="return a torch data set, or a list: anything with a length and an example for each number",
        )
    if not len(examples):
        raise ClipbenchError(f"{name}() has no examples", where=name, remedy="look at the path that it reads from")
    return examples


def _refuse_streams(name: str, what: str, thing: object) -> None:
    """Raises ClipbenchError for what has an order of its own, which no seed decides and no resumed run finds again."""
    if isinstance(thing, DataLoader):
        remedy = f"hand the data set behind it, `{name}=lambda: ...`: clipbench draws batches from the seed"
        raise ClipbenchError(f"{what} is a DataLoader, whose batches follow no seed", where=name, remedy=remedy)
    if isinstance(thing, IterableDataset | Iterator):
        remedy = "keep the examples where each has a number, in a list or a map-style data set"
        message = f"{what} is a {type(thing).__name__}, of which an interrupted run cannot find example i again"
        raise ClipbenchError(message, where=name, remedy=remedy)


def _require_enough(training: Examples, held_out: Examples, batch_size: int) -> None:
    most, probed = len(training), min(PROBED * batch_size, FEWEST)
    if most < batch_size:
        message = f"train() has {most} examples, fewer than a batch of {batch_size}"
        raise ClipbenchError(message, where="train", remedy=f"set batch_size to {most} or less")
    if len(held_out) < probed:
        message = f"test() has {len(held_out)} examples, and the probes need {probed}"
        raise ClipbenchError(message, where="test", remedy="hold out more examples")


def _slice(training: Examples, batches: int, batch_size: int) -> list[Batch]:
    """So many batches of training examples, the same for every seed."""
    if batches < 0:
        raise ValueError(f"train_slice must not be negative, is {batches}")
    if batches * batch_size > len(training):
        message = f"train_slice={batches} asks for {batches * batch_size} examples, and train() has {len(training)}"
        raise ClipbenchError(message, where="train_slice", remedy=f"set it to {len(training) // batch_size} or less")
    numbers = torch.randperm(len(training), generator=generator("slice"))[: batches * batch_size].tolist()
    return _in_batches("train", training, numbers, batch_size, "slice")


def _of_batch(metric: MetricOfExamples, form: Any) -> Metric:
    return lambda model, batch: metric(model, rebuilt(form, batch.tensors))


def _callable(metrics: object) -> Mapping[str, MetricOfExamples]:
    """The metrics, if each can be called; their names are looked at where every task's are."""
    remedy = "hand a dict of functions by name: metrics={'accuracy': accuracy}"
    if not isinstance(metrics, Mapping):
        raise ClipbenchError(f"`metrics` is a {type(metrics).__name__}", where="metrics", remedy=remedy)
    for name, metric in metrics.items():
        if not callable(metric):
            message = f"the metric {name!r} is a {type(metric).__name__}, not a function"
            raise ClipbenchError(message, where="metrics", remedy=remedy)
    return metrics


def _in_batches(name: str, examples: Examples, numbers: Sequence[int], size: int, use: str) -> list[Batch]:
    pieces = [numbers[place : place + size] for place in range(0, len(numbers), size)]
    return [batch_of(name, examples, piece, (use, place)) for place, piece in enumerate(pieces)]


def _require_same_parts(training: AbstractSet[str], held_out: AbstractSet[str]) -> None:
    if training != held_out:
        raise ClipbenchError(
            f"the examples of test() have the parts {', '.join(held_out)}, and those of train() {', '.join(training)}",
            where="test",
            remedy="let both data sets give the same parts",
        )


def _required_mean(loss: object) -> Tensor:
    if isinstance(loss, Tensor) and loss.ndim == 0:
        return loss
    what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    message = f"loss(model, batch) returns {what}, not the mean loss of the batch as a 0-d tensor"
    raise ClipbenchError(message, where="loss", remedy="average over the batch, and return the tensor itself")


class _DataNamed(BaseException):  # no Exception, so that no handler in a user's build takes it for a failure
    """`problem` was called and says what its data are."""

    def __init__(self, paths: Sequence[PathLike]) -> None:
        self.paths = paths
        super().__init__()


_only_asked: ContextVar[bool] = ContextVar("only_asked", default=False)


def data_of(build: Callable[..., object], **options: Any) -> str | None:
    """What is in the data that a task hands to `problem`, as a text; None where it hands none, or never comes to it.

    `build` runs until it calls `problem`, which then makes neither a model nor a data set.

    Raises:
        ClipbenchError: there is nothing at one of the paths.
    """
    token = _only_asked.set(True)
    try:
        build(0, torch.device("cpu"), **options)
    except _DataNamed as named:
        return "\n".join(line for path in named.paths for line in contents(Path(path))) if named.paths else None
    finally:
        _only_asked.reset(token)
    return None
