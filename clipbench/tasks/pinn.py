"""A physics-informed network for Poisson's equation in one dimension: its loss differentiates the network."""

from math import pi

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss, Problem
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import endless, generator, with_weights_of

EVALUATED = 256  # points of an even grid


class PoissonNetwork(nn.Module):
    """u(x) = x (1 − x) N(x), zero at both ends whatever the weights; N has two hidden layers of tanh."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(layers[0].bias, -1, 1)  # the units bend all over the interval
        first, second, last = layers
        self.network = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Points (B,) → u at them (B,)."""
        u: Tensor = x * (1 - x) * self.network(2 * x[:, None] - 1).squeeze(1)
        return u


def solution(x: Tensor, frequency: int) -> Tensor:
    """u*(x) = sin πx + (sin kπx)/k with k the frequency: both parts have slopes of the same size."""
    return torch.sin(pi * x) + torch.sin(frequency * pi * x) / frequency


def source(x: Tensor, frequency: int) -> Tensor:
    """f = −u*″ = π² (sin πx + k sin kπx)."""
    return pi**2 * (torch.sin(pi * x) + frequency * torch.sin(frequency * pi * x))


def residual_loss(frequency: int) -> Loss:
    """The mean over points of (u″ + f)², over the mean square of f on the interval: 1 for u = 0, 0 for u*."""
    mean_square = pi**4 * (1 + frequency**2) / 2

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():  # u″ is needed where no gradient by the weights is
            x = batch["x"].detach().requires_grad_()
            (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
            mean = (bend + batch["source"]).square().mean() / mean_square
        return mean if wanted else mean.detach()

    return loss


def squared_error(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Σ (u − u*)² and Σ u*²: their quotient is the square of the relative error in L²."""
    expected = batch["solution"]
    return (model(batch["x"]) - expected).square().sum(), expected.square().sum()


def build(seed: int, device: torch.device, *, width: int = 32, frequency: int = 4, batch: int = 64) -> Problem:
    """−u″ = f on [0, 1], u(0) = u(1) = 0, with two frequencies in f, by the residual alone (arXiv:1711.10561).

    It is there for a loss of another kind: it holds two derivatives by x, so that the curvature of its probes comes
    from double backward. SGD with momentum and Adam are both expected to solve it, Adam more exactly, with a wide
    spread of seeds. Points are drawn evenly from the interval. Those of probes and of the evaluation, an even grid,
    are the same for every seed; a seed decides the initial weights and the training points. A sample is a point.

    The metric is the square of the relative error in L² against the known solution.

    Args:
        seed: of the weights and of the training batches.
        device: where the model goes; batches stay on the CPU.
        width: of both hidden layers.
        frequency: k, of the faster part of the solution, at least 2; the slower one has 1.
        batch: points in a training batch.

    Raises:
        ValueError: an option makes no sense.
    """
    require_positive(width=width, batch=batch)
    if frequency < 2:
        raise ValueError(f"frequency must be at least 2, not {frequency}")

    def at(x: Tensor) -> Batch:
        tensors = {"x": x, "source": source(x, frequency), "solution": solution(x, frequency)}
        return Batch(tensors, samples=len(x))

    def drawn(*key: int | str) -> Batch:
        return at(torch.rand(batch, generator=generator("pinn", *key)))

    return Problem(
        model=with_weights_of(seed, lambda: PoissonNetwork(width)).to(device),
        loss=residual_loss(frequency),
        train_batches=endless(lambda step: drawn(seed, step)),
        eval_batches=[at((torch.arange(EVALUATED) + 0.5) / EVALUATED)],
        probe_batches=[drawn("probe", part) for part in range(4)],
        metrics={"squared_error": squared_error},
    )
