"""A step at GPT-Neo's size (125 M parameters with its vocabulary, 12 layers of 768, 2,048 tokens), without memory.

Under torch's FakeTensorMode nothing is computed, and reading a number back from the device is an error: what would make
a GPU wait inside a step fails here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from full_size import MODELS, every_model, paper_model
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from clipbench.contracts import Batch, Problem
from clipbench.geometry.ghosts import HeldPoint
from clipbench.records import TrainingSettings
from clipbench.running.equipment import trainable
from clipbench.running.precision import equip
from clipbench.running.stepping import evaluated, take
from clipbench.tasks.code_lm import CodeModel, loss

pytestmark = pytest.mark.slow

SEQUENCES, CONTEXT = 4, 2048


def full_size() -> tuple[Problem, Batch]:
    model = CodeModel(width=768, layers=12, heads=12, context=CONTEXT)
    batch = Batch({"tokens": torch.randint(256, (SEQUENCES, CONTEXT + 1))}, SEQUENCES, SEQUENCES * CONTEXT)
    return Problem(model, loss, lambda _: iter([batch]), [batch], [batch]), batch


@contextmanager
def counted() -> Iterator[Callable[[], float]]:
    """Inside, a function for the GiB that autograd keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(kept.values()) / 2**30


def test_a_step_and_its_ghosts_wait_for_no_number() -> None:
    with FakeTensorMode():
        problem, batch = full_size()
        parameters = trainable(problem.model)
        optimizer, ghost = (torch.optim.AdamW(parameters.values(), lr=1e-3, foreach=True) for _ in range(2))
        point = HeldPoint(parameters)

        def evaluate() -> Tensor:
            found = evaluated(problem, batch)
            point.hold()
            point.tried(ghost)
            return found

        take(optimizer, "gradient", evaluate)
        assert sum(p.numel() for p in parameters.values()) > 80e6


@every_model
def test_a_step_of_the_papers_models_waits_for_no_number(name: str) -> None:
    with FakeTensorMode():
        model, loss, batch = paper_model(name)
        problem = Problem(model, loss, lambda _: iter([batch]), [batch], [batch])
        optimizer = torch.optim.SGD(trainable(model).values(), lr=1e-3, momentum=0.9, foreach=True)
        take(optimizer, "gradient", lambda: evaluated(problem, batch))
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(MODELS[name], rel=1e-3)


def test_a_step_that_reads_a_number_is_noticed() -> None:
    with FakeTensorMode():
        problem, batch = full_size()
        found = evaluated(problem, batch).detach()
        with pytest.raises(DataDependentOutputException):
            float(found)


@pytest.mark.parametrize(("recompute", "least", "most"), [(False, 1.0, 1.4), (True, 0.0, 0.02)])
def test_what_a_sequence_keeps_for_the_backward_pass(recompute: bool, least: float, most: float) -> None:
    """In GiB, beside the weights. Where blocks recompute, torch holds their inputs apart: 6 MiB each, not in here."""
    with FakeTensorMode():
        problem, batch = full_size()
        equip(problem.model, TrainingSettings(recompute=recompute))
        weights = sum(p.nbytes for p in problem.model.parameters()) / 2**30
        with counted() as kept:
            problem.loss(problem.model, batch)
            each = (kept() - weights) / SEQUENCES
    assert least < each < most
