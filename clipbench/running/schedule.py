"""Learning-rate schedules: a factor of the arm's own rate as a function of progress through the budget."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from numbers import Real
from operator import attrgetter

import torch

from clipbench.errors import ClipbenchError
from clipbench.records import Schedule

_LOOKED_AT = 100  # steps of progress at which a function of the user's is tried before it is used


def factor(schedule: Schedule, progress: float) -> float:
    """What the learning rate is multiplied by when the fraction `progress` of the budget is spent.

    With w = warmup, f = final and q = (p − w)/(1 − w): p/w while p < w; then 1 (constant), 1 − (1 − f)q (linear)
    or f + (1 − f)(1 + cos πq)/2 (cosine; Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, without restarts). With
    d = decay, wsd is 1 up to 1 − d, then 1 − (1 − f)(p − 1 + d)/d (Hu et al. 2024, arXiv:2404.06395).

    >>> warmed = Schedule("linear", warmup=0.2, final=0.5)
    >>> [factor(warmed, progress) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.75, 0.5]
    """
    if progress < schedule.warmup:
        return progress / schedule.warmup
    rest = (progress - schedule.warmup) / (1.0 - schedule.warmup)
    match schedule.use:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - (1.0 - schedule.final) * rest
        case "cosine":
            return schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + math.cos(math.pi * rest))
        case "wsd":
            fallen = max(0.0, (progress - 1.0 + schedule.decay) / schedule.decay)
            return 1.0 - (1.0 - schedule.final) * fallen
    raise ClipbenchError(f"there is no schedule '{schedule.use}'", remedy="run the spec again")


def _of_the_user(use: str) -> Callable[[float], float]:
    """A function of the user's own, whose values are checked.

    Raises:
        ClipbenchError: at the first value that is no factor.
    """
    module, _, name = use.partition(":")
    function = attrgetter(name)(import_module(module))

    def checked(progress: float) -> float:
        value = function(progress)
        if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) < math.inf:
            message = f"the schedule '{use}' is {value!r} at a progress of {progress:g}"
            raise ClipbenchError(message, remedy="it must be a number of at least 0: the factor of the learning rate")
        return float(value)

    for place in range(_LOOKED_AT + 1):
        checked(place / _LOOKED_AT)
    return checked


class ScheduledRates:
    """The learning rates of an optimizer's groups, each set to its own base rate times the schedule's factor."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        self._optimizer = optimizer
        self._factor = _of_the_user(schedule.use) if schedule.code else partial(factor, schedule)
        self._flat = schedule.use == "constant" and schedule.warmup == 0.0
        if not self._flat and any("lr" not in group for group in optimizer.param_groups):
            raise ValueError(f"a {schedule.use} schedule needs an optimizer whose parameter groups have an 'lr'")
        self.base: Sequence[float] = [float(group.get("lr", math.nan)) for group in optimizer.param_groups]

    def set(self, progress: float) -> None:
        """Set the rates to what the schedule says at this fraction of the budget."""
        if self._flat:
            return
        if len(self._optimizer.param_groups) != len(self.base):
            message = (
                f"the optimizer had {len(self.base)} parameter groups, and has {len(self._optimizer.param_groups)}"
            )
            raise ClipbenchError(
                message, remedy="a schedule needs the groups that it began with; make them when it is built"
            )
        scale = self._factor(progress)
        for group, base in zip(self._optimizer.param_groups, self.base, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(base * scale)
            else:
                group["lr"] = base * scale

    def current(self) -> float:
        """The learning rate now; NaN for an optimizer that has none, or has groups with different ones."""
        rates = {float(group.get("lr", math.nan)) for group in self._optimizer.param_groups}
        return rates.pop() if len(rates) == 1 else math.nan
