"""A token of Python's standard library from its neighbours (CBOW): classes of very unequal frequency."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Metric, Problem
from clipbench.corpora.contexts import Classes, Contexts
from clipbench.corpora.tokens import common_classes, numbered_tokens
from clipbench.corpora.windows import parts
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import endless, generator, in_batches, shuffled_epochs, with_weights_of

DATA = "python_stdlib"
FULL = 4096  # windows of the full batch
EVALUATED, IN_ONE_BATCH = 4096, 1024  # windows of the evaluation, and of the slice of training data


class Cbow(nn.Module):
    """A linear softmax of the mean embedding of the neighbours: continuous bag of words (arXiv:1301.3781)."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.output = nn.Linear(width, vocabulary)
        nn.init.normal_(self.output.weight, std=0.1 / width**0.5)  # near-uniform first predictions
        nn.init.zeros_(self.output.bias)

    def forward(self, context: Tensor) -> Tensor:
        """Neighbours (B, 2c) → logits of the token between them (B, V)."""
        logits: Tensor = self.output(self.embedding(context).mean(dim=1))
        return logits


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean over the batch's windows of their weight × the cross-entropy of the token, in nats."""
    terms = functional.cross_entropy(model(batch["context"]), batch["target"], reduction="none")
    return (batch["class_weight"] * terms).mean()


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """How many tokens have the largest logit."""
    return (model(batch["context"]).argmax(dim=1) == batch["target"]).sum(), batch.samples


def loss_of(first: int, end: int) -> Metric:
    """The cross-entropy of the tokens of classes first, …, end − 1, without weights, in nats."""

    def metric(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        among = (batch["target"] >= first) & (batch["target"] < end)
        terms = functional.cross_entropy(model(batch["context"]), batch["target"], reduction="none")
        return terms[among].sum(), among.sum()

    return metric


def build(
    seed: int,
    device: torch.device,
    *,
    classes: Literal["zipf", "uniform", "reweighted"] = "zipf",
    vocabulary: int = 2000,
    width: int = 64,
    context: int = 4,
    batch: int | Literal["full"] = 128,
) -> Problem:
    """Where rare classes hold SGD back: nine of 2,000 tokens make up half of the text (after arXiv:2402.19449).

    It is there for Adam's lead over SGD on training data, which should be largest on the rare classes and without
    noise (`batch: full`), and smaller on held-out data; and for the question what is left of it where `classes` lets
    all of them count alike. The first 90 % of the text are for training, 5 % for evaluation and 5 % for probes, the
    same for every seed. A sample is a window.

    The metrics are the accuracy, and the cross-entropy of the common classes, the fewest that make up half of the
    training text, and of the rare ones, all others.

    Args:
        seed: of the weights and of the training batches.
        device: where the model goes; batches stay on the CPU.
        classes: how often a class counts, in training, evaluation and probes: zipf, as in the text; uniform, windows
            are drawn so that every class comes equally often; reweighted, windows are drawn as in the text, and
            weighted by the inverse frequency of their class, so that the expected loss is about that of uniform.
        vocabulary: V, the classes: V − 1 tokens, and one class for all others.
        width: of an embedding.
        context: tokens on each side.
        batch: windows in a training batch. full trains on a fixed set of 4,096 windows, all in every batch; there the
            evaluation is on the same set, because the question is how fast the objective itself falls.

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: this Python has no standard library in source.
    """
    size = batch if isinstance(batch, int) else FULL
    require_positive(width=width, context=context, batch=size)
    if classes not in get_args(Classes) or (isinstance(batch, str) and batch != "full"):
        raise ValueError(
            f"classes must be one of {get_args(Classes)}, and batch a number or 'full', not {classes!r} and {batch!r}"
        )
    text = numbered_tokens(vocabulary)
    training, evaluation, probing = parts(torch.arange(len(text)))
    if 2 * context >= len(probing):
        raise ValueError(f"context must be below {len(probing) // 2}, half of the held-out tokens, not {context}")
    counts = torch.bincount(text[training], minlength=vocabulary)
    contexts, common = Contexts(text, counts, context, classes), common_classes(counts)

    def drawn(places: Tensor, count: int, *key: int | str) -> dict[str, Tensor]:
        return contexts.draw(places, count, generator("code_tokens", *key))

    objective = drawn(training, FULL, "full") if batch == "full" else {}
    held_out = drawn(evaluation, EVALUATED, "evaluation")
    return Problem(
        model=with_weights_of(seed, lambda: Cbow(vocabulary, width)).to(device),
        loss=loss,
        train_batches=shuffled_epochs(objective, FULL, seed=seed)
        if objective
        else endless(lambda step: Batch(drawn(training, size, seed, step), samples=size)),
        eval_batches=in_batches(objective or held_out, IN_ONE_BATCH),
        probe_batches=[Batch(drawn(probing, size, "probe", part), samples=size) for part in range(4)],
        metrics={"accuracy": accuracy, "loss_common": loss_of(0, common), "loss_rare": loss_of(common, vocabulary)},
        train_slice=[] if objective else in_batches(drawn(training, EVALUATED, "slice"), IN_ONE_BATCH),
    )
