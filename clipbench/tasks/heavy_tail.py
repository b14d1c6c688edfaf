"""Softmax regression on classes of very unequal frequency: convex, and yet hard for gradient descent."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import generator, in_batches, shuffled_epochs, with_weights_of

MOST_GROUPS = 12  # 24,576 examples and 4,095 classes


def class_counts(groups: int) -> Tensor:
    """Examples of each class: group k of G has 2^k classes of 2^(G−1−k) examples, so every group has as many.

    With G = 8: 255 classes, one of 128 examples, two of 64, … and 128 of a single one; 1024 examples.
    """
    sizes = [(2**k, 2 ** (groups - 1 - k)) for k in range(groups)]
    return torch.cat([torch.full((classes,), examples) for classes, examples in sizes])


def draw_examples(groups: int, features: int, *, name: str) -> dict[str, Tensor]:
    """One fixed draw, known by `name`: inputs uniform in [0, 1]^features, whatever their class.

    It is the mean of the inputs, far from zero, that makes plain gradient descent slow on the rare classes.
    """
    counts = class_counts(groups)
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    inputs = torch.rand(len(labels), features, generator=generator(name, groups, features))
    return {"inputs": inputs, "classes": labels}


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the class, in nats."""
    return functional.cross_entropy(model(batch["inputs"]), batch["classes"])


def _regression(features: int, classes: int) -> nn.Linear:
    model = nn.Linear(features, classes)
    nn.init.normal_(model.weight, std=0.01 / features**0.5)  # logits about 0.006: the loss starts at ln(classes)
    nn.init.zeros_(model.bias)
    return model


def build(
    seed: int,
    device: torch.device,
    *,
    groups: int = 8,
    features: int = 512,
    batch: int | None = None,
) -> Problem:
    """Where Adam is fast and gradient descent slow: the heavy tail of Kunstner et al. 2024 (arXiv:2402.19449).

    The labels have nothing to do with the inputs, so there is nothing to generalise: the problem is how fast the
    objective itself falls. Therefore the evaluation is the mean loss over the training examples, said here
    because elsewhere it is on held-out data; the probes have examples of their own, from the same distribution. Data
    is the same for every seed; a seed decides the small initial weights and the order of the examples.

    Args:
        seed: of the weights and of the order.
        device: where the model goes; batches stay on the CPU.
        groups: G groups of classes, 2^G − 1 classes, G·2^(G−1) examples; 1 to 12.
        features: of an input.
        batch: examples in a training batch; None takes all of them (1024 by default).

    Raises:
        ValueError: an option makes no sense, or the batch is larger than the data.
    """
    require_positive(groups=groups, features=features, batch=1 if batch is None else batch)
    if groups > MOST_GROUPS:
        raise ValueError(f"groups must be at most {MOST_GROUPS}, not {groups}")
    examples = groups * 2 ** (groups - 1)
    size = examples if batch is None else batch
    if size > examples:
        raise ValueError(f"batch must be at most {examples}, the number of examples, not {batch}")
    training = draw_examples(groups, features, name="heavy_tail training")
    probing = [draw_examples(groups, features, name=f"heavy_tail probe {part}") for part in range(4)]
    return Problem(
        model=with_weights_of(seed, lambda: _regression(features, 2**groups - 1)).to(device),
        loss=loss,
        train_batches=shuffled_epochs(training, size, seed=seed),
        eval_batches=in_batches(training, examples),
        probe_batches=[batch for part in probing for batch in in_batches(part, examples)],
    )
