"""Loss, slopes and curvatures of a batch by one forward pass of second-order jets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clipbench.contracts import Batch, Loss
from clipbench.geometry.directions import UnitDirections
from clipbench.geometry.found import Carried, Rows
from clipbench.geometry.jets.chunks import Limits, in_chunks
from clipbench.geometry.jets.jet import Jet, MissingRuleError, parts
from clipbench.geometry.jets.propagation import Propagation, Watch
from clipbench.geometry.losses import require_dependent, require_finite_scalar


class JetObjective(nn.Module):
    """loss(model, ·) as a module, so that torch's own functional call can put jets in the weights' places."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch, then: Callable[[Tensor], Any]) -> Any:
        """What is made of the loss of a batch."""
        return then(self.loss(self.model, batch))

    def at(self, weights: Mapping[str, Tensor], batch: Batch, then: Callable[[Tensor], Any] = lambda loss: loss) -> Any:
        """The loss with these in the places of the model's weights, by their names in the model.

        Or what `then` makes of it, while they are there: a backward pass through checkpoints needs them.
        """
        named = {f"model.{name}": weight for name, weight in weights.items()}
        return functional_call(self, named, (batch, then), tie_weights=True)


def by_jets(
    model: nn.Module, loss: Loss, batches: Sequence[Batch], units: UnitDirections, *, limits: Limits
) -> Carried:
    """The loss of each batch, for each batch (slope, curvature) along each direction, and what they went through.

    Raises:
        MissingRuleError: an operation has no rule.
        ClipbenchError, NonFiniteLossError: as `directional_curvature`.
    """
    objective = JetObjective(model, loss)
    device = next(iter(units.parameters.values())).device
    losses: list[float] = []
    watches = [Watch(units.parameters.values()) for _ in batches]

    def measured(ks: range) -> Rows:
        stacked, lengths = units.stacked(ks)
        jets = moving(units, stacked)
        rows = []
        for i, batch in enumerate(batches):
            with Propagation(watch=watches[i]):
                batch_loss = objective.at(jets, batch.to(device))
            watches[i].require_jet(batch_loss, "the loss")
            value, slopes, curvatures = parts(batch_loss)
            require_finite_scalar(value, i)
            if not isinstance(batch_loss, Jet):
                require_dependent(loss(model, batch.to(device)), i)
            if len(losses) == i:
                losses.append(float(value))
            rows.append(per_unit_length(slopes, curvatures, lengths))
        return rows

    rows = in_chunks(measured, len(units), limits=limits)
    return Carried(losses, rows or [[] for _ in batches], [watch.operations for watch in watches])


def moving(units: UnitDirections, stacked: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The weights as jets along some directions; a weight that none of them moves stays an ordinary tensor.

    Raises:
        MissingRuleError: a weight of complex numbers.
    """
    jets: dict[str, Tensor] = {}
    for name, weight in units.parameters.items():
        v = stacked[name]
        if v is None:  # an ordinary tensor is faster
            jets[name] = weight.detach()
            continue
        if weight.is_complex():
            raise MissingRuleError(f"complex weights ({name!r})")
        jet = Jet(weight.detach(), v, None)
        jet.shared = True  # it is the parameter itself
        jets[name] = jet
    return jets


def per_unit_length(
    slopes: Tensor | None, curvatures: Tensor | None, lengths: Sequence[float]
) -> list[tuple[float, float]]:
    """(slope, curvature) along directions of length 1, from those along directions of these lengths."""
    nothing = torch.zeros(len(lengths))
    first, second = ((nothing if t is None else t).tolist() for t in (slopes, curvatures))
    return [(a / length, b / length**2) for a, b, length in zip(first, second, lengths, strict=True)]
