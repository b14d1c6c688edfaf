"""What two optimizers differ in is seen wherever they keep it."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clipbench.records import Value
from clipbench.running.differing import alike, held, other_values, same


class Slotted:
    __slots__ = ("rate",)

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def at(self, step: int) -> float:
        return self.rate * step


@dataclass
class Config:
    rate: float
    within: object = None


def counting(rate: float) -> Iterator[float]:
    while True:
        yield rate


def following(rate: float) -> Callable[[], float]:
    return lambda: rate


def circular(rate: float) -> list[Any]:
    circle: list[Any] = [rate]
    circle.append(circle)
    return circle


KEPT: list[Callable[[float], object]] = [
    lambda rate: rate,
    lambda rate: {"deep": [(rate,)]},
    lambda rate: {rate},
    lambda rate: Config(0.0, Config(rate)),
    lambda rate: Slotted(rate),
    lambda rate: Slotted(rate).at,
    lambda rate: functools.partial(following, rate),
    lambda rate: functools.partial(following, rate=rate),
    lambda rate: lambda given=rate: given,
    following,
    counting,
    circular,
    lambda rate: torch.tensor([rate, float("nan")]),
    lambda rate: np.array([rate]),
    lambda rate: np.float32(rate),
    lambda rate: torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=rate),
]


def keeping(kept: object) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    optimizer.kept = kept  # type: ignore[attr-defined]
    return optimizer


@pytest.mark.parametrize("keep", KEPT)
def test_a_number_is_seen_wherever_an_optimizer_keeps_it(keep: Callable[[float], object]) -> None:
    assert alike(held(keeping(keep(0.5))), held(keeping(keep(0.5))))
    assert not alike(held(keeping(keep(0.5))), held(keeping(keep(0.25))))


def test_the_state_of_a_parameter_is_kept_as_well() -> None:
    optimizers = [torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9) for _ in range(2)]
    for size, optimizer in enumerate(optimizers):
        optimizer.param_groups[0]["params"][0].grad = torch.full((1,), float(size))
        optimizer.step()
    assert not alike(*map(held, optimizers))


def test_parameters_and_hooks_are_nothing_that_an_optimizer_keeps() -> None:
    one, other = keeping(None), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    other.kept = None  # type: ignore[attr-defined]
    other.register_step_pre_hook(lambda *_: None)
    assert alike(held(one), held(other))


def test_weights_that_are_not_numbers_any_more_are_the_same() -> None:
    nan = {"w": torch.tensor([1.0, float("nan")])}
    assert same(nan, {"w": torch.tensor([1.0, float("nan")])})
    assert not same(nan, {"w": torch.tensor([1.0, 2.0])})


@pytest.mark.parametrize("value", [True, 3, 0, -1, 0.9, 0.0, 1.0, "fast", None, (0.9, 0.999), (), (None, 3)])
def test_an_option_is_varied_by_values_of_its_own_shape(value: Value) -> None:
    others = other_values(value)
    assert others
    assert value not in others
    if value is not None:
        assert {type(other) for other in others} == {type(value)}
