"""What does curvature along K directions cost? Each engine against a loop of torch.autograd.functional.vhp.

    python benchmarks/speed/curvature.py                 on a CPU: one thread, process CPU time, about ten minutes
    python benchmarks/speed/curvature.py --quick         the same on tiny models: does it run?
    python benchmarks/speed/curvature.py --gpu           on a GPU, and a T5 shape of 60 M parameters at the end

Methods take turns, median of 9; memory is the most that one call holds in tensors. The error is the
largest over directions of |curvature − exact|/|exact|, the exact one by double backward in float64.
"""

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from statistics import median
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from clipbench.contracts import Batch, Loss
from clipbench.geometry.contexts import math_attention
from clipbench.geometry.curvature import TooFewBytesError, directional_curvature
from clipbench.networks.transformer import Block, draw_weights

ROUNDS = 9
TARGETS = {  # of time and of memory, by model and number of directions, against the loop of vhp
    ("causal LM", 12, "jets"): (0.45, 1.0),
    ("causal LM", 12, "jets, one by one"): (0.7, 0.25),
    ("causal LM", 12, "auto"): (0.35, math.inf),
    ("encoder–decoder", 12, "auto"): (0.40, 1.0),
    **{(name, 1, "jets"): (0.9, math.inf) for name in ("causal LM", "encoder–decoder", "CNN")},
}


@dataclass(frozen=True)
class Subject:
    """A model, its loss and one batch, with K directions."""

    model: nn.Module
    loss: Loss
    batch: Batch
    directions: Mapping[str, Mapping[str, Tensor]]


class Transformer(nn.Module):
    """Tokens (B, T) → logits; with a source (B, S) an encoder–decoder, without one causal. One embedding for all."""

    def __init__(self, *, words: int, width: int, layers: int, heads: int, length: int, encoder: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.position = nn.Embedding(length, width)
        self.encoder = nn.ModuleList(Block(width, heads) for _ in range(layers if encoder else 0))
        self.decoder = nn.ModuleList(Block(width, heads, causal=True, cross=encoder) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        draw_weights(self, depth=2 * layers)

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        memory = self.embedding(source) + self.position.weight[: source.shape[1]]
        for block in self.encoder:
            memory = block(memory)
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.decoder:
            x = block(x, memory)
        return functional.linear(self.norm(x), self.embedding.weight)


def sequence_loss(model: nn.Module, batch: Batch) -> Tensor:
    tokens = batch["tokens"]
    logits: Tensor = model(tokens[:, :-1], batch["source"])
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def image_loss(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch["images"]), batch["classes"])


def transformer(*, encoder: bool, width: int, layers: int, words: int, examples: int, length: int) -> Subject:
    model = Transformer(
        words=words, width=width, layers=layers, heads=max(1, width // 32), length=length, encoder=encoder
    )
    tokens, source = (torch.randint(words, (examples, length + more)) for more in (1, 0))
    batch = Batch({"tokens": tokens, "source": source}, samples=examples, tokens=examples * length)
    return Subject(model, sequence_loss, batch, {})


def convolutional(*, width: int, examples: int, side: int) -> Subject:
    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.SiLU()]

    model = nn.Sequential(
        *stage(3, width),
        *stage(width, 2 * width),
        nn.MaxPool2d(2),
        *stage(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )
    images, classes = torch.randn(examples, 3, side, side), torch.randint(10, (examples,))
    return Subject(model, image_loss, Batch({"images": images, "classes": classes}, samples=examples), {})


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "causal LM": partial(transformer, encoder=False, width=192, layers=4, words=512, examples=8, length=64),
    "encoder–decoder": partial(transformer, encoder=True, width=160, layers=3, words=512, examples=8, length=64),
    "CNN": partial(convolutional, width=32, examples=8, side=32),
}
QUICK: dict[str, Callable[[], Subject]] = {
    "causal LM": partial(transformer, encoder=False, width=32, layers=1, words=16, examples=2, length=8),
    "encoder–decoder": partial(transformer, encoder=True, width=32, layers=1, words=16, examples=2, length=8),
    "CNN": partial(convolutional, width=2, examples=2, side=8),
}
LARGE: dict[str, Callable[[], Subject]] = {
    "T5 shape, 60 M": partial(transformer, encoder=True, width=512, layers=6, words=32128, examples=32, length=512)
}


def subject(make: Callable[[], Subject], k: int, *, device: str) -> Subject:
    """With K Gaussian directions, the same at every call."""
    torch.manual_seed(0)
    made = make()
    model = made.model.to(device).eval()
    directions = {
        str(i): {name: torch.randn_like(p, requires_grad=False) for name, p in model.named_parameters()}
        for i in range(k)
    }
    return replace(made, model=model, batch=made.batch.to(torch.device(device)), directions=directions)


def by_vhp(given: Subject) -> list[float]:
    """The paper's way: for each direction a gradient with its graph, and a product."""
    names, values = zip(*((name, p.detach()) for name, p in given.model.named_parameters()), strict=True)

    def at(*point: Tensor) -> Tensor:
        def moved(*inputs: Tensor) -> Tensor:
            out: Tensor = functional_call(given.model, dict(zip(names, point, strict=True)), inputs)
            return out

        return given.loss(moved, given.batch)  # type: ignore[arg-type]

    found = []
    for direction in given.directions.values():
        length = math.sqrt(sum(float(u.double().square().sum()) for u in direction.values()))
        v = tuple(direction[name] / length for name in names)
        with math_attention():
            _, product = torch.autograd.functional.vhp(at, values, v)
        found.append(sum(float((a.double() * b.double()).sum()) for a, b in zip(product, v, strict=True)))
    return found


def by(given: Subject, **options: object) -> list[float]:
    found = directional_curvature(
        given.model,
        given.loss,
        [given.batch],
        given.directions,
        check=False,  # a later call's cost: the check is for the first
        **options,  # type: ignore[arg-type]
    )
    return [along.curvature for _, along in found.items()]


METHODS: dict[str, Callable[[Subject], list[float]]] = {
    "vhp": by_vhp,
    "double backward": partial(by, engine="double_backward"),
    "auto": partial(by, engine="auto"),
    "jets": partial(by, engine="jets"),
    "jets, all at once": partial(by, engine="jets", chunk=10**6),
    "jets, one by one": partial(by, engine="jets", chunk=1),
    "adjoint": partial(by, engine="adjoint"),
    "adjoint, all at once": partial(by, engine="adjoint", chunk=10**6),
    "adjoint, one by one": partial(by, engine="adjoint", chunk=1),
}


def seconds(work: Callable[[], object], *, device: str) -> float:
    if device == "cpu":
        begin = time.process_time()
        work()
        return time.process_time() - begin
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def fitting(given: Subject, names: Iterable[str]) -> list[str]:
    """The methods that the device's memory is enough for; the others are named, for that is a result."""
    fit = []
    for name in names:
        try:
            METHODS[name](given)
        except (torch.OutOfMemoryError, TooFewBytesError):
            sys.stdout.write(f"{name}: does not fit into the memory of this device\n")
            torch.cuda.empty_cache()
        else:
            fit.append(name)
    return fit


def timed(given: Subject, names: Iterable[str], *, device: str, rounds: int) -> dict[str, float]:
    """The median seconds of each method, in turns; each has been called before."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, taken in times.items():
            taken.append(seconds(partial(METHODS[name], given), device=device))
    return {name: median(taken) for name, taken in times.items()}


def errors(given: Subject) -> dict[str, float]:
    wide = Subject(
        copy.deepcopy(given.model).double(),
        given.loss,
        Batch(
            {n: t.double() if t.is_floating_point() else t for n, t in given.batch.tensors.items()},
            given.batch.samples,
            given.batch.tokens,
        ),
        {n: {p: u.double() for p, u in direction.items()} for n, direction in given.directions.items()},
    )
    exact = METHODS["double backward"](wide)
    return {
        name: max(abs(a - b) / abs(b) for a, b in zip(method(given), exact, strict=True))
        for name, method in METHODS.items()
    }


def peak(given: Subject, method: str, *, device: str) -> float:
    """The most MiB of tensors that one call has at a time, beside those that were there before."""
    METHODS[method](given)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        METHODS[method](given)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        METHODS[method](given)
    results: Any = profile.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    held: Iterable[int] = accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(held) / 2**20


def verdict(name: str, k: int, method: str, time_ratio: float, memory_ratio: float) -> str:
    if (name, k, method) not in TARGETS:
        return ""
    slow, big = TARGETS[name, k, method]
    met = "met" if time_ratio <= slow and memory_ratio <= big else "NOT MET"
    return f"time ≤ {slow}" + ("" if math.isinf(big) else f", memory ≤ {big}") + f": {met}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny models and one round")
    parser.add_argument("--gpu", action="store_true", help="on a GPU")
    arguments = parser.parse_args()
    device = "cuda" if arguments.gpu else "cpu"
    subjects = QUICK if arguments.quick else {**SUBJECTS, **(LARGE if arguments.gpu else {})}
    torch.set_num_threads(1)
    for name, make in subjects.items():
        for k in (12, 1):
            given = subject(make, k, device=device)
            wanted = [method for method in METHODS if name not in LARGE or method != "jets, all at once"]
            names = fitting(given, wanted)  # which also does what is only done once
            times = timed(given, names, device=device, rounds=1 if arguments.quick else 3 if name in LARGE else ROUNDS)
            wrong = errors(given) if name not in LARGE else dict.fromkeys(METHODS, math.nan)
            peaks = {method: peak(given, method, device=device) for method in names}
            rows = []
            for method in names:
                ratios = times[method] / times["vhp"], peaks[method] / max(peaks["vhp"], 1e-9)
                rows.append(
                    (
                        method,
                        times[method],
                        ratios[0],
                        peaks[method],
                        ratios[1],
                        wrong[method],
                        verdict(name, k, method, *ratios),
                    )
                )
            size = sum(p.numel() for p in given.model.parameters())
            headers = ("method", "seconds", "/ vhp", "MiB", "/ vhp", "error", "target")
            sys.stdout.write(f"\n{name}, {size:,} parameters, K = {k}, {device}\n")
            sys.stdout.write(
                tabulate(rows, headers=headers, floatfmt=("", ".4f", ".2f", ".1f", ".2f", ".1e", "")) + "\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
