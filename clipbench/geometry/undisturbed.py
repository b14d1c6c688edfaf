"""Looking at a model without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode and has no gradients; afterwards all is as it was, bit for bit.

    What is put back, also when the body raises: the training flag of every module by itself, gradients (the same
    tensor objects), buffers (the same objects with the same contents: batch statistics, caches), and the random
    state of the CPU and of the model's devices. Weights are not copied: whoever moves them puts them back. Nor does it
    turn differentiation on or off: that is the body's choice.

    Args:
        model: on any devices, in any mode.
    """
    modules = list(model.modules())
    parameters = list(model.parameters())
    modes = [module.training for module in modules]
    gradients = [parameter.grad for parameter in parameters]
    buffers = [dict(module._buffers) for module in modules]  # by module, to see those that are None as well
    contents = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = {tensor.device for tensor in (*parameters, *model.buffers())} | {torch.device("cpu")}
    random_states = {device: _random_state(device) for device in devices}
    try:
        model.eval()
        for parameter in parameters:
            parameter.grad = None
        yield
    finally:
        for module, mode, own in zip(modules, modes, buffers, strict=True):
            module.training = mode
            module._buffers.clear()
            module._buffers.update(own)
        with torch.no_grad():
            for buffer, content in contents:
                buffer.copy_(content)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for device, state in random_states.items():
            _restore(device, state)


def _random_state(device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.get_rng_state()
    generator: Any = getattr(torch, device.type)
    state: Tensor = generator.get_rng_state() if device.type == "mps" else generator.get_rng_state(device)
    return state


def _restore(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
        return
    generator: Any = getattr(torch, device.type)
    if device.type == "mps":  # one device, and no argument for it
        generator.set_rng_state(state)
    else:
        generator.set_rng_state(state, device)
