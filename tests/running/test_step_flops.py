"""The operations of a step are counted, and what torch.compile has compiled stays compiled."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from reference.problems import problem
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.records import Arm, Choice
from clipbench.running.liveness import step_flops

HERE = "compiled_rules"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for every call of a compiled graph: of the rule of `Compiled`, or of a function `compiled`."""
    torch._dynamo.reset()
    made: list[int] = []

    def backend(graph: Callable[..., Any], _: object) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            made.append(1)
            return graph(*args)

        return call

    def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return torch.compile(function, backend=backend, fullgraph=True, dynamic=False)

    rule = compiled(lambda p, g, lr: p - lr * (p @ p.T @ g if p.dim() == 2 else g))

    class Compiled(torch.optim.Optimizer):
        def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
            super().__init__(parameters, {"lr": lr})

        @torch.no_grad()
        def step(self) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for p in group["params"]:
                    p.copy_(rule(p, p.grad, group["lr"]))

    monkeypatch.setitem(sys.modules, HERE, SimpleNamespace(Compiled=Compiled, compiled=compiled))
    return made


def arm() -> Arm:
    return Arm("compiled", Choice("compiled", f"{HERE}:Compiled", f"{HERE}:Compiled", {"lr": 0.01}))


@pytest.mark.slow
@pytest.mark.parametrize("before", [0, 2])
def test_an_optimizer_that_compiles_its_rule_is_counted_as_it_is_written_and_steps_compiled(
    before: int, calls: list[int]
) -> None:
    given = problem("mlp")
    optimizer = sys.modules[HERE].Compiled(given.model.parameters(), lr=0.01)

    def steps(number: int) -> int:
        at = len(calls)
        for _ in range(number):
            given.loss(given.model, given.probe_batches[0]).backward()
            optimizer.step()
        return len(calls) - at

    steps(before)
    at = len(calls)
    sizes = [tuple(p.shape) for p in given.model.parameters() if p.dim() == 2]
    backward = step_flops(Arm("sgd", Choice("sgd", "sgd", "clipbench.optimizers.sgd:build", {"lr": 0.01})), given)
    assert backward is not None
    assert step_flops(arm(), given) == backward + sum(4 * m * m * n for m, n in sizes)
    assert len(calls) == at
    assert steps(3) == 3 * len(list(given.model.parameters()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while it traces
def test_a_compiled_model_trains_compiled_after_it_was_counted(calls: list[int]) -> None:
    plain = problem("mlp")
    error = sys.modules[HERE].compiled(lambda x: x.square().mean())

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        out: Tensor = error(model(batch["x"]))
        return out

    given = replace(plain, loss=loss)
    loss(given.model, given.probe_batches[0])
    step_flops(arm(), given)
    assert calls == [1]
    loss(given.model, given.probe_batches[0]).backward()
    assert calls == [1, 1]
