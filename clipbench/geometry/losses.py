"""What a loss must be for its derivatives to mean something."""

from torch import Tensor

from clipbench.errors import ClipbenchError

WHERE = "directional_curvature"


class NonFiniteLossError(ClipbenchError):
    """The loss at the point is NaN or infinite, so it has no slope and no curvature."""


def require_finite_scalar(loss: Tensor, batch: int) -> None:
    """Raises ClipbenchError for a loss that is not 0-d, NonFiniteLossError for NaN or infinity, naming the batch."""
    if loss.dim() != 0:
        raise ClipbenchError(
            f"the loss of batch {batch} has the shape {tuple(loss.shape)}, not a scalar's",
            where=WHERE,
            remedy="return the mean over the batch's terms",
        )
    if not bool(loss.isfinite()):
        raise NonFiniteLossError(f"the loss of batch {batch} is {float(loss.detach())}", where=WHERE)


def require_dependent(loss: Tensor, batch: int) -> None:
    """Raises ClipbenchError for a loss without a graph, naming the batch."""
    if not loss.requires_grad:
        raise ClipbenchError(
            f"the loss of batch {batch} does not depend on any trainable parameter",
            where=WHERE,
            remedy="look for a detach() or a no_grad() in the loss",
        )
