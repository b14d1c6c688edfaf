"""How speed is measured here: methods take turns in one process, medians over rounds, a table with a verdict each."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Timer = Callable[[Callable[[], object]], float]
Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class Figure:
    """One line of the table: `found` is a ratio, which is to be at least or at most `target`."""

    what: str
    seconds: float | None
    found: float
    unit: str
    target: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.target if self.at_least else self.found <= self.target

    def row(self, *, judged: bool) -> tuple[str, str, str, str, str]:
        milliseconds = "" if self.seconds is None else f"{self.seconds * 1000:.3g} ms"
        target = f"{'≥' if self.at_least else '≤'} {self.target:g}"
        return self.what, milliseconds, f"{self.found:.3g} {self.unit}", target, _verdict(self.met) if judged else ""


def _verdict(met: bool) -> str:
    return "met" if met else "NOT MET"


@dataclass(frozen=True)
class Sizes:
    """GPT-2's shapes at a width, a depth, a vocabulary and a context."""

    width: int
    layers: int
    vocabulary: int
    context: int = 1024

    @property
    def shapes(self) -> Shapes:
        d = self.width
        block: Shapes = [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d)]
        return [(self.vocabulary, d), (self.context, d), *(self.layers * [*block, (d,)]), (d,), (d,)]


TEN, SIXTY, GPT2 = Sizes(256, 8, 13_000), Sizes(512, 12, 42_000), Sizes(768, 12, 50_257)
TINY, SMALL = Sizes(16, 1, 300, 32), Sizes(32, 2, 400, 32)


def heavy_tailed(shapes: Shapes, *, device: str = "cpu", seed: int = 0) -> list[Tensor]:
    """As gradients are: within a tensor log-normal sizes, and another scale for each tensor."""
    generator = torch.Generator(device).manual_seed(seed)

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    return [draw(shape) * draw(shape).exp_() * (2 * draw(())).exp_() * 1e-3 for shape in shapes]


def count(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def medians(methods: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, float]:
    """Each method's median over rounds in which all of them take turns, after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        for name, method in methods.items():
            seconds = method()
            if number:
                found[name].append(seconds)
    return {name: statistics.median(values) for name, values in found.items()}


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def gpu_seconds(work: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000
