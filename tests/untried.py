"""Optimizers, probes and tasks that fail at their first steps, for the tests of what is tried before any run."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem, Snapshot
from clipbench.tasks.quadratic import build as quadratic

LEFT: list[str] = []  # what an arm leaves behind in its process


def _append(name: str, text: object) -> None:
    with Path(name).open("a") as file:
        file.write(f"{text}\n")


def counted(seed: int, device: torch.device) -> Problem:
    """A task that writes down how often it is built, and with which seed."""
    _append("built", seed)
    return quadratic(seed, device, dimension=8)


def broken(seed: int, device: torch.device) -> Problem:
    raise RuntimeError(f"no data for seed {seed} on {device}")


def ending(seed: int, device: torch.device) -> Problem:  # noqa: ARG001
    os._exit(9)


def forgetting(seed: int, device: torch.device) -> Problem:
    """A task whose loss takes from a Python generator, which nothing winds back, wherever a gradient may be wanted."""
    problem = quadratic(seed, device, dimension=8)
    taken = (number for number in itertools.count(1))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        factor = next(taken) if torch.is_grad_enabled() else 1
        return problem.loss(model, batch) * factor

    return replace(problem, loss=loss)


def unseeded(seed: int, device: torch.device) -> Problem:  # noqa: ARG001
    """A task whose runs are all copies of each other."""
    return quadratic(0, device, dimension=8)


def ending_later(seed: int, device: torch.device) -> Problem:
    """A task that ends its process when it is built once more in it."""
    LEFT.append("built")
    if len(LEFT) > 1:
        os._exit(9)
    return quadratic(seed, device, dimension=8)


class Exiting(torch.optim.SGD):
    """Ends its process without a word."""

    def step(self) -> None:  # type: ignore[override]
        os._exit(7)


class Leaving(torch.optim.SGD):
    """Calls sys.exit, as a script would."""

    def step(self) -> None:  # type: ignore[override]
        sys.exit("enough")


class Sleeping(torch.optim.SGD):
    """Starts a process that sleeps, says who both are, and sleeps itself."""

    def step(self) -> None:  # type: ignore[override]
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        _append("asleep", f"{os.getpid()} {child.pid}")
        time.sleep(600)


def _kill_the_server(times: int) -> None:
    """Say who this process is and what has forked it, kill that, and sleep; once that was done so often, do nothing."""
    asleep = Path("asleep")
    if asleep.exists() and len(asleep.read_text().splitlines()) >= times:
        return
    server = os.getppid()
    _append("asleep", f"{os.getpid()} {server}")
    os.kill(server, signal.SIGKILL)
    time.sleep(600)


class Bereaved(torch.optim.SGD):
    """Loses the server that has forked its process when it first takes a step."""

    times = 1  # no option: the check of life tries others

    def step(self) -> None:  # type: ignore[override]
        _kill_the_server(self.times)
        super().step()


class OftenBereaved(Bereaved):
    times = 9


def bereaved(seed: int, device: torch.device) -> Problem:
    """A task that loses the server when it is first built."""
    _kill_the_server(1)
    return counted(seed, device)


class Dirty(torch.optim.SGD):
    """Works, and leaves something behind."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        LEFT.append("dirt")


class Tidy(torch.optim.SGD):
    """Works in a process where nothing was left behind."""

    def step(self) -> None:  # type: ignore[override]
        if LEFT:
            raise RuntimeError("somebody was here")
        super().step()


def raising(snapshot: Snapshot) -> Iterable[tuple[str, str, float]]:  # noqa: ARG001
    raise ValueError("nothing to see")


def exiting(snapshot: Snapshot) -> Iterable[tuple[str, str, float]]:  # noqa: ARG001
    os._exit(3)


def choosy(snapshot: Snapshot) -> Iterable[tuple[str, str, float]]:
    """Looks at small steps only."""
    if snapshot.learning_rates["own"] > 0.1:
        raise ValueError("too far")
    yield "", "looked", 1.0
