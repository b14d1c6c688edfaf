"""Length of the mini-batch gradient before any clip, and of each update."""

from collections.abc import Iterator

from clipbench.contracts import Snapshot
from clipbench.geometry.products import norm
from clipbench.records import GRADIENT_NORM, UPDATE_NORM

QUANTITIES = {"gradient_norm": ("log", "neither", "mean"), "update_norm": ("log", "neither", "mean")}


def measure(snapshot: Snapshot) -> Iterator[tuple[str, str, float]]:
    """How long the gradient and the steps are: ‖g‖₂ and, for each direction, ‖u‖₂ with u = θ_after − θ_before.

    One ℓ2 norm over all parameters, summed in float64. The gradient is the raw one of the step's mini-batch and
    belongs to no direction.
    """
    yield "", GRADIENT_NORM, norm(snapshot.gradient.values())
    for direction, update in snapshot.directions.items():
        yield direction, UPDATE_NORM, norm(update.values())
