"""What two things keep is seen wherever they keep it, and nothing else is."""

import functools
import itertools
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.records import Value
from clipbench.running.differing import alike, other_values, same
from clipbench.running.held import MOST, held


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
    lambda rate: Named(rate),
    lambda rate: Listed([rate]),
    lambda rate: Spoken(rate=rate),
    lambda rate: itertools.count(rate),
    lambda rate: itertools.cycle([rate, 1.0]),
    lambda rate: iter([rate]),
    lambda rate: nn.ParameterList([nn.Parameter(torch.tensor(rate))]),
    lambda rate: torch.Generator().manual_seed(int(100 * rate)),
    lambda rate: random.Random(rate),
    lambda rate: np.random.default_rng(int(100 * rate)),
    lambda rate: torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.ones(1)], lr=0.1), int(100 * rate)),
    lambda rate: eval(f"lambda: {rate}"),
    lambda rate: _first if rate == 0.5 else _second,
    lambda rate: type("Classy", (), {"rate": rate})(),
]


class Named(NamedTuple):
    rate: float


class Listed(list[float]):
    """A list by another name."""


class Spoken(dict[str, float]):
    """A dict by another name."""


def _first() -> None: ...


def _second() -> None: ...


CALLS = {"made": 0}


def calling() -> int:
    return CALLS["made"]


def keeping(kept: object) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    optimizer.kept = kept  # type: ignore[attr-defined]
    return optimizer


def all_of(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    return held({"": optimizer}, trained=optimizer.param_groups[0]["params"])


@pytest.mark.parametrize("keep", KEPT)
def test_a_number_is_seen_wherever_an_optimizer_keeps_it(keep: Callable[[float], object]) -> None:
    assert alike(all_of(keeping(keep(0.5))), all_of(keeping(keep(0.5))))
    assert not alike(all_of(keeping(keep(0.5))), all_of(keeping(keep(0.25))))


def test_the_state_of_a_parameter_is_kept_as_well() -> None:
    optimizers = [torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9) for _ in range(2)]
    for size, optimizer in enumerate(optimizers):
        optimizer.param_groups[0]["params"][0].grad = torch.full((1,), float(size))
        optimizer.step()
    assert not alike(*map(all_of, optimizers))


def test_trained_weights_are_nothing_that_an_optimizer_keeps_but_what_hangs_on_them_is() -> None:
    one, other = keeping(None), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    other.kept = None  # type: ignore[attr-defined]
    assert alike(all_of(one), all_of(other))
    one.param_groups[0]["params"][0].calls = 3
    assert not alike(all_of(one), all_of(other))


def test_a_hook_of_the_users_is_followed_and_a_clip_is_not() -> None:
    one, other = keeping(None), keeping(None)
    clip = CoordinateClip(one, 0.5)
    CoordinateClip(other, 0.5)
    one.param_groups[0]["params"][0].grad = torch.ones(1)
    one.step()
    assert clip.last is not None
    assert alike(all_of(one), {**all_of(other), **{way: x for way, x in all_of(one).items() if "warned" in way}})
    for optimizer, rate in ((one, 1), (other, 2)):
        optimizer.register_step_pre_hook(lambda *_, rate=rate: rate and None)
    assert not alike(all_of(one), all_of(other))


def test_a_global_that_a_function_of_the_users_names_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = held({"": calling})
    monkeypatch.setitem(CALLS, "made", 5)
    assert not alike(before, held({"": calling}))


def test_what_a_library_keeps_is_not_looked_into() -> None:
    logger = logging.getLogger("clipbench.test")
    assert held({"logger": logger, "function": torch.nn.functional.relu, "module": torch}) == {
        "logger.kind": "Logger",
        "function": "torch.nn.functional.relu",
        "module": "torch",
    }


@pytest.mark.slow
def test_ever_so_many_things_are_looked_into_so_far_and_no_further() -> None:
    found = held({"many": list(range(3 * MOST))})
    assert MOST // 2 < len(found) <= MOST


@pytest.mark.slow
def test_a_chain_of_any_depth_can_be_followed() -> None:
    chain: Any = None
    for depth in range(20_000):
        chain = [chain, depth]
    assert len(held({"chain": chain})) == 20_001


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
