"""What the clip costs, in passes over the gradient and in memory: counted, never timed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from clipbench.clipping import bracket, coordinates
from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.keys import blocks
from clipbench.clipping.threshold import threshold_on_cpu

N = 1 << 19  # above the size at which tensors are worked on one by one


class Operations(TorchDispatchMode):
    """The names of the operations that read or write at least as many numbers as there are coordinates."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        views = ("view", "slice", "detach", "reshape", "alias", "expand", "as_strided", "unsqueeze")
        name = str(func.overloadpacket.__name__)
        touched = [t for t in (*args, out) if isinstance(t, Tensor)]
        touched += [t for each in args if isinstance(each, list | tuple) for t in each if isinstance(t, Tensor)]
        if name not in views and any(t.numel() >= N for t in touched):
            self.names.append(name)
        return out


@contextmanager
def counted_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often the threshold is looked for, and how many coordinates NumPy reads for it or to count them."""
    calls = {"threshold": 0, "read": 0}
    found, cut, absolute = threshold_on_cpu, blocks, np.abs

    def threshold(*arguments: Any, **settings: Any) -> tuple[Tensor, int, int]:
        calls["threshold"] += 1
        return found(*arguments, **settings)

    def reading(arrays: Any) -> Iterator[Any]:
        for block in cut(arrays):
            calls["read"] += block.size
            yield block

    def counting(array: Any) -> Any:
        calls["read"] += array.size
        return absolute(array)

    with monkeypatch.context() as patch:
        patch.setattr(coordinates, "threshold_on_cpu", threshold)
        patch.setattr(bracket, "blocks", reading)
        patch.setattr(np, "abs", counting)
        yield calls


def stepped(kind: Any, monkeypatch: pytest.MonkeyPatch, **clip: Any) -> tuple[list[str], dict[str, int]]:
    """The operations of the second step that are not the optimizer's own, and the calls."""
    both = []
    for described in ({}, clip):
        weight = nn.Parameter(torch.zeros(N))
        optimizer = kind([weight], lr=0.1, fused=True)
        if described:
            CoordinateClip(optimizer, **described)
        generator = torch.Generator().manual_seed(0)
        weight.grad = torch.randn(N, generator=generator)
        optimizer.step()
        weight.grad = torch.randn(N, generator=generator)
        with counted_calls(monkeypatch) as calls, Operations() as seen:
            optimizer.step()
        both.append(seen.names)
    stock, with_clip = both
    for name in stock:
        with_clip.remove(name)
    return with_clip, calls


def test_a_clip_of_the_gradient_is_one_selection_that_counts_as_well_and_one_clamp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operations, calls = stepped(torch.optim.SGD, monkeypatch, fraction=0.1)
    assert operations == ["clamp_"]
    assert calls == {"threshold": 1, "read": N}


def test_a_clip_of_the_numerator_adds_two_passes_over_the_second_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    operations, calls = stepped(torch.optim.Adam, monkeypatch, fraction=0.1, of="numerator")
    assert operations == ["_foreach_addcmul_", "clamp_", "_foreach_addcmul_"]
    assert calls == {"threshold": 1, "read": N}


def test_keeping_the_norm_adds_two_reads_and_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    operations, _ = stepped(torch.optim.SGD, monkeypatch, fraction=0.1, scale="norm")
    assert operations == ["linalg_vector_norm", "clamp_", "linalg_vector_norm", "mul_"]


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_a_fraction_of_zero_touches_nothing(of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stepped(torch.optim.Adam, monkeypatch, fraction=0.0, of=of) == ([], {"threshold": 0, "read": 0})


def test_many_small_tensors_are_clamped_together(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [nn.Parameter(torch.zeros(100)) for _ in range(50)]
    hook = CoordinateClip(torch.optim.SGD(weights, lr=0.1, fused=True), 0.1)
    for weight in weights:
        weight.grad = torch.randn(100, generator=torch.Generator().manual_seed(1))
    clamp = Mock(wraps=torch._foreach_clamp_min_)
    monkeypatch.setattr(torch, "_foreach_clamp_min_", clamp)
    hook.optimizer.step()
    assert [len(call.args[0]) for call in clamp.call_args_list] == [50]


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
@pytest.mark.parametrize("setting", [{}, {"scope": "tensor"}, {"ignore_zeros": True}])
def test_nothing_waits_for_a_gpu_but_the_looks_for_a_zero_threshold(of: Any, setting: dict[str, Any]) -> None:
    """Fake tensors have no values, so whatever reads one raises. The looks come at steps 1, 2, 4 and so on."""
    with FakeTensorMode():
        weights = [nn.Parameter(torch.zeros(30, 4, device="cuda")) for _ in range(3)]
        hook = CoordinateClip(torch.optim.Adam(weights, lr=0.1, capturable=True, foreach=True), 0.1, of=of, **setting)
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        hook._zeros._steps = 2  # the coming step is the third
        hook.optimizer.step()
    assert hook.last is not None
    assert hook.last.clipped.device.type == "cuda"
    assert hook.last.threshold.device.type == "cuda"
