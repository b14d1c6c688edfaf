"""Inner products and norms in float64."""

import math

import pytest
import torch

from clipbench.geometry.products import inner, norm, widened


def test_they_run_over_all_tensors_as_one_vector() -> None:
    left = [torch.tensor([[1.0, 2.0]]), torch.tensor(3.0), torch.empty(0)]
    right = [torch.tensor([[4.0, -5.0]]), torch.tensor(6.0), torch.empty(0)]
    assert inner(left, right) == 12.0
    assert norm(left) == pytest.approx(math.sqrt(14.0), rel=1e-15)
    assert inner([], []) == norm([]) == 0.0


def test_small_terms_are_not_lost_beside_large_ones() -> None:
    tensor = torch.full((1 << 14,), 1e-4)
    tensor[0] = 1.0
    exact = 1.0 + ((1 << 14) - 1) * float(tensor[1]) ** 2
    assert norm([tensor]) ** 2 == pytest.approx(exact, rel=1e-12)
    assert inner([tensor], [tensor]) == pytest.approx(exact, rel=1e-12)


def test_squares_that_do_not_fit_float32_fit_here() -> None:
    assert norm([torch.tensor([3e30, 4e30])]) == pytest.approx(5e30, rel=1e-6)  # the inputs are float32
    assert norm([torch.tensor([3e-30, 4e-30])]) == pytest.approx(5e-30, rel=1e-6)


def test_tensors_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        inner([torch.ones(2)], [])


def test_a_widened_tensor_has_no_graph() -> None:
    wide = widened(torch.ones(2, 2, requires_grad=True) * 2)
    assert (wide.dtype, wide.shape, wide.requires_grad) == (torch.float64, (4,), False)
