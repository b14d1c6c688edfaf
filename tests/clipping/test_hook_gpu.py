"""The clip on a GPU: every numerator as on the CPU, no wait for the device, and inside a CUDA graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from oracles import flat
from torch import Tensor, nn

from clipbench.clipping.hook import CoordinateClip

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SHAPES = [(40, 30), (3,), (2, 3, 5)]
FRACTION = 0.3


def parameters(device: str) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in SHAPES]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1 + step)
    return [torch.randn(shape, generator=generator) ** 3 for shape in SHAPES]


def give(weights: list[nn.Parameter], step: int) -> None:
    for weight, gradient in zip(weights, gradients(step), strict=True):
        weight.grad = gradient.to(weight.device)


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("form", [{"foreach": False}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adadelta", "Adagrad", "Adafactor"])
def test_every_numerator_is_what_it_is_on_the_cpu(kind: str, form: dict[str, bool]) -> None:
    if "fused" in form and kind not in ("Adam", "AdamW"):
        pytest.skip(f"{kind} has no fused form on a GPU")
    ends = []
    for device, options in (("cpu", {}), ("cuda", form)):
        weights = parameters(device)
        hook = CoordinateClip(getattr(torch.optim, kind)(weights, lr=0.01, **options), FRACTION, of="numerator")
        for step in range(5):
            give(weights, step)
            hook.optimizer.step()
        assert hook.last is not None
        ends.append((flat(weights).cpu(), float(hook.last.threshold), int(hook.last.clipped)))
    # Five float32 steps of 0.01 by different kernels.
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-5, atol=2e-6)
    assert ends[0][1:] == ends[1][1:]


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
@pytest.mark.parametrize("settings", [{}, {"scope": "tensor"}, {"ignore_zeros": True}])
def test_a_step_does_not_wait_for_the_device(of: Any, settings: dict[str, Any]) -> None:
    weights = parameters("cuda")
    hook = CoordinateClip(torch.optim.Adam(weights, lr=0.01, capturable=True), FRACTION, of=of, **settings)
    for step in range(2):  # at steps 1 and 2 the clip looks for a threshold of zero
        give(weights, step)
        hook.optimizer.step()
    give(weights, 2)
    with no_waiting():
        hook.optimizer.step()
    assert hook.zero_thresholds == 0


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_a_captured_step_replays_the_clip(of: Any) -> None:
    plain, weights = parameters("cuda"), parameters("cuda")
    expected = CoordinateClip(torch.optim.Adam(plain, lr=0.01, capturable=True), FRACTION, of=of)
    hook = CoordinateClip(torch.optim.Adam(weights, lr=0.01, capturable=True), FRACTION, of=of)
    give(weights, 0)
    held = [weight.grad for weight in weights if weight.grad is not None]

    def fill(step: int) -> None:
        for gradient, value in zip(held, gradients(step), strict=True):
            gradient.copy_(value)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for step in range(3):
            fill(step)
            hook.optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    fill(3)
    with torch.cuda.graph(graph):
        hook.optimizer.step()
    for step in range(3, 6):
        fill(step)
        graph.replay()
    for step in range(6):
        give(plain, step)
        expected.optimizer.step()
    assert hook.last is not None
    assert expected.last is not None
    torch.testing.assert_close(flat(weights), flat(plain))
    assert float(hook.last.threshold) == pytest.approx(float(expected.last.threshold), rel=1e-5)
    assert int(hook.last.clipped) == int(expected.last.clipped)
    assert hook.zero_thresholds == 0


@pytest.mark.parametrize("of", ["gradient", "numerator", "update"])
def test_a_fused_step_under_a_scaler_is_skipped_whole(of: Any) -> None:
    weight = nn.Parameter(torch.zeros(2, device="cuda"))
    hook = CoordinateClip(torch.optim.Adam([weight], lr=1.0, fused=True), 0.5, of=of)
    scaler = torch.amp.GradScaler("cuda", init_scale=64.0)
    for gradient, moved in ((torch.inf, False), (4.0, True)):
        scaler.scale(torch.zeros((), device="cuda"))
        weight.grad = torch.tensor([gradient, 1.0], device="cuda") * scaler.get_scale()
        scaler.unscale_(hook.optimizer)
        scaler.step(hook.optimizer)
        scaler.update()
        assert bool(weight.any()) == moved
        assert bool(weight.isfinite().all())
