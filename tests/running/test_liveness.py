"""An arm that is not what it says is found out before it is measured, and the problem is left as it was."""

from dataclasses import replace

import pytest
import torch
from faulty import noisy

from clipbench.clipping.hook import CoordinateClip
from clipbench.records import Arm, Choice, ClipSettings
from clipbench.running.liveness import NotLiveError, check
from clipbench.tasks.quadratic import build as quadratic

CPU = torch.device("cpu")
SGD = Arm("sgd", Choice("sgd", "sgd", "clipbench.optimizers.sgd:build", {"lr": 0.01, "momentum": 0.9}))
CLIPPED = replace(SGD, name="sgd+clip", clip=ClipSettings(0.1))


def arm(target: str, **options: float) -> Arm:
    return Arm("an arm", Choice(target, target, target, options))


@pytest.mark.parametrize("live", [SGD, CLIPPED, replace(CLIPPED, clip=ClipSettings(0.5, "update"))])
def test_a_live_arm_passes_and_leaves_no_trace(live: Arm) -> None:
    problem = noisy(3, CPU)
    problem.model.eval()
    before = {name: tensor.clone() for name, tensor in problem.model.state_dict().items()}
    random = torch.get_rng_state()
    check(live, problem)
    assert all(torch.equal(before[name], tensor) for name, tensor in problem.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not problem.model.training
    assert all(parameter.grad is None for parameter in problem.model.parameters())


def test_parameters_that_do_not_move_are_found() -> None:
    with pytest.raises(NotLiveError, match="no parameter moved"):
        check(arm("faulty:Unmoving", lr=0.1), quadratic(0, CPU))


def test_a_rate_below_the_resolution_of_float32_is_found() -> None:
    with pytest.raises(NotLiveError, match="no parameter moved"):
        check(arm("torch.optim:SGD", lr=1e-30), quadratic(0, CPU))


def test_a_clip_that_changes_nothing_against_its_twin_is_found() -> None:
    secret = replace(arm("faulty:SignOnly", lr=0.01), clip=ClipSettings(0.1))
    with pytest.raises(NotLiveError, match="equal those of its twin"):
        check(secret, quadratic(0, CPU))


def test_a_clip_of_less_than_one_coordinate_is_found() -> None:
    with pytest.raises(NotLiveError, match="less than one coordinate"):
        check(replace(CLIPPED, clip=ClipSettings(0.01)), quadratic(0, CPU, dimension=50))


def test_a_threshold_of_zero_is_found() -> None:
    problem = quadratic(0, CPU, dimension=50)
    with torch.no_grad():
        problem.model.x[3:] = 0
    with pytest.warns(match="zero"), pytest.raises(NotLiveError, match="threshold is zero"):
        check(CLIPPED, problem)


def test_ties_that_keep_the_clip_from_its_fraction_are_found() -> None:
    problem = quadratic(0, CPU, dimension=50)
    with torch.no_grad():
        problem.model.x.copy_(torch.where(torch.arange(50) < 25, 1.0, -1.0) / problem.model.curvatures)
    with pytest.raises(NotLiveError, match=r"changed 0 of 50 coordinates at step 0 where 5 were asked for"):
        check(CLIPPED, problem)


def test_a_clip_that_clips_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check does not trust the clip: a hook with an off-by-many threshold is caught by its count."""
    original = CoordinateClip.__init__

    def twice(self: CoordinateClip, optimizer: torch.optim.Optimizer, fraction: float, *, of: str = "gradient") -> None:
        original(self, optimizer, 2 * fraction, of=of)

    monkeypatch.setattr(CoordinateClip, "__init__", twice)
    with pytest.raises(NotLiveError, match="changed 20 of 100 coordinates at step 0 where 10 were asked for"):
        check(CLIPPED, quadratic(0, CPU, dimension=100))


def test_an_option_that_was_dropped_is_found() -> None:
    with pytest.raises(NotLiveError, match="the option momentun has no effect"):
        check(arm("faulty:OptionDropper", lr=0.01, momentun=0.9), quadratic(0, CPU))


def test_an_option_that_runs_with_another_value_is_found() -> None:
    with pytest.raises(NotLiveError, match=r"the option momentum was set to 0\.8 but is 0\.4"):
        check(arm("faulty:OtherMomentum", lr=0.01, momentum=0.8), quadratic(0, CPU))


def test_an_option_seen_nowhere_but_in_the_weights_is_live() -> None:
    check(arm("faulty:HiddenOption", lr=0.01, scale=0.5), quadratic(0, CPU))


def test_an_optimizer_that_needs_a_closure_says_so() -> None:
    with pytest.raises(NotLiveError, match="needs a closure"):
        check(arm("torch.optim:LBFGS", lr=0.1), quadratic(0, CPU))
