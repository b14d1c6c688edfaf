"""The most memory that training needs, apart from probes, ghosts and evaluations, and what may fit if it runs out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.geometry.memory import is_out_of_memory
from clipbench.records import TrainingSettings


class OutOfMemoryError(ClipbenchError):
    """Memory ran out; the message says what may fit."""


def _allocated(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device)


def _reserved(device: torch.device) -> int:
    return torch.cuda.max_memory_reserved(device)


def _reset(device: torch.device) -> None:
    torch.cuda.reset_peak_memory_stats(device)


@dataclass
class Peaks:
    """In bytes: of training steps that were not probed, allocated and reserved by torch; and of all that was done."""

    training: int = 0
    training_reserved: int = 0
    everything: int = 0


def before_step(peaks: Peaks, device: torch.device) -> None:
    """Begin to watch a step. Away from a GPU nothing is watched: there the process has one peak."""
    if device.type == "cuda":
        peaks.everything = max(peaks.everything, _allocated(device))
        _reset(device)


def after_step(peaks: Peaks, device: torch.device, *, alone: bool) -> None:
    """End it; `alone`: no probe looked and no ghost stepped."""
    if device.type == "cuda" and alone:
        peaks.training = max(peaks.training, _allocated(device))
        peaks.training_reserved = max(peaks.training_reserved, _reserved(device))


@contextmanager
def stepping_on(pieces: Sequence[Batch], settings: TrainingSettings) -> Iterator[None]:
    """Inside, a training step is taken on pieces of a batch, one at a time.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    most = max((piece.samples for piece in pieces), default=0)
    if most > 1:
        mend = f"set training.micro_batch to {most // 2} or less"
    elif settings.recompute:
        mend = "let the task make shorter examples or a smaller model"
    else:
        mend = "set training.recompute, or let the task make shorter examples"
    with _explained(f"in a training step on {_count(most)} at a time: {mend}"):
        yield


@contextmanager
def evaluating(batch: Batch) -> Iterator[None]:
    """Inside, a batch is evaluated.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    with _explained(f"in an evaluation of {_count(batch.samples)} at a time: let the task make smaller batches"):
        yield


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"memory ran out {what}; {str(error).partition(chr(10))[0]}") from error


def _count(samples: int) -> str:
    return f"{samples} example{'s' if samples != 1 else ''}"
