import math
from itertools import islice

import pytest
import torch
from torch.autograd.functional import hessian
from torch.func import functional_call

from clipbench.contracts import Batch
from clipbench.tasks.heavy_tail import build, class_counts, draw_examples

CPU = torch.device("cpu")


def test_group_k_has_two_to_the_k_classes_of_two_to_the_seven_minus_k_examples() -> None:
    counts = class_counts(8).tolist()
    assert len(counts) == 255
    assert sum(counts) == 1024
    assert [counts.count(2 ** (7 - k)) for k in range(8)] == [2**k for k in range(8)]


@pytest.mark.parametrize("groups", [1, 3, 8])
def test_every_group_has_as_many_examples(groups: int) -> None:
    counts = class_counts(groups)
    assert len(counts) == 2**groups - 1
    assert all(counts[2**k - 1 : 2 ** (k + 1) - 1].sum() == 2 ** (groups - 1) for k in range(groups))


def test_labels_follow_the_counts_and_inputs_lie_in_the_unit_cube_with_mean_one_half() -> None:
    drawn = draw_examples(8, 512, name="test")
    assert drawn["inputs"].shape == (1024, 512)
    assert torch.equal(torch.bincount(drawn["classes"]), class_counts(8))
    assert drawn["inputs"].min() >= 0
    assert drawn["inputs"].max() <= 1
    assert drawn["inputs"].mean().item() == pytest.approx(0.5, abs=0.005)  # four standard errors are 0.0016


@pytest.mark.parametrize("seed", range(3))
def test_the_first_loss_is_the_logarithm_of_the_number_of_classes(seed: int) -> None:
    problem = build(seed, CPU)
    (batch,) = problem.eval_batches
    assert problem.loss(problem.model, batch).item() == pytest.approx(math.log(255), rel=0.01)


def test_the_full_batch_is_the_data_whatever_the_order_and_the_evaluation_is_the_same() -> None:
    problem = build(0, CPU)
    (whole,) = problem.eval_batches
    for batch in islice(problem.train_batches(0), 2):
        assert batch.samples == 1024
        assert sorted(batch["inputs"].tolist()) == sorted(whole["inputs"].tolist())
        torch.testing.assert_close(problem.loss(problem.model, batch), problem.loss(problem.model, whole))


def test_the_problem_is_convex() -> None:
    problem = build(0, CPU, groups=3, features=4)
    model = problem.model.double()
    (batch,) = problem.eval_batches
    batch = Batch({"inputs": batch["inputs"].double(), "classes": batch["classes"]}, samples=batch.samples)

    def value(weight: torch.Tensor) -> torch.Tensor:
        logits = functional_call(model, {"weight": weight}, (batch["inputs"],))
        return torch.nn.functional.cross_entropy(logits, batch["classes"])

    curvature = hessian(value, model.get_parameter("weight").detach()).reshape(28, 28)
    assert torch.linalg.eigvalsh(curvature).min() > -1e-12


def test_sizes_are_options() -> None:
    problem = build(0, CPU, groups=4, features=6, batch=5)
    assert next(problem.train_batches(0))["inputs"].shape == (5, 6)
    assert problem.model.get_parameter("weight").shape == (15, 6)
    assert sum(batch.samples for batch in problem.probe_batches) == 4 * 32


@pytest.mark.parametrize("option", ["groups", "features", "batch"])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a positive number, not 0"):
        build(0, CPU, **{option: 0})


def test_too_many_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="groups must be at most 12, not 13"):
        build(0, CPU, groups=13)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1024, the number of examples, not 1025"):
        build(0, CPU, batch=1025)
