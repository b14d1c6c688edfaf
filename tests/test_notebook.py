"""What the public names print in a notebook."""

import subprocess
import sys

import torch

import clipbench
from clipbench import CoordinateClip, FixedClip, StepGeometry


def test_the_package_lists_its_public_names_without_importing_torch() -> None:
    code = "import clipbench, sys; print(dir(clipbench), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [
        "CoordinateClip",
        "FixedClip",
        "StepGeometry",
        "__version__",
        "directional_curvature",
        "load",
        "load_curves",
        "problem",
    ]
    assert done.stdout == f"{names} False\n"
    assert all(hasattr(clipbench, name) for name in names)


def test_a_clip_prints_its_optimizer_and_its_settings() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(4))], lr=0.1)
    clip = CoordinateClip(optimizer, 0.1, of="update")
    settings = "fraction=0.1, of='update', scope='global', scale='none', ignore_zeros=False"
    assert repr(clip) == f"CoordinateClip(SGD, {settings})"
    clip.remove()
    assert repr(FixedClip(optimizer, norm=2)) == "FixedClip(SGD, norm=2.0)"


def test_a_step_prints_what_was_measured() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    geometry = StepGeometry(model, lambda model, x: 0.5 * model(x).square().mean())
    with geometry.around(torch.ones(1, 1)) as step, torch.no_grad():  # ½w², from 2 to 1
        assert str(step) == "ObservedStep(not measured yet)"
        model.weight.sub_(1.0)
    values = "slope=-2, sharpness=1, cosine=1, predicted_change=-1.5, observed_change=-1.5"
    assert str(step) == f"ObservedStep({values})"
