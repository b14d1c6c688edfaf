"""Curvature on a GPU, from batches and directions that lie on the CPU, is that of the CPU."""

import pytest
import torch
from oracles import Trace
from reference.problems import problem, random_direction

from clipbench.geometry.curvature import CurvatureEngine, directional_curvature

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("engine", ["auto", "adjoint"])
@pytest.mark.parametrize("kind", ["mlp", "transformer", "convolutional"])
def test_it_is_that_of_the_cpu_and_leaves_no_trace(kind: str, engine: CurvatureEngine) -> None:
    given = problem(kind)
    directions = {"u": random_direction(given.model, seed=1)}
    expected = directional_curvature(given.model, given.loss, given.probe_batches, directions, engine=engine)["u"]
    model = given.model.cuda()
    before, random_state = Trace.of(model), torch.cuda.get_rng_state()
    found = directional_curvature(model, given.loss, given.probe_batches, directions, engine=engine)["u"]
    before.assert_unchanged(model)
    assert torch.equal(torch.cuda.get_rng_state(), random_state)
    tolerance = 1e-4  # float32 on both, in other orders
    assert found.slope == pytest.approx(expected.slope, rel=tolerance, abs=1e-5)
    assert found.curvature == pytest.approx(expected.curvature, rel=tolerance, abs=1e-5)
    assert found.norm == pytest.approx(expected.norm, rel=1e-12)
