"""Where the adjoint engine is faster than jets."""

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipbench.contracts import Batch, Loss

DIRECTIONS = 12
"""At least so many: with 8 the two take about as long (0.95 to 1.08 times), with 4 or fewer jets are ahead."""
NUMBERS = 90_000
"""In the mean tensor that an operation makes: adjoints take more operations, which counts where these are small.

Time of adjoints over that of jets along 12 directions, one thread of a CPU: 0.83 to 0.93 for a mean of 97,000 to
153,000 numbers, 0.91 to 1.04 for 55,000 to 76,000, 0.95 to 1.3 for 17,000, 1.6 for less; over memory, 0.9 to 1.4.
"""

_known: "weakref.WeakKeyDictionary[nn.Module, dict[object, bool]]" = weakref.WeakKeyDictionary()
"""By model and the shapes of a batch, whether tensors are large enough."""


def adjoint_is_faster(model: nn.Module, loss: Loss, batch: Batch, directions: int) -> bool:
    """Whether it is, by the number of directions and the size of the tensors of a forward pass, on a CPU.

    The answer depends on shapes alone, so that an interrupted run goes on by the same engine. A GPU was not measured.
    """
    device = next(model.parameters()).device
    if directions < DIRECTIONS or device.type != "cpu":
        return False
    known = _known.setdefault(model, {})
    shapes = tuple((name, tensor.shape) for name, tensor in batch.tensors.items())
    if shapes not in known:
        known[shapes] = _mean_size(model, loss, batch.to(device)) >= NUMBERS
    return known[shapes]


def _mean_size(model: nn.Module, loss: Loss, batch: Batch) -> float:
    """How many numbers an operation makes in the mean; 0 where the loss cannot be computed without a graph."""
    try:
        sizes = _Sizes()
        with torch.no_grad(), sizes:
            loss(model, batch)
    except Exception:  # a loss is anybody's code; the engine will meet the same, and say so
        return 0.0
    return sizes.numbers / max(sizes.tensors, 1)


class _Sizes(TorchDispatchMode):
    """Inside, the tensors that operations make are counted, with their numbers; views are not."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors: int = 0
        self.numbers: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            made = [each for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
            self.tensors += len(made)
            self.numbers += sum(each.numel() for each in made)
        return result
