"""The most memory that training needs on a GPU, apart from what probes, ghosts and evaluations need."""

from dataclasses import dataclass

import torch


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
