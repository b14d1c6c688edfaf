"""How a training step is computed: its precision, compiled or not, with activations kept or recomputed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from clipbench.errors import ClipbenchError
from clipbench.records import TrainingSettings
from clipbench.running.evaluation import device_of
from clipbench.running.recomputing import recompute


def equip(model: nn.Module, settings: TrainingSettings) -> None:
    """Make a model ready for training with these settings.

    Raises:
        ClipbenchError: the device has no TF32, or there is nothing to recompute.
    """
    device = device_of(model)
    if settings.precision == "tf32" and device.type != "cuda":
        message = f"tf32 is a precision of NVIDIA GPUs, and this run is on {device.type}"
        raise ClipbenchError(message, where="training.precision", remedy="use float32 or bf16")
    if settings.recompute:
        recompute(model)
    if settings.compile:
        model.compile()


def forward_pass(settings: TrainingSettings, model: nn.Module) -> Any:
    """The context of a forward pass in training: autocast, where the precision is bf16."""
    if settings.precision != "bf16":
        return nullcontext()
    return torch.autocast(device_of(model).type, dtype=torch.bfloat16)


@contextmanager
def rounded_products(settings: TrainingSettings) -> Iterator[None]:
    """Inside, products and convolutions on a GPU round their factors to TF32, where that is the precision."""
    if settings.precision != "tf32":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = True
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
