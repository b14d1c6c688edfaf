"""A loss over fixed batches at a model's present weights: its value, its gradient, its Hessian times vectors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.contexts import eager, full_float32, math_attention, without_autocast
from clipbench.geometry.directions import Direction, rounding, tensor_of
from clipbench.geometry.double_backward import gradient_with_graph, hessian_times
from clipbench.geometry.losses import WHERE, require_dependent, require_finite_scalar
from clipbench.geometry.products import coordinates_of
from clipbench.geometry.splitting import in_pieces
from clipbench.geometry.undisturbed import undisturbed

T = TypeVar("T")


@dataclass(frozen=True)
class Objective:
    """L(θ), the mean of `loss(model, batch)` over all terms of all batches, each batch weighted by `Batch.weight`.

    Everything is computed as `directional_curvature` does it: evaluation mode, uncompiled, no autocast, no TF32, MATH
    attention, the parameters' own dtype. The model is left bit for bit as it was.

    Raises:
        ClipbenchError: no trainable parameter, no batches, or a batch without terms.
    """

    model: nn.Module
    loss: Loss
    batches: Sequence[Batch]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ClipbenchError("the model has no trainable parameter", where=WHERE)
        if not self.batches:
            raise ClipbenchError("there are no batches to measure on", where=WHERE)
        if any(batch.weight <= 0 for batch in self.batches):
            raise ClipbenchError(
                "a batch has no terms in its loss",
                where=WHERE,
                remedy="leave it out, or correct its count of samples or tokens",
            )

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters by name, each tied weight once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @property
    def size(self) -> int:
        """n, how many coordinates there are."""
        return sum(coordinates_of(p) for p in self.parameters.values())

    @contextmanager
    def held_still(self) -> Iterator[torch.device]:
        """Inside, the model is ready to be looked at, on this device."""
        device = next(iter(self.parameters.values())).device
        with ExitStack() as stack:
            stack.enter_context(undisturbed(self.model, self.loss))
            stack.enter_context(eager())
            stack.enter_context(math_attention())
            stack.enter_context(full_float32())
            stack.enter_context(without_autocast(device))
            yield device

    def value(self) -> float:
        """L(θ), by forward passes alone; one that is not finite is returned as it is."""
        with self.held_still() as device, torch.no_grad():
            return self._mean(device)

    def gradient(self) -> dict[str, Tensor]:
        """∇L by parameter name; zero for one that takes no part.

        Raises:
            ClipbenchError: a loss that is not a scalar or does not depend on the weights.
            NonFiniteLossError: a loss of NaN or infinity.
        """
        parameters = self.parameters
        total = [torch.zeros_like(p) for p in parameters.values()]
        with self.held_still() as device, torch.enable_grad():
            for gradient, share in self._each(lambda i, batch: self._gradient(i, batch.to(device))):
                torch._foreach_add_(total, gradient, alpha=share)
        return dict(zip(parameters, total, strict=True))

    def gradient_and_products(self, vectors: Sequence[Direction]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """∇L, and Hv for each of the vectors, by double backward: one gradient with its graph for each batch.

        Raises:
            ClipbenchError: as `gradient`, or an operation whose second derivative torch gets wrong.
            NonFiniteLossError: a loss of NaN or infinity.
        """
        parameters = self.parameters
        names, weights = list(parameters), list(parameters.values())
        given = [[tensor_of(v, name).to(p).view_as(p) for name, p in parameters.items()] for v in vectors]
        slope = [torch.zeros_like(p) for p in weights]
        bends = [[torch.zeros_like(p) for p in weights] for _ in vectors]
        with self.held_still() as device, torch.enable_grad():
            for (gradient, products), share in self._each(lambda i, batch: self._products(i, batch.to(device), given)):
                torch._foreach_add_(slope, gradient, alpha=share)
                for product, bend in zip(products, bends, strict=True):
                    torch._foreach_add_(bend, product, alpha=share)
        return dict(zip(names, slope, strict=True)), [dict(zip(names, bend, strict=True)) for bend in bends]

    @contextmanager
    def along(self, u: Direction) -> Iterator[Callable[[float], float]]:
        """Inside, a function from t to L(θ + t·u), by forward passes alone; afterwards θ is back, bit for bit.

        A loss that is not finite there is returned as it is. θ + t·u is rounded to the parameters' dtype.
        """
        parameters = list(self.parameters.items())
        start = [p.detach().clone() for _, p in parameters]
        moves = [tensor_of(u, name).to(p).view_as(p) for name, p in parameters]
        with self.held_still() as device, torch.no_grad():

            def at(t: float) -> float:
                for (_, p), origin, move in zip(parameters, start, moves, strict=True):
                    p.copy_(torch.add(origin, move, alpha=t))
                return self._mean(device)

            try:
                yield at
            finally:
                for (_, p), origin in zip(parameters, start, strict=True):
                    p.copy_(origin)

    def blur(self, *losses: float) -> float:
        """How far apart two of these losses may be by rounding alone: 4ε of the largest, ε that of the dtype.

        A float is off by up to ε/2 of itself, and the mean over terms behind it by a few times as much.
        """
        return 4 * rounding(self.parameters) * max(abs(loss) for loss in losses)

    def _mean(self, device: torch.device) -> float:
        # Not fsum, which refuses opposite infinities.
        losses = self._each(lambda _, batch: float(self.loss(self.model, batch.to(device))))
        return sum(share * loss for loss, share in losses)

    def _each(self, measure: Callable[[int, Batch], T]) -> Iterator[tuple[T, float]]:
        """What is measured on each batch, or on parts of it where memory is short, with its share in the mean."""
        total = sum(batch.weight for batch in self.batches)
        for i, batch in enumerate(self.batches):
            for share, measured in in_pieces(self.model, self.loss, batch, partial(measure, i)):
                yield measured, share * (batch.weight / total)

    def _gradient(self, i: int, batch: Batch) -> list[Tensor]:
        loss = self.loss(self.model, batch)
        require_finite_scalar(loss, i)
        require_dependent(loss, i)
        parameters = list(self.parameters.values())
        return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))

    def _products(
        self, i: int, batch: Batch, vectors: Sequence[Sequence[Tensor]]
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        weights = list(self.parameters.values())
        _, gradient = gradient_with_graph(self.model, self.loss, batch, weights, index=i)
        return [g.detach() for g in gradient], [hessian_times(v, gradient, weights) for v in vectors]
