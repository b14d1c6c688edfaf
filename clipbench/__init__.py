"""A benchmark for deep-learning optimizers: loss, time, directional sharpness and coordinate-wise clipping."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipbench.clipping.baselines import FixedClip as FixedClip
    from clipbench.clipping.hook import CoordinateClip as CoordinateClip
    from clipbench.geometry.curvature import directional_curvature as directional_curvature
    from clipbench.geometry.step import StepGeometry as StepGeometry
    from clipbench.loading import load as load
    from clipbench.loading import load_curves as load_curves
    from clipbench.problems import problem as problem

__version__ = "0.1.0"
__all__ = [
    "CoordinateClip",
    "FixedClip",
    "StepGeometry",
    "__version__",
    "directional_curvature",
    "load",
    "load_curves",
    "problem",
]

# Names are handed out on first use: the reading wing imports this package and must stay without torch.
_HOMES = {
    "CoordinateClip": "clipbench.clipping.hook",
    "FixedClip": "clipbench.clipping.baselines",
    "StepGeometry": "clipbench.geometry.step",
    "load": "clipbench.loading",
    "load_curves": "clipbench.loading",
    "directional_curvature": "clipbench.geometry.curvature",
    "problem": "clipbench.problems",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
