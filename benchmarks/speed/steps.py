"""What is timed beside the threshold itself: the sort it replaces, and whole steps with the clip and without."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timing import Figure, Timer, count, medians
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.threshold import coordinate_threshold
from clipbench.records import ClipPlace

FRACTIONS = (0.1, 0.5)


def full_sort(tensors: Sequence[Tensor]) -> Tensor:
    """The baseline of issue and paper alike: every magnitude, in one list, in order."""
    return torch.cat([tensor.abs().flatten() for tensor in tensors]).sort(descending=True).values


class Stepper:
    """An optimizer over parameters whose raw gradient is put back before each timed step."""

    def __init__(self, raw: Sequence[Tensor], make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> None:
        generator = torch.Generator().manual_seed(1)
        self.raw = raw
        self.weights = [nn.Parameter(torch.randn(g.shape, generator=generator).to(g.device)) for g in raw]
        for weight, gradient in zip(self.weights, raw, strict=True):
            weight.grad = gradient.clone()
        self.optimizer = make(self.weights)

    def clipped(self, fraction: float, *, of: ClipPlace) -> "Stepper":
        CoordinateClip(self.optimizer, fraction, of=of)
        return self

    def timed(self, timer: Timer) -> float:
        torch._foreach_copy_([weight.grad for weight in self.weights if weight.grad is not None], list(self.raw))
        before = self.weights[0].detach().flatten()[:1000].clone()
        seconds = timer(self.optimizer.step)
        if torch.equal(before, self.weights[0].detach().flatten()[:1000]):
            raise SystemExit("a timed step moved nothing: its time means nothing")
        return seconds


def adam(weights: list[nn.Parameter], **form: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, lr=1e-3, **form)


def sgd(weights: list[nn.Parameter], **form: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, lr=1e-3, momentum=0.9, dampening=0.9, **form)


def check_exact(tensors: Sequence[Tensor]) -> None:
    ordered = full_sort(tensors)
    for fraction in FRACTIONS:
        found, expected = coordinate_threshold(tensors, fraction), ordered[int(count(tensors) * fraction)]
        if not torch.equal(found, expected):
            raise SystemExit(f"the threshold at {fraction:g} is {found.item()}, and the sort's {expected.item()}")


def steps(raw: Sequence[Tensor], *, rounds: int, timer: Timer) -> list[Figure]:
    """Whole steps: torch's fused optimizer with the hook, over torch's foreach optimizer without."""
    made = {
        "adam": Stepper(raw, lambda weights: adam(weights, foreach=True)),
        "adam+clip": Stepper(raw, lambda weights: adam(weights, fused=True)).clipped(0.5, of="numerator"),
        "sgd": Stepper(raw, lambda weights: sgd(weights, foreach=True)),
        "sgd+clip": Stepper(raw, lambda weights: sgd(weights, fused=True)).clipped(0.1, of="gradient"),
    }
    found = medians({name: partial(one.timed, timer) for name, one in made.items()}, rounds=rounds)
    where = f"{count(raw) / 1e6:.3g} M"
    return [
        Figure(f"whole step, {what}, {where}", found[f"{name}+clip"], found[f"{name}+clip"] / found[name], unit, target)
        for what, name, unit, target in (
            ("Adam clipped 50 % (numerator)", "adam", "× torch's foreach Adam", 1.2),
            ("SGD with momentum clipped 10 %", "sgd", "× torch's foreach SGD", 2.5),
        )
    ]
