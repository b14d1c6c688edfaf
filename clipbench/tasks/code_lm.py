"""Next byte of Python's own standard library, by a small causal transformer."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.data import python_stdlib
from clipbench.networks.options import require_heads, require_positive
from clipbench.networks.seeding import endless, generator, with_weights_of
from clipbench.networks.transformer import Block, draw_weights

DATA = "python_stdlib"
BYTES = 256
EVALUATED, IN_ONE_BATCH = 128, 32  # windows of the evaluation, whatever the training batch
HELD_OUT = 0.05  # of the text for evaluation, and as much again for probes


class CodeModel(nn.Module):
    """A causal pre-LN transformer over bytes; its output shares the embedding's weights."""

    def __init__(self, *, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, causal=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        draw_weights(self, depth=2 * layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Bytes (B, T) → logits of the byte after each (B, T, 256)."""
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.embedding.weight)


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the next byte, in nats, over all positions of the batch's windows."""
    tokens = batch["tokens"]  # (B, T + 1)
    logits: Tensor = model(tokens[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def _windows(text: Tensor, count: int, *, context: int, draw: torch.Generator) -> Batch:
    starts = torch.randint(len(text) - context, (count, 1), generator=draw)
    tokens = text[starts + torch.arange(context + 1)].long()  # (count, context + 1)
    terms = torch.full((count,), context)
    return Batch({"tokens": tokens}, samples=count, tokens=count * context, terms=terms)


def build(
    seed: int,
    device: torch.device,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    context: int = 64,
    batch: int = 8,
) -> Problem:
    """A language model of Python code, small enough for one CPU thread: the paper's autoregressive task, offline.

    The paper trains on Python files of The Stack (Pan & Li 2023, arXiv:2306.00204); this reads a megabyte
    and a half of the standard library that came with the user's Python. Of its text the first 90 % is for
    training, then 5 % for evaluation and 5 % for probes, the same for every seed: a seed decides the initial
    weights and which windows make up a batch. A sample is a window, a token a predicted byte.

    Args:
        seed: of the weights and of the training batches.
        device: where the model goes; batches stay on the CPU.
        width: d, a multiple of `heads`.
        layers: transformer layers.
        heads: of each attention.
        context: bytes that a window predicts.
        batch: windows in a training batch.

    Raises:
        ValueError: an option makes no sense, or a window is longer than the held-out text.
        ClipbenchError: this Python has no standard library in source.
    """
    require_positive(width=width, layers=layers, heads=heads, context=context, batch=batch)
    require_heads(width, heads)
    text = torch.frombuffer(bytearray(python_stdlib()), dtype=torch.uint8)
    held_out = int(HELD_OUT * len(text))
    if context >= held_out:
        raise ValueError(f"context must be below {held_out}, the bytes held out for evaluation, not {context}")
    training, evaluation, probing = torch.split(text, [len(text) - 2 * held_out, held_out, held_out])
    windows = partial(_windows, context=context)
    eval_draw = generator("code_lm evaluation")
    return Problem(
        model=with_weights_of(seed, lambda: CodeModel(width=width, layers=layers, heads=heads, context=context)).to(
            device
        ),
        loss=loss,
        train_batches=endless(lambda step: windows(training, batch, draw=generator("code_lm", seed, step))),
        eval_batches=[windows(evaluation, IN_ONE_BATCH, draw=eval_draw) for _ in range(EVALUATED // IN_ONE_BATCH)],
        probe_batches=[windows(probing, batch, draw=generator("code_lm probe", i)) for i in range(4)],
    )
