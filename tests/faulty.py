"""Optimizers, probes and tasks with a fault each, for the tests that must catch it."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from clipbench.contracts import Batch, Problem, Snapshot
from clipbench.tasks.quadratic import build as quadratic


class Unmoving(torch.optim.SGD):
    """Looks like SGD and never steps (pitfall 13: a benchmark that timed no-ops)."""

    def step(self) -> None: ...  # type: ignore[override]


class SignOnly(torch.optim.Optimizer):
    """The sign of the raw gradient: no clip of the gradient can change it (pitfall 1: an arm that is its own twin)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad.sign()


class OptionDropper(torch.optim.SGD):
    """Takes any option and drops those it does not know (pitfall 19)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, **rest: Any) -> None:  # noqa: ARG002
        super().__init__(parameters, lr=lr)


class OtherMomentum(torch.optim.SGD):
    """Runs with another value than it was told (pitfall 14: a log that prints what was never applied)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum / 2)


class HiddenOption(torch.optim.SGD):
    """Keeps an option where nobody sees it, and uses it."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, scale: float = 1.0) -> None:
        super().__init__(parameters, lr=lr * scale)
        self.param_groups[0]["lr"] = lr
        self._hidden = scale

    def step(self) -> None:  # type: ignore[override]
        self.param_groups[0]["lr"] *= self._hidden
        super().step()
        self.param_groups[0]["lr"] /= self._hidden


class Killed(torch.optim.SGD):
    """Kills its own process at the fifth step, as the kernel does when memory runs out."""

    steps = 0

    def step(self) -> None:  # type: ignore[override]
        super().step()
        self.steps += 1
        if self.steps == 5:
            os.kill(os.getpid(), signal.SIGKILL)


class Deaf(torch.optim.SGD):
    """Hangs at its first step, and ends for no signal that can be ignored."""

    def step(self) -> None:  # type: ignore[override]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(600)


class Slow(torch.optim.SGD):
    """Each of its steps takes a while."""

    def step(self, *args: Any, **options: Any) -> Any:
        time.sleep(0.5)
        return super().step(*args, **options)


class Raising(torch.optim.SGD):
    """Raises at the fifth step."""

    steps = 0

    def step(self) -> None:  # type: ignore[override]
        super().step()
        self.steps += 1
        if self.steps == 5:
            raise RuntimeError("the fifth step is too far")


class Multiplying(torch.optim.SGD):
    """Multiplies every matrix with itself at each step, and makes no use of it."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        super().step()
        for parameter in self.param_groups[0]["params"]:
            if parameter.ndim == 2:
                torch.mm(parameter.T, parameter)


class Uncountable(torch.optim.SGD):
    """Refuses to step while torch's operations are being watched, as compiled code may."""

    def step(self) -> None:  # type: ignore[override]
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("not while somebody is watching")
        super().step()


class Spiking(torch.optim.SGD):
    """Throws the weights far off at step 6 and back at step 7: a spike that recovers."""

    steps = 0

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        super().step()
        self.steps += 1
        for parameter in self.param_groups[0]["params"]:
            if self.steps == 6:
                self._kept = parameter.clone()
                parameter.mul_(1e6)
            elif self.steps == 7:
                parameter.copy_(self._kept)


def not_an_optimizer(parameters: object, lr: float) -> int:  # noqa: ARG001
    return 3


def failing_probe(snapshot: Snapshot) -> Iterable[tuple[str, str, float]]:
    """Says one thing, then fails at step 10 only."""
    yield "", "probed", float(snapshot.step)
    if snapshot.step == 10:
        raise ValueError("nothing to see at step 10")


def remarking_probe(snapshot: Snapshot) -> Iterable[tuple[str, str, float]]:
    """Says how it measured, at every step the same and at step 10 one thing more."""
    snapshot.remark("by eye")
    if snapshot.step == 10:
        snapshot.remark("twice")
    yield "", "rate", snapshot.learning_rates["own"]


def meddling_probe(snapshot: Snapshot) -> Iterable[tuple[str, str, float]]:
    """Draws random numbers, computes gradients and switches modes, as a probe may while it looks."""
    model = snapshot.problem.model
    model.train()
    snapshot.problem.loss(model, snapshot.batch).backward()
    yield "", "drawn", float(torch.rand(()))


class Noisy(nn.Module):
    """A quadratic with dropout and a batch norm in its way: training draws random numbers and moves buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs).square().mean()  # type: ignore[no-any-return]


def noisy(seed: int, device: torch.device) -> Problem:
    """A task whose training depends on random state and buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Noisy().to(device)

    def batch(number: int) -> Batch:
        inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(1000 * seed + number))
        return Batch({"inputs": inputs}, samples=16)

    def stream(start: int) -> Iterator[Batch]:
        while True:
            yield batch(start)
            start += 1

    held = [batch(-number) for number in range(1, 5)]
    return Problem(model, lambda model, batch: model(batch["inputs"]), stream, held, held)


def unaveraged(seed: int, device: torch.device) -> Problem:
    """A task whose loss has a number for each example."""
    problem = noisy(seed, device)

    def loss_of_each(model: nn.Module, batch: Batch) -> torch.Tensor:
        return model.layers(batch["inputs"]).square()[:, 0]  # type: ignore[operator, no-any-return]

    return replace(problem, loss=loss_of_each)


def mislabelled(seed: int, device: torch.device) -> Problem:
    """A task with two classes and an example of a third."""
    problem = noisy(seed, device)
    model = nn.Linear(6, 2)

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        labels = torch.arange(batch.samples) % 3
        return nn.functional.cross_entropy(model(batch["inputs"]), labels)

    return replace(problem, model=model, loss=loss)


def too_large(seed: int, device: torch.device, *, most: int, evaluated: int = 100) -> Problem:
    """A task with room for a training step on `most` examples, and for an evaluation of so many; batches have 16."""
    problem = noisy(seed, device)

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        if batch.samples > (most if torch.is_grad_enabled() else evaluated):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nIt is full.")
        return problem.loss(model, batch)

    return replace(problem, loss=loss)


def unplugged(seed: int, device: torch.device) -> Problem:
    """A task whose device is gone at the seventh training batch, as torch tells it."""
    problem = noisy(seed, device)

    def stream(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(problem.train_batches(start), start):
            if step == 6:
                raise torch.AcceleratorError("CUDA error: device is lost\nCUDA kernel errors might be asynchronous")
            yield batch

    return replace(problem, train_batches=stream)


def lost_in_space(seed: int, device: torch.device) -> Problem:
    """A task whose loss turns into NaN at the seventh batch."""
    problem = quadratic(seed, device, dimension=8)
    count = [0]

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        count[0] += model.training
        value = problem.loss(model, batch)
        return value * float("nan") if count[0] > 6 else value

    return Problem(problem.model, loss, problem.train_batches, problem.eval_batches, problem.probe_batches)


class Flooding(torch.optim.SGD):
    """Writes 10 MB into the log, by itself and by a process of its own, and is killed with a last word."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        line = b"x" * 9_999 + b"\n"
        os.write(1, b"the first word\n")
        for _ in range(500):
            os.write(2, line)
        subprocess.run(["head", "-c", "5000000", "/dev/zero"], check=True)
        os.write(2, b"the last word\n")
        os.kill(os.getpid(), signal.SIGKILL)


class Forking(torch.optim.SGD):
    """Has a process of its own at each step, tells it to end and waits until it has."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        process.start()
        process.terminate()
        process.join(60)
        if process.exitcode != -signal.SIGTERM:
            process.kill()
            raise RuntimeError("it did not end")


def countless(seed: int, device: torch.device, samples: int = 1, tokens: int | None = None, until: int = 0) -> Problem:
    """A task whose batches from step `until` on count as little as they are told to."""
    problem = quadratic(seed, device, dimension=8)

    def batches(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(problem.train_batches(start), start=start):
            yield replace(batch, samples=samples, tokens=tokens) if step >= until else replace(batch, tokens=1)

    return replace(problem, train_batches=batches)


def resting(seed: int, device: torch.device) -> Problem:
    """A task of whose batches every second one counts no token."""
    problem = quadratic(seed, device, dimension=8)

    def batches(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(problem.train_batches(start), start=start):
            yield replace(batch, tokens=(step + 1) % 2)

    return replace(problem, train_batches=batches)
