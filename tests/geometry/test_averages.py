"""Means and standard errors over the batches of one process."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipbench.geometry.averages import averaged


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(1, 50)), min_size=2, max_size=9))
def test_the_mean_and_its_error_are_those_of_the_textbook(pairs: list[tuple[float, int]]) -> None:
    x, w = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    ((mean, error),) = averaged([x.tolist()], [int(each) for each in w])
    middle = (w * x).sum() / w.sum()
    assert mean == pytest.approx(float(middle), abs=1e-9)
    variance = len(x) / (len(x) - 1) * ((w / w.sum()) ** 2 * (x - middle) ** 2).sum()
    assert error == pytest.approx(float(variance.sqrt()), abs=1e-9)


def test_a_single_batch_has_no_error() -> None:
    ((mean, error),) = averaged([[3.0]], [7])
    assert mean == 3.0
    assert math.isnan(error)
