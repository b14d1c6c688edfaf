"""Losses and models that are different each time that they are computed, by a memory outside the state_dict."""

import functools
import itertools
import math
import random
from array import array
from collections import OrderedDict, UserDict, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.tasks.quadratic import build as quadratic

Loss = Callable[[nn.Module, Tensor], Any]
calls = 0


def mean(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).mean()  # type: ignore[no-any-return]


class Criterion(nn.Module):
    """A loss over its running average."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.ones(()))

    def forward(self, model: nn.Module, x: Tensor) -> Tensor:
        average = self.get_buffer("average")
        return mean(model, x) / average.mul_(0.9).add_(0.2)


class Learned(nn.Module):
    """A loss with weights of its own, whose gradients add up."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.scale.grad = torch.ones(())

    def forward(self, model: nn.Module, x: Tensor) -> Tensor:
        with torch.enable_grad():
            torch.autograd.backward(self.scale * 2)
        return mean(model, x) * (self.scale.grad or 0)


class Curriculum:
    """An object with counters; its method is the loss."""

    seen = 0

    def __init__(self) -> None:
        self.calls = 0

    def loss(self, model: nn.Module, x: Tensor) -> Tensor:
        self.calls += 1
        return mean(model, x) * self.calls

    @classmethod
    def of_class(cls, model: nn.Module, x: Tensor) -> Tensor:
        cls.seen += 1
        return mean(model, x) * cls.seen


class Slotted:
    __slots__ = ("__hidden", "calls")

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        self.calls += 1
        self.__hidden = getattr(self, "_Slotted__hidden", 0) + 1
        return mean(model, x) * (self.calls + self.__hidden)


class Named(dict[str, int]):
    """A dict that counts what is written into it."""

    written = 0

    def __setitem__(self, name: str, value: int) -> None:
        self.written += 1
        super().__setitem__(name, value)


class Rows(list[Any]):
    pass


class Ordered(OrderedDict[str, int]):
    pass


class Own(torch.Tensor):
    pass


class Counting(nn.Module):
    """A model that reads its factor off something it keeps."""

    def __init__(self, keep: object, factor: Callable[[Any], Any]) -> None:
        super().__init__()
        self.keep, self.factor = keep, factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor(self.keep)  # type: ignore[no-any-return]


class OfTheClass(nn.Module):
    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).seen += 1
        type(self).latest = x  # type: ignore[attr-defined]
        return x * self.seen


def of_the_class() -> tuple[nn.Module, Loss]:
    OfTheClass.seen = 0
    return OfTheClass(), mean


class Hidden(nn.Module):
    """Keeps a module out of torch's sight."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "norm", nn.BatchNorm1d(2, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        norm: nn.BatchNorm1d = self.norm  # type: ignore[assignment]
        norm(x)
        assert norm.running_mean is not None
        return x * norm.running_mean


def closure_with(kept: Any, factor: Callable[[Any], Any]) -> tuple[nn.Module, Loss]:
    return nn.Identity(), lambda model, x: mean(model, x) * factor(kept)


def attribute(keep: object, factor: Callable[[Any], Any]) -> tuple[nn.Module, Loss]:
    return Counting(keep, factor), mean


def nonlocal_number() -> tuple[nn.Module, Loss]:
    average = 1.0

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        nonlocal average
        average *= 0.9
        return mean(model, x) / average

    return nn.Identity(), loss


def without_a_value_yet() -> tuple[nn.Module, Loss]:
    late: int

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        nonlocal late
        try:
            late += 1
        except NameError:
            late = 1
        return mean(model, x) * late

    return nn.Identity(), loss


def global_number() -> tuple[nn.Module, Loss]:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        global calls
        calls += 1
        return mean(model, x) * calls

    return nn.Identity(), loss


def default(model: nn.Module, x: Tensor, kept: list[int] = []) -> Tensor:  # noqa: B006
    kept.append(1)
    return mean(model, x) * len(kept)


def attribute_of_a_function(model: nn.Module, x: Tensor) -> Tensor:
    attribute_of_a_function.calls = getattr(attribute_of_a_function, "calls", 0) + 1  # type: ignore[attr-defined]
    return mean(model, x) * attribute_of_a_function.calls  # type: ignore[attr-defined, no-any-return]


def partial(kept: list[int], model: nn.Module, x: Tensor) -> Tensor:
    return default(model, x, kept)


def hook() -> tuple[nn.Module, Loss]:
    model, state = nn.Identity(), [0]

    def multiply(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        return out * add(state)

    model.register_forward_hook(multiply)
    return model, mean


def hook_that_is_a_method_of_a_list() -> tuple[nn.Module, Loss]:
    model, inputs = nn.Identity(), Rows()
    model.register_forward_pre_hook(functools.partial(note, inputs.append))
    return model, lambda model, x: mean(model, x) * len(inputs)


def note(into: Callable[[Any], None], _: nn.Module, x: Any) -> None:
    into(x)


def hook_of_a_weight() -> tuple[nn.Module, Loss]:
    model, seen = nn.Linear(2, 1), [0]

    def count(_: Tensor) -> None:
        add(seen)

    model.weight.register_hook(count)

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        with torch.enable_grad():
            torch.autograd.grad(mean(model, x), list(model.parameters()))
        return mean(model, x) * seen[0]

    return model, loss


def class_with_a_closure() -> tuple[nn.Module, Loss]:
    calls = 0

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return x * calls

    return Model(), mean


def decorated() -> tuple[nn.Module, Loss]:
    _, loss = nonlocal_number()

    @torch.no_grad()
    @functools.wraps(loss)
    def again(model: nn.Module, x: Tensor) -> Any:
        return loss(model, x)

    return nn.Identity(), again


def add(kept: Any) -> int:
    kept[0] += 1
    return int(kept[0])


def add_by_name(kept: Any) -> int:
    kept["n"] = kept.get("n", 0) + 1
    return int(kept["n"]) + getattr(kept, "written", 0)


def grow(kept: Any) -> int:
    kept.append(1)
    return len(kept)


def moved(kept: Tensor) -> float:
    return float(kept.mul_(2).add_(1).as_subclass(torch.Tensor).sum())


def resized(kept: Tensor) -> float:
    kept.data = torch.ones(len(kept) + 1)
    return float(kept.sum())


def inferred(kept: Tensor) -> float:
    with torch.inference_mode():
        return float(kept.mul_(2).sum())


def member(kept: set[int]) -> int:
    kept.add(len(kept))
    return len(kept)


def shared(kept: Any) -> int:
    first, rows = kept
    return next(first) * 100 + next(rows[0])  # type: ignore[no-any-return]


def draw(kept: Any) -> float:
    return float(kept.random())


def cycle() -> Iterator[int]:
    rows = itertools.cycle([1, 2, 3, 5, 7, 11, 13])
    next(rows)
    return rows


def second_round() -> Iterator[int]:
    rows = cycle()
    for _ in range(8):
        next(rows)
    return rows


COUNT = itertools.count(1)


def build(seed: int, device: torch.device, *, memory: str) -> Problem:
    """The quadratic task, with a loss that remembers."""
    problem, (model, loss), x = quadratic(seed, device, dimension=20, noise=0.1), CASES[memory](), torch.ones(3, 2)

    def remembering(weights: nn.Module, batch: Batch) -> Tensor:
        return problem.loss(weights, batch) * (1 + 0.5 * math.sin(float(loss(model, x))))

    return replace(problem, loss=remembering)


CASES: dict[str, Callable[[], tuple[nn.Module, Loss]]] = {
    "a loss that is a module with a buffer": lambda: (nn.Identity(), Criterion()),
    "a loss that is a module with gradients": lambda: (nn.Identity(), Learned()),
    "a number in a closure": nonlocal_number,
    "a name in a closure that has no value yet": without_a_value_yet,
    "a global number": global_number,
    "a list in a closure": lambda: closure_with([0], add),
    "a dict in a closure": lambda: closure_with({}, add_by_name),
    "a tensor in a closure": lambda: closure_with(torch.ones(1), add),
    "an array in a closure": lambda: closure_with(np.ones(1), add),
    "an array of objects in a closure": lambda: closure_with(np.array([[1], 2], dtype=object), lambda a: add(a[0])),
    "bytes in a closure": lambda: closure_with(bytearray(1), add),
    "an array of Python in a closure": lambda: closure_with(array("d", [0.0]), add),
    "a generator of torch in a closure": lambda: closure_with(
        torch.Generator(), lambda g: torch.rand(1, generator=g).item()
    ),
    "a generator of Python in a closure": lambda: closure_with(random.Random(1), draw),
    "a generator of NumPy in a closure": lambda: closure_with(np.random.default_rng(1), draw),
    "an old generator of NumPy in a closure": lambda: closure_with(np.random.RandomState(1), draw),
    "bits of NumPy in a closure": lambda: closure_with(np.random.PCG64(1), lambda bits: bits.random_raw() % 1000),
    "a count in a closure": lambda: closure_with(itertools.count(1), next),
    "a row's iterator in a closure": lambda: closure_with(iter([1, 2, 3, 5, 7, 11, 13, 17]), next),
    "a method of an object": lambda: (nn.Identity(), Curriculum().loss),
    "a method of a class": lambda: (nn.Identity(), Curriculum.of_class),
    "an object with slots": lambda: (nn.Identity(), Slotted()),
    "a mutable default": lambda: (nn.Identity(), default),
    "an attribute of a function": lambda: (nn.Identity(), attribute_of_a_function),
    "a partial function": lambda: (nn.Identity(), functools.partial(partial, [])),
    "a decorated function": decorated,
    "a hook with a closure": hook,
    "a hook that grows a list": hook_that_is_a_method_of_a_list,
    "a hook of a weight": hook_of_a_weight,
    "a class with a closure": class_with_a_closure,
    "an attribute of a class": of_the_class,
    "a module by object.__setattr__": lambda: (Hidden(), mean),
    "a module in a list": lambda: attribute(
        [nn.BatchNorm1d(1, affine=False)], lambda kept: kept[0](torch.ones(3, 1)).sum() + kept[0].running_mean.item()
    ),
    "a dict of a derived class": lambda: attribute(Named(), add_by_name),
    "an ordered dict of a derived class": lambda: attribute(Ordered(), add_by_name),
    "a UserDict": lambda: attribute(UserDict(), add_by_name),
    "a list of a derived class": lambda: attribute(Rows(), grow),
    "a deque": lambda: attribute(deque([1]), grow),
    "a set": lambda: attribute(set(), member),
    "a tensor of a derived class in a list": lambda: attribute([Own([1.0])], lambda kept: moved(kept[0])),
    "a tensor that is given a new size": lambda: attribute(torch.ones(2), resized),
    "a tensor made in inference mode": lambda: attribute(torch.inference_mode()(torch.ones)(2), inferred),
    "a list in a tuple": lambda: attribute(([0],), lambda kept: add(kept[0])),
    "an object in a dict in a list": lambda: attribute([{"a": SimpleNamespace(of=[0])}], lambda k: add(k[0]["a"].of)),
    "a count as an attribute": lambda: attribute(itertools.count(1), next),
    "a count that two lists have": lambda: attribute([COUNT, [COUNT]], shared),
    "a cycle in its first round": lambda: attribute(cycle(), next),
    "a cycle in its second round": lambda: attribute(second_round(), next),
}
