"""An optimizer and its clip, copied and pickled: no copy is silently without a clip, or with that of another."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import flat, same_bits
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.errors import ClipbenchError
from clipbench.records import CLIP_PLACES

SHAPES = [(4, 3), (3,), (2, 5)]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def gradients(steps: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [[torch.randn(shape, generator=generator) ** 3 for shape in SHAPES] for _ in range(steps)]


def step_through(optimizer: torch.optim.Optimizer, steps: list[list[Tensor]]) -> None:
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for given in steps:
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()


def adam(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, lr=0.1)


Copy = Callable[[Any], Any]
COPIES: list[Copy] = [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("of", CLIP_PLACES)
def test_a_copied_optimizer_has_a_clip_of_its_own(copied: Copy, of: Any) -> None:
    weights = parameters()
    hook = CoordinateClip(adam(weights), 0.4, of=of, scope="tensor")
    step_through(hook.optimizer, gradients(2))
    twin = copied(hook.optimizer)
    own = CoordinateClip.attached_to(twin)
    assert own is not None
    assert own is not hook
    assert own.optimizer is twin
    assert own.state_dict() == hook.state_dict()
    last = hook.last
    step_through(twin, gradients(3)[2:])
    assert hook.last is last
    assert own.last is not None
    assert same_bits(flat(weights), flat(hook.optimizer.param_groups[0]["params"]))
    step_through(hook.optimizer, gradients(3)[2:])
    assert same_bits(flat(weights), flat(twin.param_groups[0]["params"]))
    again = copied(twin)
    assert CoordinateClip.attached_to(again) is not None


@pytest.mark.parametrize("copied", COPIES)
def test_a_clip_is_copied_with_its_optimizer_and_both_stay_together(copied: Copy) -> None:
    hook = CoordinateClip(adam(parameters()), 0.4, ignore_zeros=True)
    alone = copied(hook)
    assert alone.state_dict() == hook.state_dict()
    assert alone.optimizer is not hook.optimizer
    assert CoordinateClip.attached_to(alone.optimizer) is alone
    for names in (("clip", "optimizer"), ("optimizer", "clip")):
        both = copied({name: hook if name == "clip" else hook.optimizer for name in names})
        assert both["clip"].optimizer is both["optimizer"]
    hook.load_state_dict({**hook.state_dict(), "fraction": 0.2})
    assert copied(hook.optimizer).state_dict()["param_groups"]
    changed = CoordinateClip.attached_to(copied(hook.optimizer))
    assert changed is not None
    assert changed.fraction == 0.2


@pytest.mark.parametrize("copied", COPIES)
def test_a_removed_clip_is_not_copied(copied: Copy) -> None:
    hook = CoordinateClip(adam(parameters()), 0.4)
    hook.remove()
    assert CoordinateClip.attached_to(copied(hook.optimizer)) is None
    with pytest.raises(ClipbenchError, match="was removed"):
        copied(hook)


class HandsOnAll(torch.optim.SGD):
    """Its copies get all of its attributes, the hooks among them."""

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


def test_a_copy_that_would_take_the_hooks_along_has_its_own_as_well() -> None:
    weight = nn.Parameter(torch.zeros(2))
    hook = CoordinateClip(HandsOnAll([weight], lr=1.0), 0.5)
    twin = copy.deepcopy(hook.optimizer)
    (other,) = twin.param_groups[0]["params"]
    other.grad = torch.tensor([1.0, 4.0])
    twin.step()
    assert other.tolist() == [-1.0, -1.0]
    assert hook.last is None


def test_a_shallow_copy_is_clipped_as_well() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1.0, 4.0])
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.5)
    copy.copy(hook.optimizer).step()
    assert weight.tolist() == [-1.0, -1.0]
    assert hook.last is None


def test_an_optimizer_that_shares_the_hooks_of_another_says_so() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1.0, 4.0])
    sharing = torch.optim.SGD([weight], lr=1.0)
    vars(sharing).update(vars(CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.5).optimizer))
    assert CoordinateClip.attached_to(sharing) is None
    with pytest.raises(ClipbenchError, match="attach a CoordinateClip to the copy"):
        sharing.step()
    assert torch.equal(weight, torch.zeros(2))
