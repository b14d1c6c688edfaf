"""Tasks and optimizers with state where no state_dict looks, for the tests of resumption and of looking at a model."""

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem


def batch(seed: int, index: int) -> Batch:
    x = 3 * torch.randn(16, 6, generator=torch.Generator().manual_seed(1000 * seed + index))
    return Batch({"x": x, "y": x.sum(1)}, samples=16)


def problem(model: nn.Module, seed: int, train: Callable[[int], Iterator[Batch]] | None = None) -> Problem:
    def batches(start: int) -> Iterator[Batch]:
        return (batch(seed, index) for index in itertools.count(start))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        mean: Tensor = ((model(batch["x"]).squeeze(-1) - batch["y"]) ** 2).mean()
        return mean

    return Problem(model, loss, train or batches, [batch(seed, 500 + i) for i in range(2)], [batch(seed, 600)])


class Scaled(nn.Module):
    """A linear model whose input is divided by what a subclass keeps of earlier inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)

    def divisor(self, x: Tensor) -> Any:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x / self.divisor(x))
        return found


class Buffered(Scaled):
    """In a buffer that is not persistent."""

    size: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("size", torch.ones(()), persistent=False)

    def divisor(self, x: Tensor) -> Any:
        if self.training:
            self.size.mul_(0.9).add_(x.abs().mean(), alpha=0.1)
        return self.size


class Counting(Scaled):
    """In a number that is an attribute."""

    calls = 0

    def divisor(self, x: Tensor) -> Any:  # noqa: ARG002
        self.calls += self.training
        return 1 + 0.1 * self.calls


class Remembering(Scaled):
    """In a list of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def divisor(self, x: Tensor) -> Any:
        if self.training:
            self.seen = [*self.seen[-2:], x.abs().mean()]
        return 1 + sum(self.seen)


class Noisy(Scaled):
    """In a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.drawer = np.random.default_rng(7)

    def divisor(self, x: Tensor) -> Any:  # noqa: ARG002
        return 1 + self.drawer.random() if self.training else 1.5


class GloballyNoisy(Scaled):
    """In the generators of Python and NumPy."""

    def divisor(self, x: Tensor) -> Any:  # noqa: ARG002
        return 1 + random.random() + np.random.random() if self.training else 2.0


class _Box:
    calls = 0


class Boxed(Scaled):
    """In an object that nothing plain can hold: it does not come back."""

    def __init__(self) -> None:
        super().__init__()
        self.box = _Box()

    def divisor(self, x: Tensor) -> Any:  # noqa: ARG002
        self.box.calls += self.training
        return 1 + 0.1 * self.box.calls


MODELS = {made.__name__: made for made in (Buffered, Counting, Remembering, Noisy, GloballyNoisy, Boxed)}


def task(seed: int, device: torch.device, *, model: str = "Counting") -> Problem:
    torch.manual_seed(seed)
    return problem(MODELS[model]().to(device), seed)


def streaming(seed: int, device: torch.device) -> Problem:
    """Takes no notice of where its batches are to start: they go on from where they were in this process."""
    torch.manual_seed(seed)
    drawn = itertools.count()
    return problem(nn.Linear(6, 1).to(device), seed, lambda _: (batch(seed, next(drawn)) for _ in itertools.count()))


def shuffling(seed: int, device: torch.device) -> Problem:
    """Draws the order of each epoch of eight steps from a generator that goes on where it was: right at first only."""
    torch.manual_seed(seed)
    drawer = random.Random(seed)

    def batches(start: int) -> Iterator[Batch]:
        for epoch in itertools.count(start // 8):
            order = list(range(8))
            drawer.shuffle(order)
            yield from (batch(seed, index) for index in order[start % 8 if epoch == start // 8 else 0 :])

    return problem(nn.Linear(6, 1).to(device), seed, batches)


def ending(seed: int, device: torch.device, *, batches: int = 8) -> Problem:
    """Has so many training batches and no more."""
    torch.manual_seed(seed)
    return problem(
        nn.Linear(6, 1).to(device), seed, lambda start: iter([batch(seed, i) for i in range(start, batches)])
    )


def jittering(seed: int, device: torch.device) -> Problem:
    """Rounds otherwise at each try, as a kernel without a deterministic form does."""
    torch.manual_seed(seed)
    made = problem(nn.Linear(6, 1).to(device), seed)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return made.loss(model, batch) * (1 + 1e-4 * random.SystemRandom().random())

    return Problem(made.model, loss, made.train_batches, made.eval_batches, made.probe_batches)


class _Rule(torch.optim.Optimizer):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        self.begin()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(self.update(parameter), alpha=group["lr"])

    def begin(self) -> None: ...

    def update(self, parameter: nn.Parameter) -> Tensor:
        raise NotImplementedError

    def momentum(self, parameter: nn.Parameter, dtype: torch.dtype) -> Tensor:
        kept = self.state[parameter].setdefault("m", torch.zeros_like(parameter, dtype=dtype))
        kept.mul_(0.9).add_(parameter.grad.to(dtype))  # type: ignore[union-attr]
        return kept.to(parameter.dtype)  # type: ignore[no-any-return]


class HalfMomentum(_Rule):
    """A momentum in bfloat16, which torch's load_state_dict casts to float32."""

    def update(self, parameter: nn.Parameter) -> Tensor:
        return self.momentum(parameter, torch.bfloat16)


class DoubleMomentum(_Rule):
    """A momentum in float64."""

    def update(self, parameter: nn.Parameter) -> Tensor:
        return self.momentum(parameter, torch.float64)


class Delayed(_Rule):
    """Gradients of two steps before, from a deque in its state."""

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        waiting = self.state[parameter].setdefault("waiting", deque(maxlen=3))
        waiting.append(parameter.grad.clone())
        return waiting[0]  # type: ignore[no-any-return]


class Projector:
    """Of a class of its own, in the state."""

    scale = 0.5


class Projecting(_Rule):
    """Keeps an object in its state, which cannot be read back without running code."""

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad * self.state[parameter].setdefault("projector", Projector()).scale  # type: ignore[no-any-return]


class Counter(_Rule):
    """A rate that falls with a count of its own."""

    steps = 0

    def begin(self) -> None:
        self.steps += 1

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad / math.sqrt(self.steps)


class Drawing(_Rule):
    """Noise from a generator that is an attribute."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.drawer = torch.Generator().manual_seed(3)

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad + torch.randn(parameter.shape, generator=self.drawer)


class HiddenMomentum(_Rule):
    """A momentum by parameter, in a dict that has no names: it does not come back."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.kept: dict[nn.Parameter, Tensor] = {}

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        self.kept[parameter] = 0.9 * self.kept.get(parameter, torch.zeros_like(parameter)) + parameter.grad
        return self.kept[parameter]


class _Clock:
    ticks = 0


class LateClock(_Rule):
    """A count in an object of its own, which acts from the tenth step on: it does not come back."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.clock = _Clock()

    def begin(self) -> None:
        self.clock.ticks += 1

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad / (1 + self.clock.ticks // 10)


class MeanAside(_Rule):
    """Weights to be used that are a mean in objects of its own: the path comes back, the mean does not."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.means = [nn.Parameter(p.detach().clone()) for group in self.param_groups for p in group["params"]]

    def begin(self) -> None:
        for mean, parameter in zip(self.means, self.param_groups[0]["params"], strict=True):
            mean.lerp_(parameter, 0.1)

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad

    def train(self) -> None:
        self._swap()

    def eval(self) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for mean, parameter in zip(self.means, self.param_groups[0]["params"], strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)


class InnerOptimizer(_Rule):
    """Steps by an optimizer of its own as well, at each sixth step: what that keeps does not come back."""

    steps = 0

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.inner = torch.optim.Adam(self.param_groups[0]["params"], lr=lr)

    def begin(self) -> None:
        self.steps += 1
        if self.steps % 6 == 0:
            self.inner.step()

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad


class ClassCount(_Rule):
    """A count that the class has for all: a new process begins anew."""

    steps = 0

    def begin(self) -> None:
        type(self).steps += 1

    def update(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad / (1 + type(self).steps // 10)


class Averaging(torch.optim.SGD):
    """SGD that is to be used at the mean of its iterates: train() and eval() move between the two, and round."""

    in_training = False

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        if not self.in_training:
            raise RuntimeError("Optimizer was not in train mode when step is called")
        super().step()
        for parameter in self._all():
            state = self.state[parameter]
            state["count"] = state.get("count", 0) + 1
            mean = state.setdefault("mean", parameter.detach().clone())
            mean.add_(parameter - mean, alpha=1 / state["count"])

    @torch.no_grad()
    def eval(self) -> None:
        if self.in_training:
            for parameter in self._all():
                if "mean" in self.state[parameter]:
                    gap = parameter - self.state[parameter]["mean"]
                    parameter.copy_(self.state[parameter]["mean"])
                    self.state[parameter]["mean"] = gap  # what train() needs; and a trace that it leaves in the state
        self.in_training = False

    @torch.no_grad()
    def train(self) -> None:
        if not self.in_training:
            for parameter in self._all():
                if "mean" in self.state[parameter]:
                    gap, mean = self.state[parameter]["mean"], parameter.detach().clone()
                    parameter.add_(gap)
                    self.state[parameter]["mean"] = mean
        self.in_training = True

    def _all(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]
