"""An arm that is not what it says is found out before it is measured, and the problem is left as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from faulty import noisy
from reference.problems import problem as mlp

from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip
from clipbench.contracts import Batch, Problem
from clipbench.records import Arm, Choice, ClipSettings
from clipbench.running import liveness
from clipbench.running.liveness import step_flops
from clipbench.running.trial import NotLiveError, first_gradients
from clipbench.tasks.quadratic import build as quadratic

CPU = torch.device("cpu")
SGD = Arm("sgd", Choice("sgd", "sgd", "clipbench.optimizers.sgd:build", {"lr": 0.01, "momentum": 0.9}))
CLIPPED = replace(SGD, name="sgd+clip", clip=ClipSettings(0.1))


Check = Callable[[Arm, Problem], tuple[str, ...]]


def of_a_ghost(arm: Arm, problem: Problem) -> tuple[str, ...]:
    return liveness.check_ghost(arm, problem, first_gradients(problem))


@pytest.fixture(params=[liveness.check, of_a_ghost], ids=["the run's own", "a ghost"])
def check(request: pytest.FixtureRequest) -> Check:
    return request.param  # type: ignore[no-any-return]


def arm(target: str, **options: float) -> Arm:
    return Arm("an arm", Choice(target, target, target, options))


LIVE = [
    None,
    ClipSettings(0.1),
    ClipSettings(0.5, "update"),
    ClipSettings(0.1, scope="group"),
    ClipSettings(0.1, scope="tensor"),
    ClipSettings(0.1, scale="norm"),
    ClipSettings(0.1, "update", scale="norm", ignore_zeros=True),
    ClipSettings(0.1, scope="tensor", ignore_zeros=True),
    ClipSettings(threshold=1e-3),
    ClipSettings(threshold=1e9),
    ClipSettings(norm=1e-3),
    ClipSettings(norm=1e9),
]


@contextmanager
def no_trace(problem: Problem) -> Iterator[None]:
    """The model is as it was before, in evaluation mode and without gradients, and so is the random state."""
    problem.model.eval()
    before = {name: tensor.clone() for name, tensor in problem.model.state_dict().items()}
    random = torch.get_rng_state()
    yield
    assert all(torch.equal(before[name], tensor) for name, tensor in problem.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not problem.model.training
    assert all(parameter.grad is None for parameter in problem.model.parameters())


@pytest.mark.parametrize("live", [replace(SGD, clip=clip) for clip in LIVE], ids=lambda arm: str(arm.clip))
def test_a_live_arm_passes_and_leaves_no_trace(check: Check, live: Arm) -> None:
    problem = noisy(3, CPU)
    with no_trace(problem):
        assert check(live, problem) == ()


def test_ties_at_adams_first_step_are_no_fault(check: Check) -> None:
    """Its first update is the rate times the sign of the gradient, for every coordinate that is far above eps."""
    adam = replace(arm("torch.optim:Adam", lr=0.01, eps=1e-30), clip=ClipSettings(0.5, "update"))
    check(adam, noisy(3, CPU))


def test_parameters_that_do_not_move_are_found(check: Check) -> None:
    with pytest.raises(NotLiveError, match="no parameter moved"):
        check(arm("faulty:Unmoving", lr=0.1), quadratic(0, CPU))


def test_a_rate_below_the_resolution_of_float32_is_found(check: Check) -> None:
    with pytest.raises(NotLiveError, match="no parameter moved"):
        check(arm("torch.optim:SGD", lr=1e-30), quadratic(0, CPU))


def test_a_clip_that_changes_nothing_against_its_twin_is_found(check: Check) -> None:
    secret = replace(arm("faulty:SignOnly", lr=0.01), clip=ClipSettings(0.1))
    with pytest.raises(NotLiveError, match="equal those of its twin"):
        check(secret, quadratic(0, CPU))


@pytest.mark.parametrize("clip", [ClipSettings(threshold=1e-3), ClipSettings(norm=1e-3)])
def test_a_fixed_limit_that_changes_nothing_where_it_acts_is_found(check: Check, clip: ClipSettings) -> None:
    secret = replace(arm("faulty:SignOnly", lr=0.01), clip=clip)
    with pytest.raises(NotLiveError, match="equal those of its twin without the clip: the clip does nothing"):
        check(secret, quadratic(0, CPU))


@pytest.mark.parametrize("rule", ["threshold", "norm"])
def test_a_limit_above_all_gradients_is_idle_and_a_clip_that_is_off_is_found_all_the_same(
    check: Check, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit: dict[str, Any] = {rule: 1e9}
    idle = replace(SGD, clip=ClipSettings(**limit))
    check(idle, quadratic(0, CPU))
    monkeypatch.setattr(FixedClip, "_clip", lambda *_: None)
    with pytest.raises(NotLiveError, match=f"without the clip, even at a {rule} of .*: the clip does nothing"):
        check(idle, quadratic(0, CPU))


def test_a_threshold_that_erases_one_tensor_is_found(check: Check) -> None:
    problem = mlp("mlp")
    handed = iter(problem.train_batches(0))
    batch = next(handed)
    batch.tensors["x"][:, 1:] = 0  # four of five columns of the first matrix get no gradient
    with pytest.warns(match="zero"), pytest.raises(NotLiveError, match=r"is zero at step 0.*that share it"):
        check(replace(SGD, clip=ClipSettings(0.5, scope="tensor")), problem)


def test_a_tensor_without_any_gradient_has_nothing_to_clip(check: Check) -> None:
    problem = mlp("mlp")
    next(iter(problem.train_batches(0))).tensors["x"].zero_()  # the first matrix gets a gradient of zeros
    check(replace(SGD, clip=ClipSettings(0.3, scope="tensor")), problem)


def test_a_clip_of_less_than_one_coordinate_is_found(check: Check) -> None:
    with pytest.raises(NotLiveError, match="less than one coordinate"):
        check(replace(CLIPPED, clip=ClipSettings(0.01)), quadratic(0, CPU, dimension=50))


def test_a_threshold_of_zero_is_found(check: Check) -> None:
    problem = quadratic(0, CPU, dimension=50)
    with torch.no_grad():
        problem.model.get_parameter("x")[3:] = 0
    with pytest.warns(match="zero"), pytest.raises(NotLiveError, match="threshold is zero"):
        check(CLIPPED, problem)


@pytest.mark.parametrize("of", ["gradient", "update"])
def test_zeros_that_are_left_out_of_the_fraction_are_left_out_of_what_is_asked(check: Check, of: Any) -> None:
    problem = quadratic(0, CPU, dimension=500)
    with torch.no_grad():
        problem.model.get_parameter("x")[50:] = 0
    check(replace(CLIPPED, clip=ClipSettings(0.1, of, ignore_zeros=True)), problem)
    with pytest.raises(NotLiveError, match="less than one coordinate"):
        check(replace(CLIPPED, clip=ClipSettings(0.01, of, ignore_zeros=True)), problem)


def test_ties_that_keep_the_clip_from_its_fraction_at_every_step_are_found(check: Check) -> None:
    problem = quadratic(0, CPU, dimension=50, condition=1.0)
    with torch.no_grad():
        signs = torch.where(torch.arange(50) < 25, 1.0, -1.0)
        problem.model.get_parameter("x").copy_(signs / problem.model.get_buffer("curvatures"))
    with pytest.raises(NotLiveError, match=r"changed 0 of 50 coordinates at step 0 where 5 were asked for"):
        check(CLIPPED, problem)


def test_a_clip_that_clips_too_much_is_found(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check does not trust the clip: a hook with an off-by-many threshold is caught by its count."""
    original = CoordinateClip.__init__

    def twice(self: CoordinateClip, optimizer: torch.optim.Optimizer, fraction: float, **rest: Any) -> None:
        original(self, optimizer, 2 * fraction, **rest)

    monkeypatch.setattr(CoordinateClip, "__init__", twice)
    with pytest.raises(NotLiveError, match="changed 20 of 100 coordinates at step 0 where 10 were asked for"):
        check(CLIPPED, quadratic(0, CPU, dimension=100))


def test_an_option_that_was_dropped_is_found(check: Check) -> None:
    with pytest.raises(NotLiveError, match="the option momentun has no effect"):
        check(arm("faulty:OptionDropper", lr=0.01, momentun=0.9), quadratic(0, CPU))


def test_an_option_that_runs_with_another_value_is_found(check: Check) -> None:
    """That is a remark, for with another setting it runs otherwise: some optimizers scale what they are told."""
    remarks = check(arm("faulty:OtherMomentum", lr=0.01, momentum=0.8), quadratic(0, CPU))
    assert remarks == ("the option momentum was set to 0.8 and stands at 0.4 in the optimizer",)


def test_an_option_seen_nowhere_but_in_the_weights_is_live(check: Check) -> None:
    assert check(arm("faulty:HiddenOption", lr=0.01, scale=0.5), quadratic(0, CPU)) == ()


def test_the_operations_of_a_step_are_those_of_its_products() -> None:
    """Two layers of 5·7 and 7·3 weights on four examples, and a product is a multiplication and an addition.

    Forward, each weight takes part once an example; backward once for its gradient, and in the second layer once more
    for the gradient of the layer beneath.
    """
    assert step_flops(SGD, mlp("mlp")) == 2 * 4 * (2 * 5 * 7 + 3 * 7 * 3)


def test_the_products_of_the_optimizer_count_as_well() -> None:
    alone = step_flops(SGD, mlp("mlp"))
    assert alone is not None
    gram = 2 * (7 * 5 * 5 + 3 * 7 * 7)  # WᵀW of each of the two matrices
    assert step_flops(arm("faulty:Multiplying", lr=0.01), mlp("mlp")) == alone + gram


def test_counting_operations_leaves_no_trace() -> None:
    problem = noisy(3, CPU)
    with no_trace(problem):
        step_flops(CLIPPED, problem)


def test_a_step_that_cannot_be_counted_has_no_count() -> None:
    assert step_flops(arm("faulty:Uncountable", lr=0.01), mlp("mlp")) is None


class HiddenAverage(torch.optim.Optimizer):
    """Steps by an average of gradients, and keeps its weight where nobody sees it."""

    def __init__(self, parameters: Any, lr: float, weight: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr})
        self._hidden = weight

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            average = self.state[parameter].setdefault("average", parameter.grad.clone())
            average.lerp_(parameter.grad, 1 - self._hidden)
            parameter.sub_(average, alpha=self.param_groups[0]["lr"])


def test_gradients_that_are_all_alike_hide_no_option(check: Check) -> None:
    """A quadratic has the same gradient for every batch, and the average of equal gradients has no weight in it."""
    check(arm(f"{__name__}:HiddenAverage", lr=0.01, weight=0.5), quadratic(0, CPU))


def test_ghosts_share_the_gradients_of_their_checks() -> None:
    given = noisy(3, CPU)
    losses: list[Batch] = []
    note = Mock(side_effect=losses.append)  # out of reach: what a loss keeps itself is put back

    def counting(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        note(batch)
        return given.loss(model, batch)

    problem = replace(given, loss=counting)
    gradients = first_gradients(problem)
    for ghost in (SGD, CLIPPED, replace(SGD, clip=ClipSettings(norm=1e-3))):
        liveness.check_ghost(ghost, problem, gradients)
    assert len(losses) == len(gradients) == 3


def test_the_first_gradients_are_those_of_the_start_and_leave_no_trace() -> None:
    problem = noisy(3, CPU)
    random, before = torch.get_rng_state(), {n: t.clone() for n, t in problem.model.state_dict().items()}
    gradients = first_gradients(problem)
    assert all(torch.equal(before[name], tensor) for name, tensor in problem.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in problem.model.parameters())
    batch = next(problem.train_batches(0))
    problem.model.train()
    problem.loss(problem.model, batch).backward()
    for name, parameter in problem.model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(gradients[0][name], parameter.grad)
