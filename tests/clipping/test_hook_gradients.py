"""Gradients as they come: none, of no coordinates, in memory that they share, twice; and a fraction that changes."""

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import pytest
import torch
from oracles import flat, same_bits
from torch import Tensor, nn

from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip
from clipbench.records import CLIP_PLACES, CLIP_SCOPES, ClipScale

BOTH = torch.arange(1.0, 25.0)


def two(memory: Tensor, first: slice, second: slice) -> tuple[Tensor, Tensor]:
    memory = memory.clone()
    return memory[first], memory[second]


# Each gives the gradients of a 3 × 4 and a 12 parameter.
LAYOUTS: dict[str, Callable[[], Sequence[Tensor]]] = {
    "one number, expanded": lambda: (torch.tensor(2.0).expand(3, 4), torch.arange(12.0)),
    "one row, expanded": lambda: (torch.tensor([4.0, -3.0, 2.0, 1.0]).expand(3, 4), torch.arange(12.0)),
    "one column, expanded": lambda: (torch.tensor([[4.0], [-3.0], [2.0]]).expand(3, 4), torch.arange(12.0)),
    "rows that overlap": lambda: (torch.arange(1.0, 7.0).as_strided((3, 4), (1, 1)), torch.arange(12.0)),
    "rows with gaps": lambda: (BOTH.clone().view(3, 8)[:, ::2], torch.arange(12.0)),
    "transposed": lambda: (torch.arange(1.0, 13.0).view(4, 3).t(), torch.arange(12.0)),
    "one tensor for two parameters": lambda: 2 * [torch.arange(12.0)],
    "one number for two parameters": lambda: 2 * [torch.tensor(3.0).expand(12)],
    "halves that overlap": lambda: two(BOTH, slice(12), slice(6, 18)),
    "halves that interleave": lambda: two(BOTH, slice(None, None, 2), slice(1, None, 2)),
    "made in inference mode": lambda: torch.inference_mode()(two)(BOTH, slice(12), slice(12, 24)),
}


def stepped(
    layout: str, attach: Callable[[torch.optim.Optimizer], Any], *, dense: bool
) -> tuple[list[nn.Parameter], list[Tensor]]:
    weights = [nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(12))]
    optimizer = torch.optim.Adam(weights, lr=0.1)
    attach(optimizer)
    for _ in range(2):
        given = LAYOUTS[layout]()
        for weight, gradient in zip(weights, given, strict=True):
            # The same shape as its weight, in the memory that it has.
            shaped = gradient if gradient.shape == weight.shape else gradient.reshape(weight.shape)
            weight.grad = shaped.clone(memory_format=torch.contiguous_format) if dense else shaped
        optimizer.step()
    return weights, [weight.grad for weight in weights if weight.grad is not None]


CLIPS = [
    *(
        partial(CoordinateClip, fraction=0.4, of=of, scope=scope, scale=scale)
        for of in CLIP_PLACES
        for scope in CLIP_SCOPES
        for scale in get_args(ClipScale)
        if of != "numerator" or scale == "none"
    ),
    partial(FixedClip, threshold=1.5),
    partial(FixedClip, norm=1.5),
]


@pytest.mark.parametrize("attach", CLIPS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_clipped_as_their_contiguous_copies_are(layout: str, attach: Any) -> None:
    weights, gradients = stepped(layout, attach, dense=False)
    expected, clipped = stepped(layout, attach, dense=True)
    assert all(same_bits(a, b) for a, b in zip(weights, expected, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(gradients, clipped, strict=True))
    assert bool(flat(weights).any())


@pytest.mark.parametrize("layout", ["rows with gaps", "transposed"])
def test_a_gradient_with_memory_of_its_own_is_clipped_where_it_is(layout: str) -> None:
    weight = nn.Parameter(torch.zeros(3, 4))
    given, _ = LAYOUTS[layout]()
    weight.grad, largest = given, float(given.max())
    CoordinateClip(torch.optim.SGD([weight], lr=0.1), 0.4).optimizer.step()
    assert weight.grad is given
    assert float(given.max()) < largest


@pytest.mark.parametrize("fraction", [0.0, 0.4])
@pytest.mark.parametrize("closure", [None, lambda: 0.0])
@pytest.mark.parametrize("of", CLIP_PLACES)
@pytest.mark.parametrize("scope", ["global", "group", "tensor"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_step_without_any_coordinate_is_none(of: Any, scope: Any, fraction: float, closure: Any, empty: bool) -> None:
    weight, nothing = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(0))
    hook = CoordinateClip(torch.optim.Adam([weight, nothing], lr=1.0), fraction, of=of, scope=scope)
    nothing.grad = torch.zeros(0) if empty else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hook.optimizer.step(closure)
    assert hook.last is None
    assert weight.tolist() == [1.0, 1.0]
    weight.grad = torch.tensor([4.0, 1.0])
    hook.optimizer.step()
    last = hook.last
    assert last is not None
    weight.grad = None
    hook.optimizer.step(closure)
    assert hook.last is last


@pytest.mark.parametrize("of", CLIP_PLACES)
@pytest.mark.parametrize("scope", ["global", "group", "tensor"])
def test_groups_without_a_gradient_or_a_parameter_are_passed_by(of: Any, scope: Any) -> None:
    ends = []
    for around in (False, True):
        weight, idle = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(3))
        groups = [{"params": [weight]}]
        if around:
            groups = [{"params": []}, {"params": [idle]}, *groups, {"params": [nn.Parameter(torch.zeros(0))]}]
        hook = CoordinateClip(torch.optim.Adam(groups, lr=1.0), 0.5, of=of, scope=scope)
        weight.grad = torch.tensor([4.0, 3.0, 2.0, 1.0])
        hook.optimizer.step()
        assert hook.last is not None
        ends.append((weight.tolist(), hook.last.thresholds.tolist(), hook.last.n))
    assert ends[0] == ends[1]


class DropsGradients(torch.optim.Optimizer):
    """Gradient descent that needs the gradients no more after its step, and says so."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure else None
        for weight in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            weight.sub_(weight.grad)
        self.zero_grad()
        return loss


@pytest.mark.parametrize("by_closure", [False, True])
def test_an_update_is_clipped_of_an_optimizer_that_drops_its_gradients(by_closure: bool) -> None:
    weight, idle = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    hook = CoordinateClip(DropsGradients([weight, idle], {}), 0.5, of="update")

    def closure() -> float:
        weight.grad = torch.tensor([4.0, 3.0, 2.0, 1.0])
        return 0.0

    if by_closure:
        hook.optimizer.step(closure)
    else:
        closure()
        hook.optimizer.step()
    assert weight.tolist() == [-2.0, -2.0, -2.0, -1.0]
    assert hook.last is not None
    assert hook.last.n == 4


@pytest.mark.parametrize("where", ["one group", "two groups"])
@pytest.mark.parametrize("scale", ["none", "norm"])
@pytest.mark.parametrize("scope", ["global", "group", "tensor"])
def test_a_parameter_that_is_listed_twice_counts_once(where: str, scale: Any, scope: Any) -> None:
    seen = []
    for twice in (False, True):
        weight, other = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.SGD([{"params": [weight]}, {"params": [other]}], lr=1.0)
        if twice:  # torch refuses it where it sees it
            optimizer.param_groups[where == "two groups"]["params"].append(weight)
        hook = CoordinateClip(optimizer, 0.4, scope=scope, scale=scale)
        weight.grad, other.grad = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), torch.tensor([3.0, 2.0, 1.0])
        optimizer.step()
        assert hook.last is not None
        seen.append((weight.grad.tolist(), hook.last.thresholds.tolist(), int(hook.last.clipped), hook.last.n))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("of", CLIP_PLACES)
def test_a_parameter_that_is_listed_twice_is_no_error_in_any_place(of: Any) -> None:
    for kind in (torch.optim.Adam, torch.optim.Adafactor):
        weight = nn.Parameter(torch.ones(5))
        optimizer = kind([weight], lr=0.1, foreach=False)
        optimizer.param_groups[0]["params"].append(weight)
        hook = CoordinateClip(optimizer, 0.4, of=of)
        for _ in range(2):
            weight.grad = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
            optimizer.step()
        assert hook.last is not None
        assert hook.last.n == 5
        assert bool(weight.isfinite().all())


@pytest.mark.parametrize("of", CLIP_PLACES)
def test_a_new_fraction_is_that_of_the_next_step_and_of_copies(of: Any) -> None:
    ends = []
    for changes in (False, True):
        weight = nn.Parameter(torch.zeros(10))
        hook = CoordinateClip(torch.optim.Adam([weight], lr=0.1), 0.0 if changes else 0.3, of=of)
        if changes:
            hook.fraction = 0.3
        weight.grad = torch.arange(10.0)
        hook.optimizer.step()
        ends.append(weight)
        assert hook.state_dict()["fraction"] == hook.fraction == 0.3
        twin = CoordinateClip.attached_to(copy.deepcopy(hook.optimizer))
        assert twin is not None
        assert twin.fraction == 0.3
        hook.fraction = 0
        weight.grad = torch.arange(10.0)
        hook.optimizer.step()
        assert hook.last is not None
        assert (int(hook.last.clipped), hook.last.asked) == (0, 0)
    assert same_bits(*ends)


def test_the_fraction_of_a_removed_clip_attaches_it_to_nothing() -> None:
    weight = nn.Parameter(torch.zeros(2))
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), 0.5)
    hook.remove()
    hook.fraction = 0.4
    assert CoordinateClip.attached_to(hook.optimizer) is None
    assert CoordinateClip.attached_to(copy.deepcopy(hook.optimizer)) is None


@pytest.mark.parametrize("change", [(0.5, 0.0), (0.0, 0.5)])
def test_a_fraction_that_changes_inside_a_closure_breaks_no_update(change: tuple[float, float]) -> None:
    weight = nn.Parameter(torch.zeros(4))
    before, after = change
    hook = CoordinateClip(torch.optim.SGD([weight], lr=1.0), before, of="update")

    def closure() -> float:
        weight.grad = torch.tensor([4.0, 3.0, 2.0, 1.0])
        hook.fraction = after
        return 0.0

    hook.optimizer.step(closure)
    assert weight.tolist() == [-4.0, -3.0, -2.0, -1.0]  # what is not in force at both ends of the step does nothing
    hook.optimizer.step(closure)
    assert weight.tolist() == ([-8.0, -6.0, -4.0, -2.0] if after == 0.0 else [-6.0, -5.0, -4.0, -2.0])
