"""Settings that cannot be had together are refused, each with a sentence."""

from pathlib import Path

import pytest

from clipbench.errors import SpecError
from clipbench.spec import load

PLAIN = """\
# Is it?
task: quadratic
optimizers:
  sgd: {use: sgd, lr: 0.1}
  second: {use: sgd, lr: 0.1, create_graph: true}
budget: {steps: 100}
seeds: [0]
"""


def faults(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path)
    return [f"{one.line}:{one.column}: {one.message}" for one in caught.value.faults]


def test_an_arm_that_differentiates_the_gradient_cannot_be_compiled(tmp_path: Path) -> None:
    path = tmp_path / "race.yaml"
    path.write_text(PLAIN)
    assert [arm.name for arm in load(path).arms] == ["sgd", "second"]
    path.write_text(f"{PLAIN}training: {{compile: true}}\n")
    assert faults(path) == [
        "5:45: optimizers.second.create_graph: torch cannot differentiate the gradient of a compiled model; take out "
        "`compile: true` under `training`, or this arm"
    ]
    path.write_text(path.read_text().replace(", create_graph: true", ""))
    assert load(path).training.compile


def test_finite_steps_are_not_compared_with_a_curvature_in_tf32(tmp_path: Path) -> None:
    path = tmp_path / "race.yaml"
    path.write_text(f"{PLAIN}measure: {{precision: tf32, probes: [sharpness, taylor]}}\n")
    assert load(path).measure.precision == "tf32"
    path.write_text(path.read_text().replace("taylor", "kinks"))
    assert faults(path) == [
        "8:22: measure.precision: the probe kinks compares curvature with finite steps in float32, which tf32 is too "
        "coarse for; write float32, or take the probe out"
    ]
    path.write_text(path.read_text().replace("tf32", "float32"))
    assert load(path).measure.precision == "float32"
