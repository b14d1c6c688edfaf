"""Independent answers: slow, plain, and written without the code they check."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipbench.contracts import Batch, Loss


def naive_clip(values: Sequence[float], fraction: float) -> tuple[float, list[float]]:
    """The threshold and the clipped values, by sorting a Python list (no NaN)."""
    magnitudes = sorted((abs(value) for value in values), reverse=True)
    threshold = magnitudes[int(len(values) * fraction)]
    return threshold, [(1.0 if value >= 0 else -1.0) * min(abs(value), threshold) for value in values]


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors as one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def flat_loss(model: nn.Module, loss: Loss, batches: Sequence[Batch]) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The weighted mean loss as a function of one float64 vector of weights, and the vector of the present ones."""
    wide = copy.deepcopy(model).double().eval()
    weights = trainable(wide)
    sizes = [w.numel() for w in weights.values()]
    total = sum(batch.weight for batch in batches)

    def evaluate(point: Tensor) -> Tensor:
        parts = [part.view_as(w) for part, w in zip(point.split(sizes), weights.values(), strict=True)]
        moved = dict(zip(weights, parts, strict=True))

        def at_the_point(*inputs: Tensor) -> Tensor:
            result: Tensor = functional_call(wide, moved, inputs)
            return result

        terms = [batch.weight * loss(at_the_point, _widened(batch)) for batch in batches]  # type: ignore[arg-type]
        return torch.stack(terms).sum() / total

    return evaluate, flat(list(weights.values()))


def dense_hessian(model: nn.Module, loss: Loss, batches: Sequence[Batch]) -> Tensor:
    """∇²L as a matrix over all trainable parameters in order, float64."""
    evaluate, point = flat_loss(model, loss, batches)
    with sdpa_kernel(SDPBackend.MATH):
        hessian: Tensor = torch.autograd.functional.hessian(evaluate, point)
    return hessian


def dense_gradient(model: nn.Module, loss: Loss, batches: Sequence[Batch]) -> Tensor:
    """∇L as a vector over all trainable parameters in order, float64."""
    evaluate, point = flat_loss(model, loss, batches)
    return torch.autograd.functional.jacobian(evaluate, point)  # type: ignore[no-any-return]


def central_difference(function: Callable[[Tensor], Tensor], point: Tensor, unit: Tensor, *, step: float) -> float:
    """f'(x) along v by (f(x+hv) − f(x−hv))/2h: wrong by O(h²) and by rounding over h."""
    with torch.no_grad():
        return float(function(point + step * unit) - function(point - step * unit)) / (2 * step)


def second_difference(function: Callable[[Tensor], Tensor], point: Tensor, unit: Tensor, *, step: float) -> float:
    """f''(x) along v by (f(x+hv) − 2f(x) + f(x−hv))/h²: forward passes alone."""
    with torch.no_grad():
        ends = function(point + step * unit) + function(point - step * unit)
        return float(ends - 2 * function(point)) / step**2


@dataclass(frozen=True)
class Trace:
    """All that a measurement could disturb, copied."""

    weights: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...]
    gradients: tuple[Tensor | None, ...]
    modes: tuple[bool, ...]
    random_state: Tensor
    identities: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module) -> "Trace":
        parameters, buffers = list(model.parameters()), list(model.buffers())
        gradients = [p.grad for p in parameters]
        return cls(
            weights=tuple(p.detach().clone() for p in parameters),
            buffers=tuple(buffer.clone() for buffer in buffers),
            gradients=tuple(None if g is None else g.clone() for g in gradients),
            modes=tuple(module.training for module in model.modules()),
            random_state=torch.get_rng_state(),
            identities=tuple(id(thing) for thing in (*parameters, *buffers, *gradients)),
        )

    def assert_unchanged(self, model: nn.Module) -> None:
        now = Trace.of(model)
        assert now.identities == self.identities
        assert now.modes == self.modes
        assert torch.equal(now.random_state, self.random_state)
        for before, after in zip(self._tensors(), now._tensors(), strict=True):
            assert (before is None and after is None) or same_bits(before, after)

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return (*self.weights, *self.buffers, *self.gradients)


def same_bits(left: Tensor | None, right: Tensor | None) -> bool:
    """Equal bit for bit: signs of zero count, and a NaN equals itself."""
    if left is None or right is None:
        return left is right
    as_bytes = [t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (left, right)]
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(*as_bytes)


def _widened(batch: Batch) -> Batch:
    wide = {name: t.double() if t.is_floating_point() else t for name, t in batch.tensors.items()}
    return Batch(tensors=wide, samples=batch.samples, tokens=batch.tokens)
