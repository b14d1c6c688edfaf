"""What the fork server does once, so that no run does it: load torch, what torch loads at first use, and geometry.

The shelves are left to the workers: their code is in the keys of runs, so each run loads it as it is on the disk, and
a file that cannot be imported fails its own runs.
"""

import pkgutil
from importlib import import_module

import torch

from clipbench import geometry
from clipbench.running import worker as worker

# Modules that are imported only at first use: by NumPy, by torch when it writes a checkpoint, and by tasks on files.
_AT_FIRST_USE = ("numpy.ma", "torch.utils.serialization.config", "clipbench.sources.contents")


def _load_what_the_first_step_loads() -> None:
    """Importing torch leaves its compiler out; the first step of any optimizer brings it in, which takes seconds.

    No gradient is computed here: autograd would start threads, and those do not survive a fork.
    """
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.SGD([parameter], lr=0.1).step()


def _load_what_probes_load() -> None:
    for module in pkgutil.walk_packages(geometry.__path__, f"{geometry.__name__}."):
        import_module(module.name)


_load_what_the_first_step_loads()
_load_what_probes_load()
for _module in _AT_FIRST_USE:
    import_module(_module)
