"""Masked tokens of Python's standard library, by a small bidirectional transformer."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.corpora.tokens import numbered_tokens
from clipbench.corpora.windows import draw_windows, parts
from clipbench.networks.options import require_heads, require_positive
from clipbench.networks.seeding import endless, generator, with_weights_of
from clipbench.networks.transformer import Block, draw_weights

DATA = "python_stdlib"
EVALUATED, IN_ONE_BATCH = 512, 128  # windows of the evaluation, and of the slice of training data


class MaskedModel(nn.Module):
    """A pre-LN transformer that sees both sides; its output shares the embedding's weights, but for the mask's."""

    def __init__(self, vocabulary: int, *, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary + 1, width)  # the last is the mask
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        draw_weights(self, depth=2 * layers)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Tokens with masks (B, T) and which places to predict (B, M) → logits of their tokens (B, M, V)."""
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = x.gather(1, places[:, :, None].expand(-1, -1, x.shape[2]))
        return functional.linear(self.norm(x), self.embedding.weight[:-1])


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the masked tokens, in nats."""
    logits: Tensor = model(batch["tokens"], batch["places"])
    return functional.cross_entropy(logits.flatten(0, 1), batch["hidden"].flatten())


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """How many of the masked tokens have the largest logit."""
    return (model(batch["tokens"], batch["places"]).argmax(dim=2) == batch["hidden"]).sum(), batch.weight


def mask(tokens: Tensor, count: int, *, by: int, draw: torch.Generator) -> Batch:
    """`count` tokens of each window (B, T) become `by`: `places` (B, count) says which, `hidden` what they were."""
    places = torch.rand(tokens.shape, generator=draw).argsort(dim=1)[:, :count]
    tensors = {"tokens": tokens.scatter(1, places, by), "places": places, "hidden": tokens.gather(1, places)}
    terms = torch.full((len(tokens),), count)
    return Batch(tensors, samples=len(tokens), tokens=places.numel(), terms=terms)


def build(
    seed: int,
    device: torch.device,
    *,
    vocabulary: int = 2000,
    width: int = 64,
    layers: int = 1,
    heads: int = 4,
    context: int = 16,
    masked: float = 0.15,
    batch: int = 128,
) -> Problem:
    """Masked language modelling of code (after arXiv:1810.04805): attention and rare classes at once.

    It is there for the question whether Adam's lead on `code_lm` holds for another objective: an encoder, classes of
    very unequal frequency, and fresh masks for every batch. The first 90 % of the text are for training, 5 % for
    evaluation and 5 % for probes, the same for every seed: a seed decides the initial weights, and with the step the
    windows of a batch and their masks. A sample is a window, a token a masked one.

    Args:
        seed: of the weights and of the training batches.
        device: where the model goes; batches stay on the CPU.
        vocabulary: V, the classes: V − 1 tokens, and one class for all others.
        width: d, a multiple of `heads`.
        layers: transformer layers.
        heads: of each attention.
        context: tokens of a window.
        masked: the share of a window that is masked and predicted; at least one token is, and one is not.
        batch: windows in a training batch.

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: this Python has no standard library in source.
    """
    require_positive(width=width, layers=layers, heads=heads, context=context, masked=masked, batch=batch)
    require_heads(width, heads)
    hide = max(1, round(masked * context))
    if hide >= context:
        raise ValueError(f"masked must leave one of {context} tokens to see, and {masked} hides {hide}")
    training, evaluation, probing = parts(numbered_tokens(vocabulary))

    def drawn(text: Tensor, count: int, *key: int | str) -> Batch:
        draw = generator("masked_tokens", *key)
        return mask(draw_windows(text, count, length=context, draw=draw), hide, by=vocabulary, draw=draw)

    def make() -> MaskedModel:
        return MaskedModel(vocabulary, width=width, layers=layers, heads=heads, context=context)

    return Problem(
        model=with_weights_of(seed, make).to(device),
        loss=loss,
        train_batches=endless(lambda step: drawn(training, batch, seed, step)),
        eval_batches=[drawn(evaluation, IN_ONE_BATCH, "evaluation", i) for i in range(EVALUATED // IN_ONE_BATCH)],
        probe_batches=[drawn(probing, batch, "probe", i) for i in range(4)],
        metrics={"accuracy": accuracy},
        train_slice=[drawn(training, IN_ONE_BATCH, "slice", i) for i in range(EVALUATED // IN_ONE_BATCH)],
    )
