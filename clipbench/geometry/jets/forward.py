"""Loss, slopes and curvatures of a batch by one forward pass of second-order jets."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clipbench.contracts import Batch, Loss
from clipbench.geometry.directions import UnitDirections
from clipbench.geometry.jets.jet import Jet, parts
from clipbench.geometry.jets.propagation import Propagation
from clipbench.geometry.losses import require_dependent, require_finite_scalar
from clipbench.geometry.products import widened


class _Objective(nn.Module):
    """loss(model, ·) as a module, so that torch's own functional call can put jets in the weights' places."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(self.model, batch)


def by_jets(
    model: nn.Module, loss: Loss, batches: Sequence[Batch], units: UnitDirections, *, chunk: int
) -> tuple[list[float], list[list[tuple[float, float]]]]:
    """The loss of each batch, and for each batch (slope, curvature) along each direction.

    Each direction's v has the length 1 but for the rounding to the parameters' dtype, which is divided out.

    Raises:
        MissingRuleError: an operation has no rule.
        ClipbenchError, NonFiniteLossError: as `directional_curvature`.
    """
    objective = _Objective(model, loss)
    device = next(iter(units.parameters.values())).device
    losses: list[float] = []
    rows: list[list[tuple[float, float]]] = [[] for _ in batches]
    for first in range(0, len(units), chunk):
        ks = range(first, min(first + chunk, len(units)))
        stacked = units.stacked(ks)
        lengths = _lengths([v for v in stacked.values() if v is not None])
        jets = _jets(units, stacked)
        for i, batch in enumerate(batches):
            with Propagation():  # type: ignore[no-untyped-call]
                found = functional_call(objective, jets, (batch.to(device),), tie_weights=True)
            value, slopes, curvatures = parts(found)
            require_finite_scalar(value, i)
            if not isinstance(found, Jet):
                require_dependent(loss(model, batch.to(device)), i)
            if first == 0:
                losses.append(float(value))
            for k in range(len(ks)):
                slope = 0.0 if slopes is None else float(slopes[k]) / lengths[k]
                rows[i].append((slope, 0.0 if curvatures is None else float(curvatures[k]) / lengths[k] ** 2))
    return losses, rows


def _jets(units: UnitDirections, stacked: dict[str, Tensor | None]) -> dict[str, Tensor]:
    jets: dict[str, Tensor] = {}
    for name, weight in units.parameters.items():
        v = stacked[name]
        if v is None:  # nothing moves here: an ordinary tensor is faster
            jets[f"model.{name}"] = weight.detach()
            continue
        moving = Jet(weight.detach(), v, None)
        moving.shared = True  # it is the parameter itself
        jets[f"model.{name}"] = moving
    return jets


def _lengths(stacks: list[Tensor]) -> list[float]:
    squares = [torch.stack([widened(v).square().sum() for v in stack]) for stack in stacks]
    found: list[float] = torch.stack(squares).sum(0).sqrt().tolist()
    return found
