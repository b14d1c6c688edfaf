"""Directions in the space of all trainable parameters: checked, measured, and cut to unit length."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipbench.errors import ClipbenchError
from clipbench.geometry.losses import WHERE
from clipbench.geometry.products import norm, widened

Direction = Mapping[str, Tensor]


@dataclass(frozen=True)
class UnitDirections:
    """K directions v = u/‖u‖, made from u as they are needed, so that only the u's are kept.

    - `names`, `norms`: of the directions that have a length, ‖u‖ over all parameters at once.
    - `parameters`: θ by name; a v has their shapes, dtypes and device.
    """

    directions: Sequence[Direction]
    names: Sequence[str]
    norms: Sequence[float]
    parameters: Mapping[str, nn.Parameter]

    def __len__(self) -> int:
        return len(self.names)

    def unit(self, k: int) -> list[Tensor]:
        """v of direction k, parameter by parameter."""
        return [self._piece(k, name) for name in self.parameters]

    def stacked(self, ks: range) -> dict[str, Tensor | None]:
        """The v's of some directions by parameter name, (len(ks), *shape); None where all of them are zero."""
        pieces = {}
        for name, weight in self.parameters.items():
            stack = weight.new_empty(len(ks), *weight.shape)
            for row, k in enumerate(ks):
                stack[row] = self._piece(k, name)
            pieces[name] = stack if bool(stack.any()) else None
        return pieces

    def _piece(self, k: int, name: str) -> Tensor:
        weight = self.parameters[name]
        return (widened(self.directions[k][name]) / self.norms[k]).view(weight.shape).to(weight)


def unit_directions(
    directions: Mapping[str, Direction], parameters: Mapping[str, nn.Parameter]
) -> tuple[UnitDirections, dict[str, float]]:
    """The directions that have a length, and the norms of all of them by name.

    Raises:
        ClipbenchError: a direction with missing or unknown names, or of a wrong shape.
    """
    norms = {name: _checked_norm(name, direction, parameters) for name, direction in directions.items()}
    real = [name for name in directions if 0.0 < norms[name] < math.inf]
    return UnitDirections([directions[n] for n in real], real, [norms[n] for n in real], parameters), norms


def _checked_norm(name: str, direction: Direction, parameters: Mapping[str, nn.Parameter]) -> float:
    missing, unknown = sorted(parameters.keys() - direction.keys()), sorted(direction.keys() - parameters.keys())
    if missing or unknown:
        raise ClipbenchError(
            f"direction {name!r} lacks {missing} and has {unknown}, which the model does not train",
            where=WHERE,
            remedy="give one tensor for each name of model.named_parameters() that requires a gradient",
        )
    for parameter, weight in parameters.items():
        if direction[parameter].shape != weight.shape:
            raise ClipbenchError(
                f"direction {name!r} has the shape {tuple(direction[parameter].shape)} at {parameter!r}, "
                f"where the parameter has {tuple(weight.shape)}",
                where=WHERE,
            )
    return norm(direction[parameter] for parameter in parameters)


def rounding(parameters: Mapping[str, nn.Parameter]) -> float:
    """ε of the coarsest dtype among the parameters."""
    return max(torch.finfo(weight.dtype).eps for weight in parameters.values())
