"""A clipped step at the paper's size, on a device: the host waits for no threshold and for no count.

It looks whether a threshold of 0 has erased everything by nature, at steps 1, 2, 4, 8 and so on, until it has warned.
"""

from typing import Any

import pytest
import torch
from full_size import MODELS, answered, every_model, paper_model
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from clipbench.clipping import threshold
from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.threshold import coordinate_threshold

pytestmark = pytest.mark.slow

CLIPS: list[dict[str, Any]] = [
    {"of": "gradient"},
    {"of": "gradient", "scope": "tensor", "ignore_zeros": True},
    {"of": "gradient", "scale": "norm"},
    {"of": "numerator"},
    {"of": "update"},
    {"of": "update", "scope": "group", "scale": "norm"},
]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch without CUDA cannot say that no graph is captured."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)


def parameters(name: str) -> list[nn.Parameter]:
    """Those of the model on a GPU, each with a gradient; without memory."""
    model, _, _ = paper_model(name)
    there = [nn.Parameter(torch.empty(p.shape, device="cuda")) for p in model.parameters()]
    assert sum(p.numel() for p in there) == pytest.approx(MODELS[name], rel=1e-3)
    for p in there:
        p.grad = torch.empty_like(p)
    return there


@every_model
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_a_clipped_step_waits_for_no_number(name: str, clip: dict[str, Any]) -> None:
    with FakeTensorMode():
        optimizer = torch.optim.AdamW(parameters(name), lr=1e-3, foreach=True)
        CoordinateClip(optimizer, 0.1, **clip)
        waits = []
        for _ in range(5):
            with answered(condition=False, device="cuda") as of_a_step:
                optimizer.step()
            waits.append(of_a_step.count)
        assert waits == [1, 1, 0, 1, 0]


@every_model
@pytest.mark.parametrize("ignore_zeros", [False, True])
def test_a_threshold_is_searched_for_without_a_wait(
    name: str, ignore_zeros: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch's own operations, as where Triton is missing: its kernels are one launch, which needs a GPU to show."""
    monkeypatch.setattr(threshold, "_triton_is_there", lambda: False)
    with FakeTensorMode():
        gradients = [p.grad for p in parameters(name) if p.grad is not None]
        found = threshold._threshold(gradients, 0.1, ignore_zeros=ignore_zeros)
        assert (found.shape, found.dtype, found.device.type) == ((), torch.float32, "cuda")
        assert coordinate_threshold(gradients, 0.1, ignore_zeros=ignore_zeros).device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            found.item()
