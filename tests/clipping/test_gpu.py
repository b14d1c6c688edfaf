"""The clip on a GPU says what it says on the CPU."""

import math
from typing import Any

import pytest
import torch
from oracles import flat
from torch import nn

from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.threshold import coordinate_threshold

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SHAPES = [(40, 30), (3,), (), (2, 5)]


@pytest.mark.parametrize("fraction", [1e-9, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("nans", [0, 3])
def test_the_threshold_is_the_same_bit_for_bit(fraction: float, nans: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator) for shape in SHAPES]
    tensors[1][:nans] = math.nan
    found = coordinate_threshold([tensor.cuda() for tensor in tensors], fraction)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), coordinate_threshold(tensors, fraction), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("form", [{"foreach": False}, {"foreach": True}, {"fused": True}, {"capturable": True}])
@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_ten_steps_are_the_same(of: Any, form: dict[str, Any]) -> None:
    ends = []
    given: list[tuple[str, dict[str, Any]]] = [("cpu", {}), ("cuda", form)]
    for device, options in given:
        generator = torch.Generator().manual_seed(0)
        weights = [nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in SHAPES]
        optimizer = torch.optim.AdamW(weights, lr=0.01, **options)
        hook = CoordinateClip(optimizer, 0.3, of=of)
        for _ in range(10):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator).to(device)
            optimizer.step()
        assert hook.last is not None
        assert 0 < int(hook.last.clipped) <= int(1214 * 0.3)
        ends.append(flat(weights).cpu())
    # Ten float32 steps of 0.01 by different kernels.
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


def test_a_threshold_of_zero_is_said_on_the_gpu_as_well() -> None:
    weight = nn.Parameter(torch.zeros(5, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    CoordinateClip(optimizer, 0.5)
    weight.grad = torch.tensor([0.0, 0.0, 7.0, 0.0, 0.0], device="cuda")
    with pytest.warns(RuntimeWarning, match="threshold is 0"):
        optimizer.step()
