"""The next training batches, drawn into pinned memory by a thread while a step runs on a GPU.

The thread works inside `drawing` alone: evaluations, probes, checkpoints and proofs find nothing going on beside them.
What it does in Python competes with the step for the interpreter, and on a CPU for the cores, so there it brings
nothing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clipbench.budget import Ledger
from clipbench.contracts import Batch, Problem
from clipbench.records import Choice
from clipbench.running.evaluation import device_of

AHEAD = 2  # batches
Pin = Callable[[Batch], Batch]

_SHELF = "clipbench.tasks."  # whose tasks draw from generators of their own, as tests/tasks/test_contract.py shows


def pin_for(problem: Problem, task: Choice) -> Pin | None:
    """How batches that are drawn ahead are pinned; None where each is drawn when its step comes.

    A task that seeds a global generator and puts it back gives the same batches as ever, but not beside a step that
    draws from that generator: nothing shows it from outside, so that tasks from elsewhere must say that they do not.
    """
    is_safe = problem.prefetch or task.target.startswith(_SHELF)
    return pinned if is_safe and device_of(problem.model).type == "cuda" else None


def pinned(batch: Batch) -> Batch:
    """The batch in memory from which a GPU copies while it computes."""
    return replace(batch, tensors={name: _pinned(tensor) for name, tensor in batch.tensors.items()})


def _pinned(tensor: Tensor) -> Tensor:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return tensor.pin_memory() if plain else tensor


@contextmanager
def prefetched(batches: Iterator[Batch], pin: Pin | None, ledger: Ledger) -> Iterator[Iterator[Batch]]:
    """The same batches, drawn ahead where there is a `pin`; its thread has ended afterwards."""
    if pin is None or not isinstance(batches, Iterator):
        yield batches
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
        yield _Prefetched(batches, pin, ledger, thread)


def drawing(batches: Iterator[Batch]) -> AbstractContextManager[None]:
    """Inside, the next batches are drawn beside what goes on, if they are `prefetched`."""
    return batches.drawing() if isinstance(batches, _Prefetched) else nullcontext()


class _Prefetched(Iterator[Batch]):
    """Batches in their order. What drawing one raises is raised where that batch is asked for."""

    def __init__(self, batches: Iterator[Batch], pin: Pin, ledger: Ledger, thread: ThreadPoolExecutor) -> None:
        self._batches, self._pin, self._ledger, self._thread = batches, pin, ledger, thread
        self._drawn: deque[Future[Batch]] = deque()

    def __next__(self) -> Batch:
        batch: Batch = self._drawn.popleft().result() if self._drawn else self._draw()
        return batch

    def _draw(self) -> Any:
        batch: object = next(self._batches)  # a task is anybody's code, and may draw anything
        return self._pin(batch) if isinstance(batch, Batch) else batch

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Afterwards the thread is at rest: the draw that it had begun has ended, and no other is begun."""
        begun = [self._thread.submit(self._draw) for _ in range(AHEAD - len(self._drawn))]
        try:
            yield
        finally:
            with self._ledger.row("data"):
                begun = [each for each in begun if not each.cancel()]
                wait(begun)
            self._drawn += begun
