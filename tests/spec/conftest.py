"""A small shelf of its own, so that the tests do not move with the real ones."""

from pathlib import Path

import pytest
from spec.bench import Bench

_TASK = '''
"""A bowl."""
import torch  # a shelf file may need it; whoever reads the shelf must not

DATA = "bowl_data"

def build(seed: int, device: torch.device, *, width: int = 8, spread: tuple[float, ...] = (1.0, 2.0), name: str = "a"):
    """Make it.

    Args:
        seed: of the weights.
        width: how many parameters.
        spread: curvatures.
    """
'''

_PLAIN_TASK = '''
"""A valley."""

def build(seed, device, *, depth: float = 1.0, floor: float | None = None):
    """Make it."""
'''

_OPTIMIZER = '''
"""Gradient descent."""
from typing import Literal

Form = Literal["plain", "fancy"]
EPS: float = 1e-8

def build(
    named_parameters, *, lr: float, momentum: float = 0, betas: tuple[float, float] = (0.9, 0.999), eps: float = EPS,
    nesterov: bool = False, form: Form = "plain", every: int = 1, cap: float | None = None,
):
    """Make it."""
'''

_PROBE = '''
"""Curvature."""

def measure(snapshot, *, samples: int = 1):
    """Measure it."""
'''


@pytest.fixture
def shelves(tmp_path: Path) -> Path:
    root = tmp_path / "bench"
    files = {
        "tasks/bowl": _TASK,
        "tasks/valley": _PLAIN_TASK,
        "optimizers/descent": _OPTIMIZER,
        "probes/sharpness": _PROBE,
        "probes/norms": _PROBE,
    }
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "tasks" / "__init__.py").write_text('"""Tasks."""\n')
    return root


@pytest.fixture
def bench(tmp_path: Path, shelves: Path) -> Bench:
    return Bench(tmp_path, shelves)
