"""Optimizers as a user may have them lying beside a spec."""

import os
import resource
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn


class Gentle(torch.optim.SGD):
    """An ordinary optimizer."""


class Raising(torch.optim.SGD):
    """Fails at its first step."""

    def step(self) -> None:  # type: ignore[override]
        raise RuntimeError("too far")


class Fragile(torch.optim.SGD):
    """Fails above a rate of 0.003, until there is a file called `mended`: by its setting, or by where it runs?"""

    def step(self) -> None:  # type: ignore[override]
        if self.param_groups[0]["lr"] > 0.003 and not Path("mended").exists():
            raise RuntimeError("too fast")
        super().step()


class Stopping(torch.optim.SGD):
    """Has its process told to stop at its first step, until there is a file called `mended`."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        if not Path("mended").exists():
            os.kill(os.getpid(), signal.SIGTERM)


class Slow(torch.optim.SGD):
    """Takes so many seconds a step in a run, and leaves a file called `stepping`; before the first run it is quick."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, seconds: float) -> None:
        super().__init__(params, lr=lr)
        self.seconds = seconds

    def step(self) -> None:  # type: ignore[override]
        if Path("/proc/self/fd/1").resolve().name == "log.txt":  # a worker's own
            Path("stepping").touch()
            time.sleep(self.seconds)
        super().step()


class Paced(torch.optim.SGD):
    """Takes 20 ms a step in a run, until there is a file called `quick`."""

    def step(self) -> None:  # type: ignore[override]
        if Path("/proc/self/fd/1").resolve().name == "log.txt" and not Path("quick").exists():
            time.sleep(0.02)
        super().step()


class Sleeping(torch.optim.SGD):
    """Takes ten minutes a step."""

    def step(self) -> None:  # type: ignore[override]
        time.sleep(600)


class Filling(torch.optim.SGD):
    """Lets its process write no file beyond 4 kB, as on a full disk, until there is a file called `space`."""

    room = 4096

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, lr=lr)
        if not Path("space").exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, resource.RLIM_INFINITY))


class Full(Filling):
    """The same with no room even for the word that it failed."""

    room = 1


class Unlucky(torch.optim.SGD):
    """Does in a run what the file `fate` says, from the second step of this process on; a step takes 0.02 s."""

    steps = 0
    hoard: bytes = b""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        if Path("/proc/self/fd/1").resolve().name != "log.txt":  # not a worker
            return
        self.steps += 1
        fate = Path("fate").read_text() if Path("fate").exists() else ""
        time.sleep(0.0 if fate == "hurried" else 0.02)
        if self.steps > 1 and fate == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            Path("stepping").touch()
            while True:
                time.sleep(600)
        if self.steps > 1 and fate == "hungry":
            self.hoard = bytes(range(256)) * (1 << 23)  # 2 GiB
