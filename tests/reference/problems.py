"""Small models and problems of each kind that a benchmark meets: small enough for a dense Hessian."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem

IGNORED = -100
CLASSES = 3


class Quadratic(nn.Module):
    """L(θ) = ½θᵀHθ, with the point in one parameter."""

    def __init__(self, hessian: Tensor, point: Tensor) -> None:
        super().__init__()
        self.register_buffer("hessian", hessian.clone())
        self.point = nn.Parameter(point.clone())

    def forward(self) -> Tensor:
        return 0.5 * self.point @ (self.get_buffer("hessian") @ self.point)


def quadratic_loss(model: nn.Module, _: Batch) -> Tensor:
    return model()  # type: ignore[no-any-return]


NO_DATA = Batch(tensors={}, samples=1)


class CausalTransformer(nn.Module):
    """One pre-LN block with scaled dot-product attention; the output layer is the embedding itself."""

    def __init__(self, *, vocabulary: int = 7, width: int = 4, heads: int = 2, length: int = 6) -> None:
        super().__init__()
        self.heads = heads
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(length, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places
        batch, length, width = x.shape
        cut = (batch, length, self.heads, width // self.heads)
        q, k, v = (part.view(cut).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(x.shape))
        return self.head(x + self.feed(self.norm2(x)))  # type: ignore[no-any-return]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, CLASSES))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 5, 5)),
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.GELU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(27, CLASSES),
    )


def classification_loss(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch["x"]), batch["y"])


def token_loss(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(batch["x"])
    return functional.cross_entropy(logits.flatten(0, 1), batch["y"].flatten(), ignore_index=IGNORED)


def classification_batch(size: int, *, features: int, generator: torch.Generator) -> Batch:
    x = torch.randn(size, features, generator=generator)
    y = torch.randint(CLASSES, (size,), generator=generator)
    return Batch(tensors={"x": x, "y": y}, samples=size)


def token_batch(size: int, *, generator: torch.Generator, vocabulary: int = 7, length: int = 6) -> Batch:
    """About a third of the targets is padding, which the loss ignores and `tokens` does not count."""
    x = torch.randint(vocabulary, (size, length), generator=generator)
    y = torch.randint(vocabulary, (size, length), generator=generator)
    y[torch.rand(size, length, generator=generator) < 1 / 3] = IGNORED
    return Batch(tensors={"x": x, "y": y}, samples=size, tokens=int((y != IGNORED).sum()))


def problem(kind: str, *, seed: int = 0) -> Problem:
    """A float32 problem: `mlp`, `transformer` (attention, tied weights, padding) or `convolutional`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = {"mlp": mlp, "transformer": CausalTransformer, "convolutional": convolutional}[kind]()
    generator = torch.Generator().manual_seed(seed + 1)

    def batch(size: int) -> Batch:
        if kind == "transformer":
            return token_batch(size, generator=generator)
        return classification_batch(size, features=5 if kind == "mlp" else 25, generator=generator)

    train, held_out, probes = batch(4), [batch(3)], [batch(8), batch(3), batch(5)]

    def train_batches(start: int) -> Iterator[Batch]:  # noqa: ARG001 - every batch is the same one
        while True:
            yield train

    loss = token_loss if kind == "transformer" else classification_loss
    return Problem(model=model, loss=loss, train_batches=train_batches, eval_batches=held_out, probe_batches=probes)


def random_direction(model: nn.Module, *, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
        for name, p in model.named_parameters()
        if p.requires_grad
    }
