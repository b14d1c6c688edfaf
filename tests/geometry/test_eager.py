"""Looking at what torch.compile has compiled does not switch it off."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from reference.problems import random_direction
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch
from clipbench.geometry.curvature import CurvatureEngine, directional_curvature
from clipbench.geometry.finite_difference import finite_difference_curvature
from clipbench.geometry.objective import Objective
from clipbench.geometry.step import StepGeometry

# torch's own, while it traces a function of a tensor that has a graph.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


class Counting:
    """A backend that runs the graph as it is, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, graph: Callable[..., Any], _: object) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls += 1
            return graph(*args)

        return call

    def during(self, action: Callable[[], object]) -> int:
        before = self.calls
        action()
        return self.calls - before


@pytest.fixture
def backend() -> Iterator[Counting]:
    torch._dynamo.reset()
    yield Counting()
    torch._dynamo.reset()


def mean_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    return functional.mse_loss(torch.tanh(predicted), wanted)


class Layer(nn.Linear):  # of torch's own layers torch compiles none by itself
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(torch.sin(x), self.weight, self.bias)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 8), Layer(8, 2)
        self.error: Callable[[Tensor, Tensor], Tensor] = mean_error

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x))
        return out


def loss(model: nn.Module, batch: Batch) -> Tensor:
    error: Tensor = inside(model).error(model(batch["x"]), batch["y"])
    return error


def inside(model: nn.Module) -> Any:
    return getattr(model, "_orig_mod", model)


BATCH = Batch({"x": torch.randn(6, 4), "y": torch.randn(6, 2)}, samples=6)


def with_the_model(backend: Counting, fullgraph: bool) -> nn.Module:
    return torch.compile(Net(), backend=backend, fullgraph=fullgraph)  # type: ignore[return-value]


def with_the_model_in_place(backend: Counting, fullgraph: bool) -> nn.Module:
    model = Net()
    model.compile(backend=backend, fullgraph=fullgraph)
    return model


def with_a_layer(backend: Counting, fullgraph: bool) -> nn.Module:
    model = Net()
    model.last.compile(backend=backend, fullgraph=fullgraph)
    return model


def with_a_function_of_the_loss(backend: Counting, fullgraph: bool) -> nn.Module:
    model = Net()
    model.error = torch.compile(mean_error, backend=backend, fullgraph=fullgraph)
    return model


WAYS = [with_the_model, with_the_model_in_place, with_a_layer, with_a_function_of_the_loss]


def by(engine: CurvatureEngine, **options: Any) -> Callable[[nn.Module], object]:
    def measure(model: nn.Module) -> object:
        return directional_curvature(
            model, loss, [BATCH], {"0": random_direction(model, seed=0)}, engine=engine, **options
        )["0"]

    return measure


def along(model: nn.Module) -> object:
    with Objective(model, loss, [BATCH]).along(random_direction(model, seed=0)) as loss_at:
        return loss_at(0.5)


def watched(model: nn.Module) -> object:
    """Of a step that is taken without the compiled code, so that whatever is counted is the measurement's."""
    with StepGeometry(model, loss).around(BATCH) as step, torch.no_grad():
        for p in model.parameters():
            p.mul_(0.5)
    return step.ledger


LOOKS: dict[str, Callable[[nn.Module], object]] = {
    "jets": by("jets"),
    "jets, counting memory": by("jets", memory=2**20),
    "adjoint": by("adjoint"),
    "double backward": by("double_backward"),
    "a gradient": lambda m: [g.tolist() for g in Objective(m, loss, [BATCH]).gradient().values()],
    "products": lambda m: [
        g.tolist() for g in Objective(m, loss, [BATCH]).gradient_and_products([random_direction(m, seed=0)])[0].values()
    ],
    "a line": along,
    "finite differences": lambda m: finite_difference_curvature(m, loss, [BATCH], {"0": random_direction(m, seed=0)}),
    "a step": watched,
}


@pytest.mark.slow
@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_compiled_stays_compiled_and_is_measured_as_it_was_written(
    way: Callable[[Counting, bool], nn.Module], fullgraph: bool, backend: Counting
) -> None:
    model, plain = way(backend, fullgraph), Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        loss(model, BATCH).backward()
        optimizer.step()

    step()
    each = backend.during(step)
    assert each > 0
    for name, look in LOOKS.items():
        inside(plain).load_state_dict(inside(model).state_dict())
        seen: list[object] = []
        assert backend.during(lambda: seen.append(look(model))) == 0, name  # noqa: B023  # called at once
        assert seen == [look(plain)], name
        assert backend.during(step) == each, name
