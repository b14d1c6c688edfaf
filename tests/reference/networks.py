"""Small networks of every architecture that second derivatives have failed on somewhere."""

from collections.abc import Callable

import torch
from reference.problems import IGNORED, CausalTransformer, classification_loss, token_loss
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Loss

CLASSES, FEATURES, WORDS, LENGTH = 3, 6, 7, 5


class EncoderDecoder(nn.Module):
    """torch's own transformer over one shared embedding, which is the output layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 4, padding_idx=0)
        self.transformer = nn.Transformer(4, 2, 1, 1, 5, dropout=0.1, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return functional.linear(self.transformer(x.flip(1), x), self.embedding.weight)


class RootMeanSquareNetwork(nn.Module):
    """A gated layer as Llama has it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(FEATURES)
        self.gate, self.up = nn.Linear(FEATURES, 4, bias=False), nn.Linear(FEATURES, 4, bias=False)
        self.down = nn.Linear(4, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.down(functional.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """A recurrent cell written out, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(2, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 4)
        for step in x.view(len(x), 3, 2).unbind(1):
            state = self.cell(step, state)
        return self.head(state)  # type: ignore[no-any-return]


class MessagePassing(nn.Module):
    """A graph network over six nodes of one feature each: every node takes the sum of what its neighbours send."""

    def __init__(self) -> None:
        super().__init__()
        self.send, self.keep, self.head = nn.Linear(1, 4), nn.Linear(1, 4), nn.Linear(4, CLASSES)
        self.register_buffer("senders", torch.tensor([0, 1, 2, 2, 3, 5, 5]))
        self.register_buffer("receivers", torch.tensor([1, 0, 0, 4, 4, 4, 3]))

    def forward(self, x: Tensor) -> Tensor:
        nodes = x.unsqueeze(-1)
        messages = self.send(nodes)[:, self.get_buffer("senders")].tanh()
        index = self.get_buffer("receivers")[None, :, None].expand_as(messages)
        return self.head((self.keep(nodes).scatter_add(1, index, messages)).square().sum(1))  # type: ignore[no-any-return]


def images(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), *layers)


def huber(model: nn.Module, batch: Batch) -> Tensor:
    return functional.huber_loss(model(batch["x"]), torch.ones_like(batch["x"][:, :CLASSES]), delta=0.3)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Loss]] = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, CLASSES)),
        classification_loss,
    ),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.LayerNorm(4), nn.SiLU(), nn.Linear(4, CLASSES)),
        classification_loss,
    ),
    "rms norm": (RootMeanSquareNetwork, classification_loss),
    "glu": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.GLU(), nn.Dropout(0.5), nn.Linear(4, CLASSES)),
        classification_loss,
    ),
    "huber": (lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.SiLU(), nn.Linear(4, CLASSES)), huber),
    "batch norm and relu in place": (
        lambda: images(
            nn.Conv2d(1, 3, 2, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6, CLASSES),
        ),
        classification_loss,
    ),
    "group and instance norm": (
        lambda: images(
            nn.Conv2d(1, 4, 2, padding=1),
            nn.GroupNorm(2, 4),
            nn.GELU(),
            nn.Conv2d(4, 4, 2, groups=2),
            nn.InstanceNorm2d(4, affine=True),
            nn.Softplus(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, CLASSES),
        ),
        classification_loss,
    ),
    "message passing": (MessagePassing, classification_loss),
    "recurrent": (Recurrent, classification_loss),
    "causal transformer": (lambda: CausalTransformer(length=LENGTH), token_loss),
    "encoder–decoder": (EncoderDecoder, token_loss),
}


def network(name: str, *, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Loss, list[Batch]]:
    """A model, its loss, and two batches of two sizes; a third of a token's targets are ignored."""
    make, loss = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = make()
    generator = torch.Generator().manual_seed(2)

    def batch(size: int) -> Batch:
        if loss is not token_loss:
            x = torch.randn(size, FEATURES, generator=generator, dtype=torch.float64).to(dtype)
            return Batch({"x": x, "y": torch.randint(CLASSES, (size,), generator=generator)}, samples=size)
        x = torch.randint(WORDS, (size, LENGTH), generator=generator)
        y = torch.randint(WORDS, (size, LENGTH), generator=generator)
        y[torch.rand(size, LENGTH, generator=generator) < 1 / 3] = IGNORED
        return Batch({"x": x, "y": y}, samples=size, tokens=int((y != IGNORED).sum()))

    return model.to(dtype).eval(), loss, [batch(4), batch(2)]
