"""Next byte of Python's own standard library, by an LSTM."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.corpora.windows import draw_windows, parts
from clipbench.data import python_stdlib
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import endless, generator, with_weights_of

DATA = "python_stdlib"
BYTES = 256
EVALUATED, IN_ONE_BATCH = 128, 32  # windows of the evaluation


class ByteLstm(nn.Module):
    """An embedding, an LSTM of one layer that begins at zero, a linear head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, BYTES)
        nn.init.normal_(self.head.weight, std=0.1 / width**0.5)  # near-uniform first predictions
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Bytes (B, T) → logits of the byte after each (B, T, 256)."""
        states, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(states)
        return logits


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the next byte, in nats, over all positions of the batch's windows."""
    tokens = batch["tokens"]  # (B, T + 1)
    logits: Tensor = model(tokens[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """How many next bytes have the largest logit."""
    tokens = batch["tokens"]
    return (model(tokens[:, :-1]).argmax(dim=2) == tokens[:, 1:]).sum(), batch.weight


def build(
    seed: int,
    device: torch.device,
    *,
    width: int = 128,
    context: int = 64,
    batch: int = 16,
) -> Problem:
    """The text of `code_lm` read by a recurrent network, on which SGD with momentum is expected to end below Adam.

    Of the text the first 90 % is for training, then 5 % for evaluation and 5 % for probes, the same for every seed:
    a seed decides the initial weights and which windows make up a batch. A sample is a window, a token a predicted
    byte.

    Args:
        seed: of the weights and of the training batches.
        device: where the model goes; batches stay on the CPU.
        width: of the embedding and of the state.
        context: bytes that a window predicts.
        batch: windows in a training batch.

    Raises:
        ValueError: an option makes no sense, or a window is longer than the held-out text.
        ClipbenchError: this Python has no standard library in source.
    """
    require_positive(width=width, context=context, batch=batch)
    training, evaluation, probing = parts(torch.frombuffer(bytearray(python_stdlib()), dtype=torch.uint8))

    def drawn(text: Tensor, count: int, *key: int | str) -> Batch:
        tokens = draw_windows(text, count, length=context + 1, draw=generator("byte_lstm", *key))
        terms = torch.full((count,), context)
        return Batch({"tokens": tokens}, samples=count, tokens=count * context, terms=terms)

    return Problem(
        model=with_weights_of(seed, lambda: ByteLstm(width)).to(device),
        loss=loss,
        train_batches=endless(lambda step: drawn(training, batch, seed, step)),
        eval_batches=[drawn(evaluation, IN_ONE_BATCH, "evaluation", i) for i in range(EVALUATED // IN_ONE_BATCH)],
        probe_batches=[drawn(probing, batch, "probe", i) for i in range(4)],
        metrics={"accuracy": accuracy},
    )
