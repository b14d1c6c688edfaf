"""What travels between the processes of a run: weights to all of them, and the sum of their gradients back."""

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]  # it is there, without a word

from clipbench.errors import ClipbenchError
from clipbench.running.equipment import trainable

PATIENCE = timedelta(minutes=2)  # for an exchange, which no process enters before all are ready for it


@dataclass(frozen=True)
class Place:
    """Which of how many processes of a run this is, and its device."""

    rank: int
    ranks: int
    device: torch.device


class Exchange:
    """The connection of a process with the others of its run: gloo on CPUs, NCCL on NVIDIA GPUs.

    It is no process group that torch.distributed knows of: an optimizer or a task that asks for other processes finds
    none, and must not, since those take no steps.

    To make one is to wait until all are there.

    Args:
        place: of this process.
        meeting: a file that all processes can reach, and that is new.

    Raises:
        RuntimeError: they did not meet.
    """

    def __init__(self, place: Place, meeting: Path) -> None:
        self._is_first = place.rank == 0
        store = FileStore(str(meeting), place.ranks)
        self._group = _nccl(store, place) if place.device.type == "cuda" else _gloo(store, place)
        self._group.allreduce([torch.zeros(1, device=place.device)]).wait()  # all are there; NCCL connects at first use

    def close(self) -> None:
        """Let go of the others."""
        self._group.shutdown()

    @torch.no_grad()
    def send_weights(self, model: nn.Module) -> None:
        """Give every process the first one's trained weights, and its buffers."""
        for alike in _by_dtype([*trainable(model).values(), *model.buffers()]):
            flat = _flattened(alike)
            self._group.broadcast(flat, 0).wait()
            if not self._is_first:
                _spread(flat, alike)

    @torch.no_grad()
    def sum_gradients(self, model: nn.Module, present: Sequence[bool]) -> None:
        """Give the first process the sum of all gradients; its own stands for nothing where it has none.

        Args:
            model: whose.
            present: of the trained parameters in their order, which have a gradient in some process. The others are
                left without.
        """
        parameters = [p for p, there in zip(trainable(model).values(), present, strict=True) if there]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for alike in _by_dtype([p.grad for p in parameters if p.grad is not None]):
            flat = _flattened(alike)
            self._group.reduce(flat, 0).wait()
            if self._is_first:
                _spread(flat, alike)


@contextmanager
def unmoved(model: nn.Module) -> Iterator[None]:
    """A forward and backward pass inside, in which no weight may change: of a change the other processes know nothing.

    Raises:
        ClipbenchError: one has.
    """
    before = [parameter._version for parameter in trainable(model).values()]
    yield
    for (name, parameter), version in zip(trainable(model).items(), before, strict=True):
        if parameter._version != version:
            raise ClipbenchError(
                f"{name!r} changed during a forward or backward pass, of which the other processes know nothing",
                where="training.processes",
                remedy="take it out: an optimizer that steps in the backward pass, or max_norm, needs one process",
            )


def present_gradients(model: nn.Module) -> list[bool]:
    """Of the trained parameters in their order, which have a gradient.

    Raises:
        ClipbenchError: one is sparse.
    """
    gradients = {name: parameter.grad for name, parameter in trainable(model).items()}
    for name, gradient in gradients.items():
        if gradient is not None and gradient.layout != torch.strided:
            message = f"the gradient of {name!r} is sparse, and processes share dense ones"
            raise ClipbenchError(message, where="training.processes", remedy="take it out, or use sparse=False")
    return [gradient is not None for gradient in gradients.values()]


def _gloo(store: FileStore, place: Place) -> Any:
    if platform.system() == "Linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine, whose name need not be known
    return dist.ProcessGroupGloo(store, place.rank, place.ranks, PATIENCE)


def _nccl(store: FileStore, place: Place) -> Any:
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = PATIENCE
    return dist.ProcessGroupNCCL(store, place.rank, place.ranks, options)


def _by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
        by_dtype.setdefault(real.dtype, []).append(real)
    return list(by_dtype.values())


def _flattened(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Write what `_flattened` made back into its tensors."""
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
