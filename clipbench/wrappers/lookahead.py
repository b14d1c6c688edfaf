"""Lookahead: every k steps, the weights return part of the way to those of k steps before."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def build(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    k: int = 5,
    alpha: float = 0.5,
) -> "Lookahead":
    """Build the wrapper.

    With the slow weights φ, at first the initial weights, after every k-th step θ of the optimizer inside:

        φ ← φ + α(θ − φ),    θ ← φ

    Source: Zhang, Lucas, Hinton & Ba (2019), arXiv:1907.08610, algorithm 1.

    Args:
        optimizer: what takes the fast steps.
        named_parameters: the parameters by name.
        k: how many fast steps make a slow one, at least 1.
        alpha: the share of the way that a slow step goes, above 0 and at most 1; 1 changes nothing.

    Raises:
        ValueError: k or alpha outside its bounds.
    """
    if k < 1:
        raise ValueError(f"k is {k}: it must be at least 1")
    if not 0.0 < alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}: it must be above 0 and at most 1")
    return Lookahead(optimizer, [parameter for _, parameter in named_parameters], k=k, alpha=alpha)


class Lookahead:
    """The wrapper; `build` describes it."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], *, k: int, alpha: float
    ) -> None:
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.steps = 0
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {p: {"slow": p.detach().clone()} for p in parameters}

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """A fast step, by a closure if what is inside takes one, and every k-th time a slow one."""
        if closure is None:
            self.optimizer.step()
        else:
            self.optimizer.step(closure)  # type: ignore[arg-type]  # torch's annotation has a float
        self.steps += 1
        if self.steps % self.k:
            return
        with torch.no_grad():
            for parameter, own in self.state.items():
                own["slow"].lerp_(parameter, self.alpha)
                parameter.copy_(own["slow"])
