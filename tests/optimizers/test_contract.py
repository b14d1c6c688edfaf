"""What every file on the optimizer shelf promises: a new one is enrolled by being there."""

import copy
import inspect
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import flat, same_bits
from torch import Tensor, nn

import clipbench.optimizers

SHELF = sorted(path.stem for path in Path(clipbench.optimizers.__path__[0]).glob("*.py") if path.stem != "__init__")
OF_MATRICES = ("muon",)
LR = 0.01

pytestmark = pytest.mark.parametrize("name", SHELF)


def build(name: str) -> Callable[..., torch.optim.Optimizer]:
    factory: Callable[..., torch.optim.Optimizer] = import_module(f"clipbench.optimizers.{name}").build
    return factory


def options(name: str) -> dict[str, inspect.Parameter]:
    return dict(list(inspect.signature(build(name)).parameters.items())[1:])


def model(name: str) -> nn.Module:
    """With vectors among its parameters, but for an optimizer of matrices."""
    bias = name not in OF_MATRICES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6, bias=bias), nn.Tanh(), nn.Linear(6, 2, bias=bias))


def take_steps(network: nn.Module, optimizer: torch.optim.Optimizer, *, start: int, stop: int) -> None:
    for i in range(start, stop):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(i))
        optimizer.zero_grad()
        network(x).square().sum(1).mean().backward()
        optimizer.step()


def weights(network: nn.Module) -> Tensor:
    return flat(list(network.parameters()))


def test_it_says_in_one_line_what_it_is(name: str) -> None:
    module = import_module(f"clipbench.optimizers.{name}")
    first = (module.__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert build(name).__doc__


def test_every_option_is_keyword_only_annotated_and_only_the_rate_lacks_a_default(name: str) -> None:
    for option, parameter in options(name).items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.annotation is not inspect.Parameter.empty
        assert (parameter.default is inspect.Parameter.empty) == (option == "lr")


def test_the_learning_rate_has_no_default_and_an_unknown_option_is_an_error(name: str) -> None:
    with pytest.raises(TypeError, match="lr"):
        build(name)(model(name).named_parameters())
    with pytest.raises(TypeError, match="no_such_option"):
        build(name)(model(name).named_parameters(), lr=LR, no_such_option=1)


@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_a_learning_rate_that_trains_nothing_is_refused(name: str, lr: float) -> None:
    with pytest.raises(ValueError, match="lr"):
        build(name)(model(name).named_parameters(), lr=lr)


def test_every_other_number_is_checked_and_named(name: str) -> None:
    called = {"eps": "epsilon", "betas": "beta"}
    for option, parameter in options(name).items():
        default = parameter.default
        wrong: list[Any] = [math.nan] if isinstance(default, float) else []
        if isinstance(default, tuple):
            wrong = [(*default[:i], math.nan, *default[i + 1 :]) for i in range(len(default))]
        for value in wrong:
            with pytest.raises(ValueError, match=f"(?i){called.get(option, option)}"):
                build(name)(model(name).named_parameters(), lr=LR, **{option: value})


def test_every_option_can_be_observed_in_the_parameter_groups(name: str) -> None:
    network = model(name)
    (group,) = build(name)(network.named_parameters(), lr=LR).param_groups
    for option, parameter in options(name).items():
        assert group[option] == (LR if option == "lr" else parameter.default)
    assert group["param_names"] == list(dict(network.named_parameters()))


def test_a_rate_that_is_an_integer_works(name: str) -> None:
    network = model(name)
    take_steps(network, build(name)(network.named_parameters(), lr=1), start=0, stop=1)
    assert bool(weights(network).isfinite().all())


def test_every_tensor_of_parameters_moves(name: str) -> None:
    network = model(name)
    before = [p.detach().clone() for p in network.parameters()]
    take_steps(network, build(name)(network.named_parameters(), lr=LR), start=0, stop=1)
    assert not any(torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))


def test_it_lowers_a_quadratic(name: str) -> None:
    """L(X) = ½·tr(XᵀHX), with a matrix for those that know no other."""
    curvatures, point = torch.tensor([[1.0], [2.0], [5.0]]), nn.Parameter(torch.tensor([[1.0], [-1.0], [1.0]]))
    optimizer = build(name)([("point", point)], lr=LR)
    for _ in range(150):
        optimizer.zero_grad()
        (0.5 * curvatures * point * point).sum().backward()
        optimizer.step()
    assert float((0.5 * curvatures * point * point).sum().detach()) < 0.7 * 4.0


def test_it_goes_on_from_its_state_dict_bit_for_bit(name: str) -> None:
    network = model(name)
    optimizer = build(name)(network.named_parameters(), lr=LR)
    take_steps(network, optimizer, start=0, stop=5)
    resumed = copy.deepcopy(network)
    other = build(name)(resumed.named_parameters(), lr=0.5)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_steps(network, optimizer, start=5, stop=10)
    take_steps(resumed, other, start=5, stop=10)
    assert same_bits(weights(network), weights(resumed))


def test_it_is_deterministic_and_draws_no_random_numbers(name: str) -> None:
    results = []
    for seed in (1, 2):
        network = model(name)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        take_steps(network, build(name)(network.named_parameters(), lr=LR), start=0, stop=5)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(weights(network))
    assert same_bits(*results)


def test_frozen_and_gradientless_parameters_stay_where_they_are(name: str) -> None:
    network = model(name)
    network.register_parameter("idle", nn.Parameter(torch.ones(3, 1)))
    frozen = network.get_parameter("0.weight").requires_grad_(False)
    before = frozen.clone()
    optimizer = build(name)(network.named_parameters(), lr=LR)
    start = weights(network)
    take_steps(network, optimizer, start=0, stop=3)
    assert same_bits(frozen, before)
    assert torch.equal(network.get_parameter("idle"), torch.ones(3, 1))
    assert not torch.equal(weights(network), start)


def test_a_step_without_any_gradient_does_nothing(name: str) -> None:
    network = model(name)
    before = weights(network)
    build(name)(network.named_parameters(), lr=LR).step()
    assert torch.equal(weights(network), before)


def test_a_zero_gradient_never_makes_nan(name: str) -> None:
    network = model(name)
    optimizer = build(name)(network.named_parameters(), lr=LR)
    for _ in range(3):
        for p in network.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert bool(weights(network).isfinite().all())


def test_a_closure_is_called_with_differentiation_on_and_its_loss_returned(name: str) -> None:
    network, twin = model(name), model(name)
    optimizer = build(name)(network.named_parameters(), lr=LR)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))

    def closure() -> float:
        optimizer.zero_grad()
        loss = network(x).square().sum(1).mean()
        loss.backward()
        return float(loss.detach())

    expected = float(network(x).square().sum(1).mean().detach())
    assert optimizer.step(closure) == pytest.approx(expected)
    take_steps(twin, build(name)(twin.named_parameters(), lr=LR), start=0, stop=1)
    assert same_bits(weights(network), weights(twin))
