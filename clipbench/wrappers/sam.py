"""SAM: step by the gradient of a nearby point that has a higher loss; two passes a step."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def build(
    optimizer: torch.optim.Optimizer, named_parameters: Iterable[tuple[str, nn.Parameter]], *, rho: float = 0.05
) -> "SAM":
    """Build the wrapper.

    With the gradient g of a batch at θ, the optimizer inside steps from θ by the gradient of the same batch at

        θ + ρ·g/‖g‖

    where the norm is over all parameters together; a gradient of zero moves nothing. A clip belongs to the optimizer
    inside: it acts on the second gradient.

    Source: Foret, Kleiner, Mobahi & Neyshabur (2021), arXiv:2010.01412, algorithm 1.

    Args:
        optimizer: what takes the step.
        named_parameters: the parameters by name.
        rho: ρ, how far away the nearby point is, in the units of the weights; at least 0.

    Raises:
        ValueError: rho is negative.
    """
    if not rho >= 0.0:
        raise ValueError(f"rho is {rho}: it must be at least 0")
    return SAM(optimizer, [parameter for _, parameter in named_parameters], rho=rho)


class SAM:
    """The wrapper; `build` describes it."""

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], *, rho: float) -> None:
        self.optimizer, self.rho = optimizer, rho
        self.parameters = list(parameters)

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """One step; the loss is that where it begins."""
        loss = closure()
        before = self._climb()
        closure()
        with torch.no_grad():
            for parameter, weight in before:
                parameter.copy_(weight)
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def _climb(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Go to the nearby point; the weights from before."""
        moving = [(p, p.grad) for p in self.parameters if p.grad is not None]
        norms = [torch.linalg.vector_norm(gradient) for _, gradient in moving]
        norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
        scale = torch.where(norm > 0.0, self.rho / norm, torch.zeros_like(norm))
        before = [(parameter, parameter.detach().clone()) for parameter, _ in moving]
        for parameter, gradient in moving:
            parameter.add_(gradient * scale)
        return before
