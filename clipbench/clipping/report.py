"""What a clip did at a step, and whether it erased what it should have clipped."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipbench.clipping.coordinates import Scope


@dataclass(frozen=True)
class Clipped:
    """What a clip did at one step, over each list of coordinates that shares a threshold: one, unless told otherwise.

    `scopes` are in the order of the optimizer's groups and parameters; those without a gradient are in none.
    """

    scopes: tuple[Scope, ...]

    @property
    def threshold(self) -> Tensor:
        """τ, a 0-d tensor, the largest where there are several; infinite where the fraction is 0."""
        return self.scopes[0].threshold if len(self.scopes) == 1 else self.thresholds.max()

    @property
    def thresholds(self) -> Tensor:
        """τ of each scope, a 1-d tensor."""
        return torch.cat([scope.threshold.reshape(1) for scope in self.scopes])

    @property
    def clipped(self) -> Tensor:
        """How many coordinates had |a| > τ, a 0-d integer tensor; off the CPU, reading it waits for the device."""
        return self.scopes[0].clipped if len(self.scopes) == 1 else torch.stack([s.clipped for s in self.scopes]).sum()

    @property
    def n(self) -> int:
        """How many coordinates the fraction was taken of: those with a gradient, without zeros if they are ignored."""
        return sum(scope.n for scope in self.scopes)

    @property
    def asked(self) -> int:
        """How many coordinates were to be clipped at most, the sum of int(n·fraction): 0 where the clip does nothing.

        Fewer are clipped where some are exactly as large as τ.
        """
        return sum(scope.asked for scope in self.scopes)


def nothing_clipped(tensors: Sequence[Tensor]) -> Clipped:
    """What a fraction of 0 does."""
    device = tensors[0].device
    infinite, none = torch.full((), math.inf, device=device), torch.zeros((), dtype=torch.int64, device=device)
    return Clipped((Scope(infinite, none, sum(tensor.numel() for tensor in tensors), 0.0),))


class ZeroWatch:
    """Counts the steps at which a threshold of 0 erased something, and warns of the first that it sees."""

    def __init__(self) -> None:
        self._on_cpu = 0
        self._on_device: Tensor | None = None
        self._steps = 0
        self._warned = False

    def count(self) -> int:
        """At how many steps so far a threshold of 0 erased something; off the CPU it waits for the device."""
        return self._on_cpu if self._on_device is None else int(self._on_device)

    def see(self, last: Clipped, *, what: str, fraction: float) -> None:
        """Count what a clip did at a step, and warn of it where it is the first to erase something."""
        self._steps += 1
        if last.scopes[0].threshold.device.type == "cpu":
            erased = [s for s in last.scopes if s.threshold.item() == 0.0 and s.clipped.item() > 0]
            self._on_cpu += bool(erased)
        else:
            erased = self._see_on_device(last)
        if erased and not self._warned:
            self._warned = True
            _warn(erased[0], what=what, fraction=fraction)

    def _see_on_device(self, last: Clipped) -> list[Scope]:
        anything = torch.stack([scope.erased for scope in last.scopes]).any()
        if self._on_device is None:
            self._on_device = torch.zeros((), dtype=torch.int64, device=anything.device)
        self._on_device += anything  # in place, so that a captured graph counts as well
        # Looking costs a wait for the device: at steps 1, 2, 4, 8 and so on only, and never where it is not allowed.
        looks = not self._warned and self._steps & (self._steps - 1) == 0
        if not looks or (anything.is_cuda and torch.cuda.is_current_stream_capturing()):
            return []
        return [scope for scope in last.scopes if bool(scope.erased)] if bool(anything) else []


def _warn(scope: Scope, *, what: str, fraction: float) -> None:
    zeros = scope.n - int(scope.clipped)
    warnings.warn(
        f"the clip's threshold is 0 and erases the whole {what}: {zeros / scope.n:.1%} of its {scope.n} coordinates "
        f"are exactly zero, and fraction={fraction:g} reaches into them; below about {1 - zeros / scope.n:.3g} it "
        "would not, and ignore_zeros=True takes the fraction of the others",
        RuntimeWarning,
        stacklevel=2,
    )
