"""Run by test_gpu_clip in a process of its own, with Triton's interpreter: the clip's own kernels on a CPU."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from oracles import flat, same_bits
from torch import Tensor, nn

from clipbench.clipping import coordinates, hook, second_moment, triton_clip
from clipbench.clipping.hook import CoordinateClip

SHAPES = [(5000,), (3,), (0,), (64, 64), (2, 4097), ()]
NAN, INF = float("nan"), float("inf")


def drawn(dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(shape, generator=generator, dtype=torch.float64) ** 3).to(dtype) for shape in SHAPES]


def the_clip_is_torch_s_clamp() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for limit in (0.0, 0.7, INF, NAN, 1e4):
            tensors = drawn(dtype)
            tensors[0][:4] = torch.tensor([NAN, INF, -INF, -0.0], dtype=dtype)
            tau = torch.tensor(limit, dtype=dtype)
            expected = [tensor.clamp(-tau, tau) for tensor in tensors]
            versions = [tensor._version for tensor in tensors]
            triton_clip.clip_on_gpu(tensors, tau)
            for tensor, clamped, version in zip(tensors, expected, versions, strict=True):
                assert torch.equal(tensor.nan_to_num(nan=7.0), clamped.nan_to_num(nan=7.0)), (dtype, limit)
                assert tensor._version > version


def without_the_alignment_and_with_nothing_it_is_the_same() -> None:
    values = torch.randn(9001, generator=torch.Generator().manual_seed(1))
    expected = values[1:].clamp(-0.5, 0.5)
    triton_clip.clip_on_gpu([values[1:]], torch.tensor(0.5))
    assert same_bits(values[1:], expected)
    triton_clip.clip_on_gpu([torch.zeros(0)], torch.tensor(0.5))


def the_shift_is_rounded_once() -> None:
    weight = 0.001001001
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        gradients, moments = drawn(dtype), [tensor.square() + 0.01 for tensor in drawn(dtype, seed=2)]
        raw, before = [g.double() for g in gradients], [v.clone() for v in moments]
        tau = torch.tensor(0.7, dtype=dtype)
        triton_clip.clip_on_gpu(gradients, tau, moments=moments, weight=weight)
        for g, v, clipped, after in zip(raw, before, gradients, moments, strict=True):
            bounded = g.clamp(-tau.double(), tau.double())
            assert torch.equal(clipped.double(), bounded)
            exact = v.double() + weight * (g * g - bounded * bounded)
            # One rounding in the moment's own dtype; in float32 those of κ, g − c, g + c and two products as well. The
            # interpreter rounds to bfloat16 towards zero, which errs twice as much as to the nearest.
            roundings = {torch.float32: 6, torch.bfloat16: 2.01, torch.float16: 1.01}[dtype]
            assert bool(((after.double() - exact).abs() <= roundings * torch.finfo(dtype).eps / 2 * exact).all()), dtype
            kept = g.abs() <= tau.double()
            assert torch.equal(after[kept], v[kept])
    g, v = torch.tensor([NAN, INF, 1.0]), torch.ones(3)
    triton_clip.clip_on_gpu([g], torch.tensor(2.0), moments=[v], weight=1.0)
    assert v[0].isnan()
    assert v[1:].tolist() == [INF, 1.0]


@contextmanager
def as_on_a_gpu(launches: list[str]) -> Iterator[None]:
    """The hook takes the GPU's way with tensors of the CPU."""
    kernel, fit = triton_clip.clip_all, coordinates.alike_in_memory

    class Recorded:
        def __getitem__(self, grid: Any) -> Any:
            launches.append("clip_all")
            return kernel[grid]

    with ExitStack() as patches:
        for module in (coordinates, second_moment):
            patches.enter_context(patch.object(module, "kernels_fit", fit))
        for module in (coordinates, hook):
            patches.enter_context(patch.object(module, "bound", lambda t: t))
        patches.enter_context(patch.object(triton_clip, "clip_all", Recorded()))
        yield


def end(kind: str, **clip: Any) -> tuple[Tensor, list[tuple[float, int, int]]]:
    weights = [nn.Parameter(tensor) for tensor in drawn(torch.float32, seed=3)]
    optimizer = getattr(torch.optim, kind)(weights, lr=0.01)
    clipped = CoordinateClip(optimizer, 0.3, **clip)
    seen = []
    for step in range(3):
        for weight, gradient in zip(weights, drawn(torch.float32, seed=4 + step), strict=True):
            weight.grad = gradient
        optimizer.step()
        assert clipped.last is not None
        seen.append((float(clipped.last.threshold), int(clipped.last.clipped), clipped.last.n))
    return flat(weights), seen


def a_hook_does_what_it_does_on_a_cpu() -> None:
    for kind, clip, passes in (
        ("SGD", {}, 1),
        ("SGD", {"scope": "tensor"}, 0),  # small tensors, one at a time
        ("SGD", {"ignore_zeros": True, "scale": "norm"}, 1),
        ("SGD", {"of": "update"}, 1),
        ("Adam", {"of": "numerator"}, 1),
        ("Adagrad", {"of": "numerator"}, 1),
    ):
        expected, told = end(kind, **clip)
        launches: list[str] = []
        with as_on_a_gpu(launches):
            found, said = end(kind, **clip)
        assert said == told, (kind, clip)
        assert len(launches) == 3 * passes, (kind, clip, launches)
        # The second moment is rounded once instead of twice.
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def main() -> None:
    the_clip_is_torch_s_clamp()
    without_the_alignment_and_with_nothing_it_is_the_same()
    the_shift_is_rounded_once()
    a_hook_does_what_it_does_on_a_cpu()
    sys.stdout.write("every clip agrees with torch\n")


if __name__ == "__main__":
    main()
