"""Sound tasks and optimizers that a careless benchmark gets wrong: each is one of the pitfalls of `pitfalls.md`."""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem

CALLS: list[str] = []  # of compiled things: "step" where a training step comes to them, "compiled" where they run so
DRAWS: list[float] = []  # what `drawing` drew from NumPy in training


def backend(graph: Any, inputs: object) -> Callable[..., Any]:  # noqa: ARG001
    def call(*args: Any) -> Any:
        CALLS.append("compiled")
        return graph(*args)

    return call


def _rule(p: Tensor, g: Tensor, lr: float) -> Tensor:
    return p - lr * g


class Plain(torch.optim.Optimizer):
    """Gradient descent by a rule that may be another's."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        self.steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, group["lr"])

    def move(self, p: Tensor, lr: float) -> None:
        assert p.grad is not None
        p.sub_(p.grad, alpha=lr)


class Compiling(Plain):
    """Its rule is compiled, and says so whenever it runs compiled."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, lr)
        self.rule = torch.compile(_rule, backend=backend)

    def step(self) -> None:  # type: ignore[override]
        CALLS.append("step")
        super().step()

    def move(self, p: Tensor, lr: float) -> None:
        assert p.grad is not None
        p.copy_(self.rule(p, p.grad, lr))


class CompilingWhole(Compiling):
    """It refuses to run uncompiled."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, lr)
        self.rule = torch.compile(_rule, backend=backend, fullgraph=True)


class CompiledNet(nn.Module):
    """A part of it is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)
        self.part = torch.compile(lambda x, weight: torch.tanh(x @ weight.T), backend=backend)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            CALLS.append("step")
        return self.part(inputs, self.linear.weight).squeeze(-1) + self.linear.bias


class TwoStates(Plain):
    """Takes its gradients at y and is to be used at the average x of all y, which `eval` puts in; after schedule-free.

    It begins in neither state: a step before `train` raises, as in the authors' own package.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, lr)
        self.training: bool | None = None

    @torch.no_grad()
    def train(self) -> None:
        if self.training is False:
            self._swap()
        self.training = True

    @torch.no_grad()
    def eval(self) -> None:
        if self.training is True:
            self._swap()
        self.training = False

    def _swap(self) -> None:
        for p, state in self.state.items():
            aside = p.detach().clone()
            p.copy_(state["other"])
            state["other"] = aside

    def step(self) -> None:  # type: ignore[override]
        if self.training is not True:
            raise RuntimeError("train() was not called before a step")
        super().step()

    def move(self, p: Tensor, lr: float) -> None:
        super().move(p, lr)
        state = self.state[p]
        average = state.setdefault("other", p.detach().clone())
        state["t"] = state.get("t", 0) + 1
        average.lerp_(p, 1 / state["t"])


class HalfMomentum(Plain):
    """Its momentum is bfloat16, to which torch's load_state_dict gives its parameter's dtype."""

    def move(self, p: Tensor, lr: float) -> None:
        m = self.state[p].setdefault("m", torch.zeros_like(p, dtype=torch.bfloat16))
        assert p.grad is not None
        p.sub_(m.mul_(0.9).add_(p.grad.bfloat16()).float(), alpha=lr)


class DoubleMomentum(Plain):
    """Its momentum is float64."""

    def move(self, p: Tensor, lr: float) -> None:
        m = self.state[p].setdefault("m", torch.zeros_like(p, dtype=torch.float64))
        assert p.grad is not None
        p.sub_(m.mul_(0.9).add_(p.grad.double()).float(), alpha=lr)


class Counting(Plain):
    """Its rate falls by a count of steps that is an attribute."""

    def move(self, p: Tensor, lr: float) -> None:
        super().move(p, lr / self.steps**0.5)


class Buffered(nn.Module):
    """Divides by a running size of its inputs, which it does not save."""

    size: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)
        self.register_buffer("size", torch.ones(()), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.size.mul_(0.9).add_(inputs.abs().mean(), alpha=0.1)
        return self.linear(inputs / self.size).squeeze(-1)  # type: ignore[no-any-return]


class Drawing(nn.Module):
    """Shakes its inputs in training, by Python's generator and NumPy's."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            DRAWS.append(float(np.random.rand()))
            inputs = inputs * (0.5 + DRAWS[-1]) + 0.1 * random.random()
        return self.linear(inputs).squeeze(-1)  # type: ignore[no-any-return]


class Bounded(nn.Module):
    """Its embedding shortens what it looks up, in the weights themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(12, 6, max_norm=1.0), nn.Linear(6, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(torch.tanh(self.embedding(inputs[:, 0].abs().mul(4).long().clamp(max=11))))
        return found.squeeze(-1)


def _regression(model: nn.Module, *, seed: int) -> Problem:
    def batch(number: int) -> Batch:
        inputs = 3 * torch.randn(16, 6, generator=torch.Generator().manual_seed(1000 * seed + number))
        return Batch({"inputs": inputs, "targets": inputs.sum(1)}, samples=16)

    def stream(start: int) -> Iterator[Batch]:
        while True:
            yield batch(start)
            start += 1

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return (model(batch["inputs"]) - batch["targets"]).square().mean()  # type: ignore[no-any-return]

    return Problem(model, loss, stream, [batch(500), batch(501)], [batch(600 + i) for i in range(4)])


def _drawn(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def plain(seed: int, device: torch.device) -> Problem:
    return _regression(_drawn(lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), seed).to(device), seed=seed)


def compiled(seed: int, device: torch.device) -> Problem:
    return _regression(_drawn(CompiledNet, seed).to(device), seed=seed)


def buffered(seed: int, device: torch.device) -> Problem:
    return _regression(_drawn(Buffered, seed).to(device), seed=seed)


def drawing(seed: int, device: torch.device) -> Problem:
    return _regression(_drawn(Drawing, seed).to(device), seed=seed)


def bounded(seed: int, device: torch.device) -> Problem:
    return _regression(_drawn(Bounded, seed).to(device), seed=seed)


def deaf(seed: int, device: torch.device) -> Problem:  # noqa: ARG001
    """It takes no notice of its seed."""
    return plain(0, device)
