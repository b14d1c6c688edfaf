"""How curvature was measured, in words."""

from dataclasses import replace

from reference.problems import NO_DATA
from reference.quadratics import on_a_quadratic, positive_definite, vector

from clipbench.geometry.curvature import directional_curvature
from clipbench.geometry.said import engine


def test_the_engine_is_named_and_a_fallback_has_its_reason() -> None:
    held = on_a_quadratic(positive_definite(3, seed=0), vector(3, seed=1), own=vector(3, seed=2))
    found = directional_curvature(held.problem.model, held.problem.loss, [NO_DATA], held.directions)
    assert engine(found) == "engine jets"
    fallen_back = replace(found, engine="double_backward", missing_operation="aten.fft.default")
    assert (
        engine(replace(found, engine="double_backward", disagreement="slope"))
        == "engine double_backward, as jets do not agree with ordinary differentiation on the slope"
    )
    assert engine(fallen_back) == "engine double_backward, as jets have no rule for aten.fft.default"
