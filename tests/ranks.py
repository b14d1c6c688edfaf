"""Several processes that meet over gloo, for tests; a meeting that never comes about does not hang the suite."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.multiprocessing.spawn import spawn

PATIENCE = 60.0  # seconds; a busy machine has taken 47


def meet(rank: Callable[..., Any], folder: Path, *, ranks: int) -> Path:
    """Run `rank(number, folder)` in so many processes, and return the folder they were given.

    What a rank raises is raised here. Ranks that hang are killed and meet once more in a folder of their own: gloo now
    and then loses a connection while it is being made.
    """
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # this machine alone: no name of it needs to be looked up
    for attempt in ("first", "second"):
        place = folder / attempt
        place.mkdir()
        context = spawn(rank, args=(str(place),), nprocs=ranks, join=False)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if context.join(timeout=1.0):
                return place
        for process in context.processes:
            process.kill()
    raise TimeoutError(f"{ranks} ranks hung twice for {PATIENCE:g} s")
