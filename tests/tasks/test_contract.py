"""What every task on the shelf promises; a new file is enrolled by being there."""

import ast
import random
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import clipbench.tasks
from clipbench.contracts import Batch, Problem
from clipbench.data import SOURCES
from clipbench.running.contract import broken
from clipbench.spec import catalogue

pytestmark = pytest.mark.slow  # every task of the shelf is built and trained

CPU = torch.device("cpu")
SHELF = {file.stem: file for file in sorted(Path(clipbench.tasks.__path__[0]).glob("[!_]*.py"))}

# Options that make a problem of another kind; a task that is not here is tried with its defaults.
VARIANTS: Mapping[str, list[dict[str, Any]]] = {
    # The full batch takes longer: test_code_tokens.py has that.
    "code_tokens": [{}, *({"classes": classes, "vocabulary": 100} for classes in ("uniform", "reweighted"))],
    "digits": [{"model": "vit"}, {"model": "cnn"}],
    "number_translation": [{}, {"start": "pretrained"}],
    "heavy_tail": [{}, {"batch": 32}],
    "images": [{"architecture": architecture} for architecture in ("resnet18", "resnet50", "vit")],
    # Without noise its batches are all the same: test_quadratic.py has that.
    "quadratic": [{"noise": 0.1, "batch": 4}, {"noise": 0.1, "rotated": True, "correlation": "none"}],
}


@dataclass(frozen=True)
class Case:
    task: str
    options: Mapping[str, Any]

    def build(self, seed: int = 0) -> Problem:
        if "model" in catalogue.entry("tasks", self.task).files:
            pytest.importorskip("transformers", reason="not installed: transformers")
        problem: Problem = import_module(f"clipbench.tasks.{self.task}").build(seed, CPU, **self.options)
        return problem

    def __str__(self) -> str:
        return " ".join([self.task, *(f"{name}={value}" for name, value in self.options.items())])


CASES = [Case(task, options) for task in SHELF for options in VARIANTS.get(task, [{}])]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
# T5's norm and GPT-Neo's attention compute in float32, whatever their weights are; test_paper_models.py has the
# curvature of both.
IN_FLOAT32 = ("causal_lm", "seq2seq")
every_case_in_float64 = pytest.mark.parametrize(
    "case", [case for case in CASES if case.task not in IN_FLOAT32], ids=str
)
every_file = pytest.mark.parametrize("task", SHELF)


def same_batch(one: Batch, other: Batch) -> bool:
    return (
        (one.samples, one.tokens) == (other.samples, other.tokens)
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(one[name], other[name]) for name in one.tensors)
    )


def same_weights(one: Problem, other: Problem) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def take(problem: Problem, count: int) -> list[Batch]:
    return list(islice(problem.train_batches(0), count))


def rows(batch: Batch) -> set[tuple[bytes, ...]]:
    """Each example as bytes, without the zeros at its end: padding makes no other example of it."""
    stripped = [
        [np.trim_zeros(row.numpy(), "b").tobytes() for row in tensor.reshape(len(tensor), -1)]
        for tensor in batch.tensors.values()
    ]
    return set(zip(*stripped, strict=True))


def mean_loss(problem: Problem, batches: list[Batch]) -> float:
    with torch.no_grad():
        total = sum(problem.loss(problem.model, batch).item() * batch.weight for batch in batches)
    return total / sum(batch.weight for batch in batches)


def test_the_shelf_holds_the_tasks_of_the_first_release() -> None:
    assert set(SHELF) >= {"code_lm", "number_translation", "digits", "heavy_tail", "quadratic"}


@every_file
def test_the_data_named_in_the_file_is_a_known_source(task: str) -> None:
    assigned = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(SHELF[task].read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id == "DATA"
    }
    assert assigned.get("DATA") in {None, *SOURCES}


@every_file
def test_options_are_annotated_so_that_a_spec_can_be_checked_against_the_text(task: str) -> None:
    tree = ast.parse(SHELF[task].read_text())
    (build,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build")
    assert [argument.arg for argument in build.args.args] == ["seed", "device"]
    for argument in build.args.kwonlyargs:
        assert argument.annotation is not None
        names = {node.id for node in ast.walk(argument.annotation) if isinstance(node, ast.Name)}
        assert names <= {"bool", "int", "float", "str", "tuple", "Literal"}, argument.arg


@every_case
def test_every_promise_that_validate_proves_is_kept(case: Case) -> None:
    assert list(broken(case.build, 0, steps=40, last=199)) == []


@every_case
def test_building_and_drawing_leave_the_global_generator_as_it_was(case: Case) -> None:
    before = torch.get_rng_state()
    take(case.build(), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("case", [case for case in CASES if case.options.get("start") != "pretrained"], ids=str)
def test_another_seed_gives_other_weights(case: Case) -> None:
    assert not same_weights(case.build(seed=0), case.build(seed=1))


@every_case
def test_another_seed_gives_other_batches_but_the_same_held_out_ones(case: Case) -> None:
    one, other = case.build(seed=0), case.build(seed=1)
    assert not any(map(same_batch, take(one, 3), take(other, 3)))
    assert all(map(same_batch, one.eval_batches, other.eval_batches))
    assert all(map(same_batch, one.probe_batches, other.probe_batches))


@every_case
def test_one_backward_pass_gives_every_trainable_parameter_a_finite_gradient(case: Case) -> None:
    problem = case.build()
    problem.loss(problem.model, take(problem, 1)[0]).backward()
    for name, parameter in problem.model.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_case
def test_batches_say_what_they_hold(case: Case) -> None:
    problem = case.build()
    for batch in (*take(problem, 2), *problem.eval_batches, *problem.probe_batches):
        assert all(len(tensor) == batch.samples for tensor in batch.tensors.values())
        assert all(tensor.device == CPU for tensor in batch.tensors.values())
        assert batch.weight >= batch.samples > 0


@pytest.mark.slow
@every_case
def test_no_probe_is_trained_on(case: Case) -> None:
    problem = case.build()
    trained_on = set().union(*map(rows, take(problem, 40)))
    assert trained_on.isdisjoint(set().union(*map(rows, problem.probe_batches)))


@every_case_in_float64
def test_second_derivatives_through_the_math_kernel_agree_with_differences_of_gradients(case: Case) -> None:
    problem = case.build()
    model = problem.model.double()
    batch = take(problem, 1)[0]
    batch = Batch(
        {name: x.double() if x.is_floating_point() else x for name, x in batch.tensors.items()}, samples=batch.samples
    )
    parameters = list(model.parameters())
    draw = torch.Generator().manual_seed(0)
    along = [torch.randn(p.shape, generator=draw, dtype=torch.float64) for p in parameters]

    def moved(by: float) -> None:
        with torch.no_grad():
            for parameter, direction in zip(parameters, along, strict=True):
                parameter.add_(by * direction)

    def gradient(*, create_graph: bool = False) -> Tensor:
        found = torch.autograd.grad(problem.loss(model, batch), parameters, create_graph=create_graph)
        return torch.cat([part.flatten() for part in found])

    step = 1e-6  # small, so that no ReLU or maximum of the CNN turns over on the way
    with sdpa_kernel(SDPBackend.MATH):
        slope = gradient(create_graph=True) @ torch.cat([direction.flatten() for direction in along])
        found = torch.cat([part.flatten() for part in torch.autograd.grad(slope, parameters)])
        moved(step)
        ahead = gradient()
        moved(-2 * step)
        expected = (ahead - gradient()) / (2 * step)
    # Differences of float64 gradients: rounding of 1e-16/1e-6, and a third derivative times 1e-12.
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.slow
@every_case
def test_a_few_steps_of_adam_lower_the_reported_loss(case: Case) -> None:
    problem = case.build()
    before = mean_loss(problem, list(problem.eval_batches))
    optimizer = torch.optim.Adam(problem.model.parameters(), lr=0.003)
    for batch in take(problem, 40):
        optimizer.zero_grad()
        problem.loss(problem.model, batch).backward()
        optimizer.step()
    assert mean_loss(problem, list(problem.eval_batches)) < 0.97 * before


@every_case
def test_drawing_a_batch_touches_no_global_generator(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a thread may draw it beside a step. To put a generator back is to touch it, too."""
    problem, of_torch = case.build(), torch.default_generator

    def states() -> list[object]:
        return [of_torch.get_state().tolist(), random.getstate(), str(np.random.get_state(legacy=False))]

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("a global generator was seeded or put back")

    before = states()
    with monkeypatch.context() as patched:
        for module, name in [
            *((torch, name) for name in ("manual_seed", "seed", "set_rng_state")),
            *((torch.random, name) for name in ("manual_seed", "set_rng_state", "fork_rng")),
            *((module, name) for module in (random, np.random) for name in ("seed", "setstate", "set_state")),
        ]:
            patched.setattr(module, name, touched, raising=False)
        for module in (torch, torch.random):
            patched.setattr(module, "default_generator", None)
        take(problem, 5)
    assert states() == before
