"""What no state_dict holds goes through a file and comes back as it was."""

import io
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clipbench.geometry import keeping

VALUES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "numbers": lambda: [True, 3, 2**200, -0.0, 1e300, 1 + 2j],
    "texts": lambda: ["", "é", b"", b"\x00\xff"],
    "types of torch": lambda: [torch.bfloat16, torch.device("cpu"), torch.Size([2, 3])],
    "tensor": lambda: torch.arange(6.0).view(2, 3),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "no elements": lambda: torch.zeros(0, 3),
    "expanded": lambda: torch.ones(1).expand(4),
    "transposed": lambda: torch.arange(6.0).view(2, 3).t(),
    "buffer": lambda: nn.Buffer(torch.ones(2)),
    "graph": lambda: torch.ones(2, requires_grad=True) * 2,
    "nested": lambda: [1, [torch.ones(2)], {"k": (1, torch.zeros(1))}],
    "sets": lambda: [{1, 2}, frozenset({"a"})],
    "deque": lambda: deque([1, torch.ones(1)], maxlen=3),
    "dicts": lambda: {"o": OrderedDict(b=1, a=2), "c": Counter("aab"), (1, "x"): {}},
    "default": lambda: defaultdict(list, {"a": [1]}),
    "arrays": lambda: [np.arange(5.0), np.zeros((0, 3)), np.array(3), np.array(["ab", "c"]), np.array([True])],
    "scalars": lambda: [np.float64(3.5), np.int8(-1), np.bool_(True)],
}
GENERATORS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch": (lambda: torch.Generator().manual_seed(3), lambda g: torch.randn(3, generator=g)),
    "Python": (lambda: random.Random(5), lambda g: (g.random(), g.gauss(0, 1))),
    "PCG64": (lambda: np.random.default_rng(3), lambda g: g.integers(0, 5, 3, dtype=np.int32)),
    "MT19937": (lambda: np.random.Generator(np.random.MT19937(3)), lambda g: g.standard_normal(3)),
    "Philox": (lambda: np.random.Generator(np.random.Philox(3)), lambda g: g.standard_normal(3)),
    "legacy": (lambda: np.random.RandomState(3), lambda g: g.standard_normal(3)),
}


def through_a_file(kept: Any) -> Any:
    file = io.BytesIO()
    torch.save(kept, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def written(thing: Any) -> str:
    """The thing with its kinds and all of its digits."""
    if isinstance(thing, list | tuple | deque | set | frozenset):
        return f"{type(thing).__name__}{[written(each) for each in thing]}{getattr(thing, 'maxlen', '')}"
    if isinstance(thing, dict):
        return f"{type(thing).__name__}{[(written(name), written(value)) for name, value in thing.items()]}"
    if isinstance(thing, torch.Tensor):
        return f"{thing.dtype}{tuple(thing.shape)}{thing.tolist()}"
    if isinstance(thing, np.ndarray | np.generic):
        return f"{type(thing)}{thing.dtype}{thing.shape}{thing.tolist()}"
    return f"{type(thing)}{thing!r}"


@pytest.mark.parametrize("kind", VALUES)
def test_plain_things_come_back_whatever_has_become_of_them(kind: str) -> None:
    make = VALUES[kind]
    kept = through_a_file(keeping.attributes(SimpleNamespace(x=make())))
    for now in ({}, {"x": make()}, {"x": None}, {"x": "text"}, {"x": torch.ones(7)}, {"x": [5]}, {"x": {"k": 5}}):
        thing = SimpleNamespace(**now)
        keeping.put_back(thing, kept)
        assert written(thing.x) == written(make())


@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_go_on_where_they_were(kind: str) -> None:
    make, draw = GENERATORS[kind]
    thing = SimpleNamespace(x=make(), many=[make()])
    draw(thing.x)
    kept, same = through_a_file(keeping.attributes(thing)), thing.x
    expected = [written(draw(each)) for each in (thing.x, thing.many[0])]
    keeping.put_back(thing, kept)
    assert thing.x is same
    fresh = SimpleNamespace()
    keeping.put_back(fresh, kept)
    for restored in (thing, fresh):
        assert [written(draw(each)) for each in (restored.x, restored.many[0])] == expected


def test_what_can_be_changed_in_place_stays_the_object_that_it_is() -> None:
    t, array = torch.zeros(2), np.zeros(2)
    thing = SimpleNamespace(t=t, many=[t], named={"t": t}, pair=(t, 1), array=array, line=deque([t]), some={1})
    ids = {name: id(value) for name, value in vars(thing).items()}
    kept = keeping.attributes(thing)
    t += 1
    array += 1
    thing.many.append(2)
    thing.named["more"] = 2
    thing.line.append(2)
    thing.some.add(2)
    keeping.put_back(thing, kept)
    assert {name: id(value) for name, value in vars(thing).items()} == ids
    assert thing.many[0] is thing.named["t"] is thing.line[0] is t
    assert written([t, len(thing.many), len(thing.named), len(thing.line), thing.some]) == written(
        [torch.zeros(2), 1, 1, 1, {1}]
    )
    assert array.tolist() == [0, 0]


def test_what_is_not_plain_is_left_alone_and_what_is_plain_and_new_goes() -> None:
    loop: list[Any] = []
    loop.append(loop)
    weight = nn.Parameter(torch.ones(2))
    thing = SimpleNamespace(f=print, loop=loop, weight=weight, many=[weight], count=1, later=object())
    kept = through_a_file(keeping.attributes(thing))
    assert {name for name, value in kept.items() if value != keeping.OTHER} == {"count"}
    weight.data.add_(1)
    thing.count, thing.later, thing.new, thing.thing = 2, 3, torch.ones(1), object()
    keeping.put_back(thing, kept)
    assert (thing.count, thing.later, thing.loop, thing.f) == (1, 3, loop, print)
    assert not hasattr(thing, "new")
    assert hasattr(thing, "thing")
    assert weight.tolist() == [2, 2]


def test_what_torch_itself_keeps_is_not_taken() -> None:
    linear = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(linear.parameters())
    assert keeping.attributes(linear) == {"in_features": 2, "out_features": 2}
    optimizer.t = 5  # type: ignore[attr-defined]
    kept = keeping.attributes(optimizer)
    assert kept["t"] == 5
    assert not kept.keys() & {"state", "param_groups", "defaults", "_optimizer_step_pre_hooks"}
    optimizer.register_step_pre_hook(lambda *_: None)
    keeping.put_back(optimizer, kept)
    assert len(optimizer._optimizer_step_pre_hooks) == 1


def test_the_global_generators_go_on_where_they_were() -> None:
    def drawn() -> list[Any]:
        return [torch.randn(3).tolist(), random.random(), random.gauss(0, 1), np.random.standard_normal(3).tolist()]

    drawn()
    kept = through_a_file(keeping.generators([torch.device("cpu")]))
    expected = drawn()
    keeping.put_generators_back(kept)
    assert drawn() == expected


def test_a_graph_that_holds_a_tensor_can_go_backward_after_it_was_put_back() -> None:
    weight = torch.ones(2, requires_grad=True)
    held = SimpleNamespace(x=weight * 2)
    loss = held.x.square().sum() + weight.square().sum()
    kept = keeping.attributes(held)
    keeping.put_back(held, kept)
    keeping.overwrite(weight, keeping.clone(weight))
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [10, 10]
