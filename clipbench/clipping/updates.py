"""The clip of an update: what an optimizer made of its gradients, seen as θ_after − θ_before."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from clipbench.clipping.coordinates import Scope, clip_
from clipbench.errors import ClipbenchError

WeightsById = dict[nn.Parameter, Tensor]


def weights_before(parameters: Iterable[nn.Parameter], *, clip: str) -> WeightsById:
    """A copy of the parameters from before a step.

    Raises:
        ClipbenchError: a dtype in which the difference would be lost; `clip` is how the error calls the clip.
    """
    before = {}
    for parameter in parameters:
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ClipbenchError(
                f"a parameter is {parameter.dtype}: its update is lost in the rounding of θ_after − θ_before",
                where=clip,
                remedy="keep parameters in float32 or float64, or use of='gradient'",
            )
        before[parameter] = parameter.detach().clone()
    return before


def clip_updates(
    lists: Sequence[Sequence[nn.Parameter]],
    updates: Sequence[Sequence[Tensor]],
    scopes: Sequence[Scope],
    *,
    before: Mapping[nn.Parameter, Tensor],
    keep_length: bool,
) -> None:
    """θ ← θ_before + clip(θ_after − θ_before), in place, for each list at the threshold of its scope.

    Args:
        lists: the parameters, at θ_after.
        updates: θ_after − θ_before of each; they are used up.
        scopes: of each list.
        before: θ_before.
        keep_length: bring all the clipped updates to their former length together.
    """
    below = [
        [(update.abs() <= scope.threshold) & (not keep_length) for update in of_list]
        for of_list, scope in zip(updates, scopes, strict=True)
    ]
    clip_(updates, scopes, keep_length=keep_length)
    for parameters, of_list, masks in zip(lists, updates, below, strict=True):
        for parameter, update, kept in zip(parameters, of_list, masks, strict=True):
            moved = update.add_(before[parameter])
            # old + (θ_after − old) need not be θ_after in floating point: where nothing is clipped, keep it.
            # A NaN is below nothing, so it takes the clip's own rule for NaN.
            torch.where(kept, parameter, moved, out=parameter)
