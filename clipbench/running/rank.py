"""A process that helps with a run: at each pass it computes the gradient of its shard, at the first process's weights.

It has no optimizer and keeps nothing from one pass to the next: what it computes is decided by the weights and buffers
that it is sent, the step, whose batch it draws, and the number of the pass, by which its generators are seeded.
"""

import hashlib
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from clipbench.contracts import Batch, Problem
from clipbench.errors import reason_of
from clipbench.geometry import keeping
from clipbench.records import Run
from clipbench.running.devices import see_only
from clipbench.running.environment import seed_generators, settle
from clipbench.running.equipment import build_problem, next_batch, trainable
from clipbench.running.exchange import Exchange, Place, present_gradients, unmoved
from clipbench.running.fingerprints import tensor_sha256, weights_sha256
from clipbench.running.precision import equip
from clipbench.running.signals import hear_nothing
from clipbench.running.stepping import of_pieces, pieces_of, shards
from clipbench.running.vigil import checksums


def enter(talk: Connection, run: Run, rank: int, meeting: Path) -> None:
    """The first thing that the new process runs: in a group of its own, deaf to all but the first process.

    Args:
        talk: its connection with the first process.
        run: what it helps with.
        rank: its number among the run's processes, from 1 on.
        meeting: as `Exchange` has it.
    """
    os.setpgid(0, 0)
    hear_nothing()  # the first process hears for all
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    settle(run.threads)
    kind = run.device.partition(":")[0]
    device = torch.device(see_only(f"cuda:{rank}") if kind == "cuda" else kind)
    exchange = Exchange(Place(rank, run.training.processes, device), meeting)
    helper = _Helper(run, rank, device, exchange)
    try:
        while True:
            number, command, *words = talk.recv()
            talk.send((number, *_answer(helper.commands[command], words, rank)))
    except (EOFError, OSError):  # the first process is gone, or has no more use for this one
        os._exit(0)


def _answer(command: Callable[..., Any], words: Sequence[Any], rank: int) -> tuple[Any, str]:
    """What a command returns, and why it failed; empty if it did not."""
    try:
        return command(*words), ""
    except (Exception, SystemExit) as error:  # a task is anybody's code: it raises what it likes
        print(f"process {rank} of the run failed:\n{traceback.format_exc()}", flush=True)  # noqa: T201  the run's log
        return None, reason_of(error)


def _end_with_the_first() -> None:
    """An exchange may wait for ever, so a thread of its own waits for the first process."""
    if (first := parent_process()) is not None:
        first.join()
        os.killpg(0, signal.SIGKILL)


class _Helper:
    """The run's problem as this process has it, and what it is asked of it."""

    def __init__(self, run: Run, rank: int, device: torch.device, exchange: Exchange) -> None:
        self._run, self._rank, self._device, self._exchange = run, rank, device, exchange
        self._step = -1  # whose batch was drawn last
        self._batches: Iterator[Batch] = iter(())
        self._batch: Batch | None = None
        self._problem: Problem | None = None
        self.commands: Mapping[str, Callable[..., Any]] = {
            "build": self.build,
            "draw": self.draw,
            "compare": self.compare,
            "evaluate": self.evaluate,
            "sum": self.sum,
        }

    @property
    def _built(self) -> Problem:
        assert self._problem is not None
        return self._problem

    def build(self) -> str:
        """Build the problem as the first process does; the hash of its weights."""
        seed_generators(self._run.seed)
        self._problem = build_problem(self._run, self._device)
        equip(self._problem.model, self._run.training)
        self._problem.model.train()
        return weights_sha256(self._problem.model)

    def draw(self, step: int) -> None:
        """Draw the batch of a step, if it is not there."""
        if step == self._step and self._batch is not None:
            return
        if step != self._step + 1 or self._batch is None:
            self._batches = self._built.train_batches(step)
        self._batch, self._step = next_batch(self._batches, step), step

    def compare(self, step: int) -> "Sight":
        """What this process has at a step, with the weights and buffers that the first process sends."""
        self.draw(step)
        self._exchange.send_weights(self._built.model)
        assert self._batch is not None
        return sight(self._batch, self._built.model)

    def evaluate(self, step: int, number: int) -> tuple[float, list[bool]]:
        """This process's part of the loss of a step's batch, and which parameters have a part of its gradient."""
        problem, settings = self._built, self._run.training
        self._exchange.send_weights(problem.model)
        self.draw(step)
        assert self._batch is not None
        seed_generators(_seed(self._run.seed, self._rank, number))
        problem.model.zero_grad()
        mine = shards(self._batch, settings)[self._rank : self._rank + 1]
        pieces = [piece.to(self._device) for shard in mine for piece in pieces_of(shard, settings)]
        with torch.enable_grad(), unmoved(problem.model):
            loss = of_pieces(problem, pieces, settings, of=self._batch)
        return float(loss.detach()), present_gradients(problem.model)

    def sum(self, present: Sequence[bool]) -> None:
        """Add this process's gradient to the sum of all."""
        self._exchange.sum_gradients(self._built.model, present)


class Sight(NamedTuple):
    """What processes of a run have at a step: alike in all, but for what modules remember of their own passes.

    `batch` and `weights` are sums over bits, of weights and buffers; `remembered` has the plain attributes of modules.
    """

    batch: list[int]
    weights: list[int]
    remembered: dict[str, str]


def sight(batch: Batch, model: nn.Module) -> Sight:
    """What this process has."""
    kept = ((name, keeping.attributes(module)) for name, module in model.named_modules())
    remembered = {f"{name}.{each}".strip("."): _text(value) for name, own in kept for each, value in own.items()}
    weights = checksums([*trainable(model).values(), *model.buffers()])
    return Sight(checksums(batch.tensors.values()), weights, remembered)


def _text(kept: Any) -> str:
    if isinstance(kept, torch.Tensor):
        return tensor_sha256(kept)
    return f"[{', '.join(map(_text, kept))}]" if isinstance(kept, list | tuple) else repr(kept)


def _seed(seed: int, rank: int, number: int) -> int:
    """Of what a process draws in a pass, such as dropout: unlike that of any other process or pass."""
    digest = hashlib.sha256(f"{seed} {rank} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
