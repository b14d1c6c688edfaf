"""A clip of some of an optimizer's parameter groups."""

import copy
from typing import Any

import pytest
import torch
from oracles import same_bits
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip

Build = type[torch.optim.Optimizer]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=generator)) for size in (7, 5, 11)]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step + 1)
    return [torch.randn(size, generator=generator) for size in (7, 5, 11)]


def clamped(tensors: list[Tensor], fraction: float) -> list[Tensor]:
    """Down to the one threshold of all, by sorting."""
    magnitudes = torch.cat([t.abs() for t in tensors]).sort(descending=True).values
    limit = float(magnitudes[int(len(magnitudes) * fraction)])
    return [t.clamp(-limit, limit) for t in tensors]


@pytest.mark.parametrize("of", ["gradient", "update", "numerator"])
@pytest.mark.parametrize("by_closure", [False, True])
def test_the_others_step_as_without_a_clip(of: Any, by_closure: bool) -> None:
    ours, plain, whole = parameters(), parameters(), parameters()
    optimizer = torch.optim.Adam([{"params": [p]} for p in ours], lr=0.1)
    without = torch.optim.Adam([{"params": [p]} for p in plain], lr=0.1)
    lone = torch.optim.Adam([{"params": [p]} for p in (whole[0], whole[2])], lr=0.1)
    clip = CoordinateClip(optimizer, 0.4, of=of, groups=[0, 2])
    CoordinateClip(lone, 0.4, of=of)
    for step in range(3):
        given = gradients(step)

        def closure(given: list[Tensor] = given) -> float:
            for p, gradient in zip(ours, given, strict=True):
                p.grad = gradient.clone()
            return 0.0

        closure()
        optimizer.step(closure) if by_closure else optimizer.step()
        for theirs in (plain, whole):
            for p, gradient in zip(theirs, given, strict=True):
                p.grad = gradient.clone()
        without.step()
        lone.step()
    assert same_bits(ours[1], plain[1])
    assert same_bits(ours[0], whole[0])
    assert same_bits(ours[2], whole[2])
    assert not same_bits(ours[0], plain[0])
    assert clip.last is not None
    assert clip.last.n == 18
    assert int(clip.last.clipped) == int(18 * 0.4)


def test_the_threshold_is_of_the_groups_that_are_clipped() -> None:
    ours, given = parameters(), gradients(0)
    optimizer = torch.optim.SGD([{"params": [p]} for p in ours], lr=1.0)
    CoordinateClip(optimizer, 0.3, groups={2, 0})
    before = [p.detach().clone() for p in ours]
    for p, gradient in zip(ours, given, strict=True):
        p.grad = gradient.clone()
    optimizer.step()
    first, last = clamped([given[0], given[2]], 0.3)
    for p, start, gradient in zip(ours, before, [first, given[1], last], strict=True):
        assert torch.equal(p, start - gradient)


def test_a_copy_clips_the_same_groups_and_a_loaded_state_leaves_them() -> None:
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters()], lr=1.0)
    CoordinateClip(optimizer, 0.4, groups=[1])
    again = copy.deepcopy(optimizer)
    again.load_state_dict(optimizer.state_dict())
    clip = CoordinateClip.attached_to(again)
    assert clip is not None
    clip.load_state_dict({**clip.state_dict(), "fraction": 0.6})
    for p, gradient in zip([g["params"][0] for g in again.param_groups], gradients(0), strict=True):
        p.grad = gradient
    again.step()
    assert clip.last is not None
    assert (clip.last.n, int(clip.last.clipped)) == (5, 3)


@pytest.mark.parametrize(
    ("groups", "kind", "found"),
    [
        ([], ValueError, "`groups` is empty"),
        ([3], ValueError, "`groups` has 3, and the optimizer has the parameter groups 0 to 2"),
        ([-1], ValueError, "`groups` has -1"),
        ([True], TypeError, "`groups` has True"),
        (["decay"], TypeError, "`groups` has 'decay'"),
    ],
)
def test_groups_that_are_not_there_are_refused(groups: Any, kind: type[Exception], found: str) -> None:
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters()], lr=1.0)
    with pytest.raises(kind, match=found):
        CoordinateClip(optimizer, 0.4, groups=groups)
