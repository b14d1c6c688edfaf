"""Tasks and optimizers that keep part of their state where no state_dict has it, as users' own may."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from clipbench.contracts import Batch, Problem

Where = Literal["buffer", "attribute", "python", "numpy", "generator"]


class Net(nn.Module):
    """A linear map whose training forward pass moves, or draws from, something that lies at `where`."""

    size: Tensor

    def __init__(self, where: Where, seed: int) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)
        self.where, self.seen = where, 0
        self.register_buffer("size", torch.ones(()), persistent=False)
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, inputs: Tensor) -> Tensor:
        """From (B, 6) to (B,)."""
        factor = self._factor(inputs) if self.training else 1.0
        out: Tensor = self.linear(inputs * factor / self.size)
        return out.squeeze(-1)

    def _factor(self, inputs: Tensor) -> float:
        match self.where:
            case "buffer":
                self.size.mul_(0.9).add_(inputs.abs().mean(), alpha=0.1)
                return 1.0
            case "attribute":
                self.seen += 1
                return 1.0 + 0.1 / self.seen
            case "python":
                return 0.9 + 0.2 * random.random()
            case "numpy":
                return 0.9 + 0.2 * float(np.random.rand())
            case "generator":
                return 0.9 + 0.2 * float(torch.rand((), generator=self.generator))


def task(seed: int, device: torch.device, *, where: Where = "buffer") -> Problem:
    """A regression on drawn inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Net(where, seed).to(device)

    def batch(number: int) -> Batch:
        inputs = 3 * torch.randn(16, 6, generator=torch.Generator().manual_seed(1000 * seed + number))
        return Batch({"inputs": inputs, "targets": inputs.sum(1)}, samples=16)

    def stream(start: int) -> Iterator[Batch]:
        while True:
            yield batch(start)
            start += 1

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        error: Tensor = model(batch["inputs"]) - batch["targets"]
        return error.square().mean()

    return Problem(model, loss, stream, [batch(500), batch(501)], [batch(600 + i) for i in range(4)])


def gradient(p: Tensor) -> Tensor:
    assert p.grad is not None
    return p.grad


class _Plain(torch.optim.Optimizer):
    """Gradient descent that leaves each parameter's step to `one`."""

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.steps = 0
        self.past: list[list[Tensor]] = []
        self.generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        self.steps += 1
        for group in self.param_groups:
            held = [p for p in group["params"] if p.grad is not None]
            self.before(held)
            for p in held:
                p.sub_(self.one(p), alpha=group["lr"])

    def before(self, held: list[Tensor]) -> None: ...

    def one(self, p: Tensor) -> Tensor:
        raise NotImplementedError

    def momentum(self, p: Tensor, dtype: torch.dtype) -> Tensor:
        """An average of the gradients in a precision of its own."""
        m: Tensor = self.state[p].setdefault("m", torch.zeros_like(p, dtype=dtype))
        m.mul_(0.9).add_(gradient(p).to(dtype), alpha=0.1)
        moved: Tensor = m.to(p.dtype)
        return moved


class HalfMomentum(_Plain):
    """Its momentum is bfloat16, which torch's load_state_dict casts to the parameter's dtype."""

    def one(self, p: Tensor) -> Tensor:
        return self.momentum(p, torch.bfloat16)


class DoubleMomentum(_Plain):
    """Its momentum is float64."""

    def one(self, p: Tensor) -> Tensor:
        return self.momentum(p, torch.float64)


class Counter(_Plain):
    """Its rate falls by a count of steps that is an attribute."""

    def one(self, p: Tensor) -> Tensor:
        return gradient(p) / math.sqrt(self.steps)


class Delayed(_Plain):
    """It adds the gradients of two steps before, which are an attribute."""

    def before(self, held: list[Tensor]) -> None:
        self.past = [*self.past[-2:], [gradient(p).clone() for p in held]]
        self.delay = dict(zip(held, self.past[0], strict=True))

    def one(self, p: Tensor) -> Tensor:
        return gradient(p) + 0.5 * self.delay[p]


class Drawing(_Plain):
    """It adds noise of a generator of its own."""

    def one(self, p: Tensor) -> Tensor:
        return gradient(p) * (1 + 0.1 * torch.randn(p.shape, generator=self.generator))


class NumpyDrawing(_Plain):
    """It adds noise of NumPy's generator."""

    def one(self, p: Tensor) -> Tensor:
        return gradient(p) * (1 + 0.1 * float(np.random.randn()))
