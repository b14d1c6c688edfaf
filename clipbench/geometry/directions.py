"""Directions in the space of all trainable parameters: checked, measured, and cut to unit length."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipbench.errors import ClipbenchError
from clipbench.geometry.losses import WHERE
from clipbench.geometry.products import lengths, narrowed, widened

Direction = Mapping[str, Tensor] | Callable[[str], Tensor]
"""u: a tensor for each name of a trainable parameter, or what makes that tensor whenever it is asked for it."""

FAR = 100
"""The binary exponent from which a power of two, or what it multiplies, may leave float32's range."""


@dataclass(frozen=True)
class UnitDirections:
    """K directions v = u/‖u‖, made from u as they are needed, so that only the u's are kept.

    - `names`, `norms`: of the directions that have a length, ‖u‖ over all parameters at once.
    - `moved`: for each, the names of the parameters at which it is not zero.
    - `parameters`: θ by name; a v has their shapes, dtypes and device.
    """

    directions: Sequence[Direction]
    names: Sequence[str]
    norms: Sequence[float]
    moved: Sequence[Collection[str]]
    parameters: Mapping[str, nn.Parameter]

    def __len__(self) -> int:
        return len(self.names)

    def unit(self, k: int) -> list[Tensor]:
        """v of direction k, parameter by parameter; its length is 1 but for the rounding to their dtypes."""
        return [
            narrowed(widened(_wide_enough(tensor_of(self.directions[k], name), weight)) / self.norms[k], weight)
            for name, weight in self.parameters.items()
        ]

    def stacked(self, ks: range) -> tuple[dict[str, Tensor | None], list[float]]:
        """Some directions by parameter name, (len(ks), *shape), None where all of them are zero; and their lengths.

        Each is u times a power of two, which rounds nothing, of a length from 1 to 2.
        """
        factors = [_factor(self.norms[k]) for k in ks]
        stacks: dict[str, Tensor | None] = {}
        for name, weight in self.parameters.items():
            stacks[name] = None
            if any(name in self.moved[k] for k in ks):
                stacks[name] = stack = weight.new_empty(len(ks), *weight.shape)
                for row, k in enumerate(ks):
                    _write(stack[row], tensor_of(self.directions[k], name).detach(), factors[row])
        return stacks, [self.norms[k] * factor for k, factor in zip(ks, factors, strict=True)]


def unit_directions(
    directions: Mapping[str, Direction], parameters: Mapping[str, nn.Parameter]
) -> tuple[UnitDirections, dict[str, float]]:
    """The directions that have a length, and the norms of all of them by name.

    Raises:
        ClipbenchError: a direction with missing or unknown names, or of a wrong shape, or a callable that gives
            another tensor the second time.
    """
    found = {name: _checked_lengths(name, direction, parameters) for name, direction in directions.items()}
    norms = {name: whole for name, (whole, _) in found.items()}
    real = [name for name in directions if 0.0 < norms[name] < math.inf]
    moved = [{parameter for parameter, length in found[n][1].items() if length != 0.0} for n in real]
    return UnitDirections([directions[n] for n in real], real, [norms[n] for n in real], moved, parameters), norms


def tensor_of(direction: Direction, parameter: str) -> Tensor:
    """u at one parameter."""
    return direction[parameter] if isinstance(direction, Mapping) else direction(parameter)


def _checked_lengths(
    name: str, direction: Direction, parameters: Mapping[str, nn.Parameter]
) -> tuple[float, dict[str, float]]:
    """‖u‖, and the length at each parameter; a device is waited for once."""
    if isinstance(direction, Mapping):
        missing, unknown = sorted(parameters.keys() - direction.keys()), sorted(direction.keys() - parameters.keys())
        if missing or unknown:
            raise ClipbenchError(
                f"direction {name!r} lacks {missing} and has {unknown}, which the model does not train",
                where=WHERE,
                remedy="give one tensor for each name of model.named_parameters() that requires a gradient",
            )
    else:
        _require_pure(name, direction, parameters)
    parts = lengths(_checked(name, direction, parameter, weight) for parameter, weight in parameters.items())
    whole, *each = torch.stack([torch.linalg.vector_norm(parts), *parts]).tolist()
    return whole, dict(zip(parameters, each, strict=True))


def _require_pure(name: str, direction: Direction, parameters: Mapping[str, nn.Parameter]) -> None:
    """The first parameter is asked for twice: a callable that draws random numbers, or hands out, is found so."""
    first, weight = next(iter(parameters.items()))
    once, twice = (_checked(name, direction, first, weight) for _ in range(2))
    if not torch.allclose(once, twice, rtol=0, atol=0, equal_nan=True):
        raise ClipbenchError(
            f"direction {name!r} is a callable that gives two tensors for {first!r}",
            where=WHERE,
            remedy="it is called several times, and must give the same tensor every time",
        )


def _checked(name: str, direction: Direction, parameter: str, weight: nn.Parameter) -> Tensor:
    try:
        u = tensor_of(direction, parameter)
    except KeyError as error:
        raise ClipbenchError(
            f"direction {name!r} is a callable that knows nothing of {parameter!r}",
            where=WHERE,
            remedy="it is called with each name of model.named_parameters() that requires a gradient",
        ) from error
    if not isinstance(u, Tensor):
        raise ClipbenchError(f"direction {name!r} is {type(u).__name__} at {parameter!r}, not a tensor", where=WHERE)
    if u.shape != weight.shape:
        raise ClipbenchError(
            f"direction {name!r} has the shape {tuple(u.shape)} at {parameter!r}, "
            f"where the parameter has {tuple(weight.shape)}",
            where=WHERE,
        )
    return u


def _wide_enough(u: Tensor, weight: Tensor) -> Tensor:
    """A real direction of a complex weight is one without an imaginary part."""
    return u.to(weight.dtype) if weight.is_complex() else u


def _factor(length: float) -> float:
    """The power of two that brings a length to at least 1 and below 2."""
    return math.ldexp(1.0, 1 - math.frexp(length)[1])


def _write(row: Tensor, u: Tensor, factor: float) -> None:
    """u times the factor, in a dtype that loses nothing of it before it has its size."""
    if abs(math.log2(factor)) > FAR:
        row.copy_(widened(u).view(u.shape) * factor)
    elif (u.dtype, u.device) == (row.dtype, row.device):
        torch.mul(u, factor, out=row)
    else:
        row.copy_(u.to(torch.promote_types(u.dtype, row.dtype)) * factor)


def rounding(parameters: Mapping[str, nn.Parameter]) -> float:
    """ε of the coarsest dtype among the parameters."""
    return max(torch.finfo(weight.dtype).eps for weight in parameters.values())
