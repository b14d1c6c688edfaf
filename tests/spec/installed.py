"""A package with entry points, as pip installs it, and the folder beside a spec."""

from pathlib import Path

import pytest

from clipbench.spec import offers

# Without torch, which takes seconds to import; `runnable` has them with it.
OPTIMIZER = '''
"""Descent with a factor."""
import own_help

def build(named_parameters, *, lr: float, clip: float = 1.0):
    """θ ← θ − lr · g.

    Args:
        lr: the rate.
        clip: a factor of the rate.
    """
'''
TASK = '''
"""A bowl of the user's."""

def build(seed, device, *, dimension: int = 4):
    """Make it."""
'''
PROBE = '''
"""A number."""
QUANTITIES = {"span": ("log", "lower", "greatest")}

def measure(snapshot):
    """Measure it."""
    yield "own", "span", 2.0
'''
STEP = """    import torch
    return torch.optim.SGD([parameter for _, parameter in named_parameters], lr=lr * clip * own_help.FACTOR)
"""
BOWL = """    from clipbench.tasks.quadratic import build as quadratic
    return quadratic(seed, device, dimension=dimension)
"""


def shelf_beside(folder: Path) -> None:
    """Write a shelf with an optimizer, a task and a probe into the folder of a spec, and the optimizer's helper."""
    for name, text in {"optimizers/mine": OPTIMIZER, "tasks/dish": TASK, "probes/span": PROBE}.items():
        path = folder / "shelf" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own_help.py").write_text("FACTOR = 1.0\n")


def runnable(folder: Path) -> None:
    """Write a shelf whose things can run."""
    shelf_beside(folder)
    (folder / "shelf/optimizers/mine.py").write_text(OPTIMIZER + STEP)
    (folder / "shelf/tasks/dish.py").write_text(TASK + BOWL)


def package(site: Path, name: str, points: str) -> None:
    """Install a package of one module with some entry points, each "kind.name = target"."""
    about = site / f"{name}-1.5.dist-info"
    about.mkdir(parents=True)
    (site / f"{name}.py").write_text(
        (OPTIMIZER + STEP).replace("import own_help", "").replace(" * own_help.FACTOR", "")
    )
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (about / "RECORD").write_text(f"{name}.py,sha256=x,1\n")
    lines = [point.partition(".") for point in points.splitlines()]
    (about / "entry_points.txt").write_text("".join(f"[clipbench.{kind}]\n{point}\n" for kind, _, point in lines))


def seen(site: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process, and those that it starts, see the packages of a folder."""
    patch.syspath_prepend(site)
    patch.setenv("PYTHONPATH", str(site), prepend=":")
    offers._installed.cache_clear()
