"""What the clip costs: its threshold against a full sort, its steps against torch's own, on a CPU or a GPU.

    python benchmarks/speed/clip.py            one thread of the CPU, some minutes
    python benchmarks/speed/clip.py --gpu      the first CUDA device
    python benchmarks/speed/clip.py --quick    tiny sizes, to see that it runs; judges nothing

Methods take turns within one process, so that a busy machine slows them alike; a figure is the median over rounds
of process CPU time (on a GPU, of time between CUDA events over buffers that rotate). Before anything is timed the
threshold is compared with the sort's, and after every timed step the weights must have moved.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from steps import FRACTIONS, check_exact, full_sort, sgd, steps
from tabulate import tabulate
from timing import (
    GPT2,
    SIXTY,
    SMALL,
    TEN,
    TINY,
    Figure,
    Sizes,
    Timer,
    count,
    cpu_seconds,
    gpu_seconds,
    heavy_tailed,
    medians,
)
from torch import Tensor

from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.threshold import coordinate_threshold
from clipbench.tasks.code_lm import build as code_lm


def thresholds(tensors: Sequence[Tensor], *, rounds: int, timer: Timer, target: float) -> list[Figure]:
    """Each fraction's threshold, against the sort that would serve for all of them."""
    check_exact(tensors)
    methods: dict[str, Callable[[], float]] = {"sort": partial(timer, partial(full_sort, tensors))}
    for fraction in FRACTIONS:
        methods[f"{fraction:g}"] = partial(timer, partial(coordinate_threshold, tensors, fraction))
    found = medians(methods, rounds=rounds)
    millions = count(tensors) / 1e6
    return [
        Figure(
            f"threshold, {millions:.3g} M, p = {fraction:g}",
            found[f"{fraction:g}"],
            found["sort"] / found[f"{fraction:g}"],
            "× faster than the sort",
            target,
            at_least=True,
        )
        for fraction in FRACTIONS
    ]


def share_of_training(*, rounds: int, steps_a_round: int = 10) -> Figure:
    """What the hook adds to optimizer.step(), as a share of the whole training step of code_lm."""
    problem = code_lm(0, torch.device("cpu"))
    batches = problem.train_batches(0)
    optimizer = sgd(list(problem.model.parameters()), fused=True)

    def gradient() -> float:
        batch = next(batches)

        def work() -> None:
            optimizer.zero_grad()
            problem.loss(problem.model, batch).backward()

        return cpu_seconds(work)

    def stepped(*, clipped: bool) -> float:
        gradients = [p.grad for p in problem.model.parameters() if p.grad is not None]
        raw = [tensor.clone() for tensor in gradients]
        clip = CoordinateClip(optimizer, 0.1) if clipped else None
        seconds = 0.0
        for _ in range(steps_a_round):
            torch._foreach_copy_(gradients, raw)
            seconds += cpu_seconds(optimizer.step)
        if clip is not None:
            clip.remove()
        torch._foreach_copy_(gradients, raw)
        return seconds / steps_a_round

    found = medians(
        {"gradient": gradient, "without": partial(stepped, clipped=False), "with": partial(stepped, clipped=True)},
        rounds=rounds,
    )
    added = found["with"] - found["without"]
    share = 100 * added / (found["gradient"] + found["with"])
    return Figure("share of a code_lm training step, clip 10 %", added, share, "% of the step", 5.0)


def extra_memory(size: str) -> float:
    """The peak of resident memory during a threshold over what there was, as a multiple of the tensors' bytes.

    In a process of its own, because memory that was freed before would be used again unseen.
    """
    command = [sys.executable, __file__, "--memory-of", size]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _measure_memory(sizes: Sizes) -> float:
    tensors = [torch.empty(shape) for shape in sizes.shapes]
    for number, tensor in enumerate(tensors):  # in place: what is freed here would hide what is measured
        tensor.log_normal_(generator=torch.Generator().manual_seed(number))
    coordinate_threshold(tensors[-20:], 0.1)  # imports and first calls
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew from here
    before = _status("VmRSS")
    coordinate_threshold(tensors, 0.1)
    return (_status("VmHWM") - before) / (4 * count(tensors))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def on_cpu(*, quick: bool, rounds: int) -> list[Figure]:
    torch.set_num_threads(1)
    named = {"tiny": TINY, "small": SMALL} if quick else {"ten": TEN, "sixty": SIXTY}
    figures: list[Figure] = []
    for sizes in named.values():
        figures += thresholds(heavy_tailed(sizes.shapes), rounds=rounds, timer=cpu_seconds, target=75.0)
    for name, sizes in named.items():
        what = f"extra peak memory of a threshold, {count([torch.empty(s) for s in sizes.shapes]) / 1e6:.3g} M"
        figures.append(Figure(what, None, extra_memory(name), "× the model", 0.05))
    figures += steps(heavy_tailed(next(iter(named.values())).shapes), rounds=rounds, timer=cpu_seconds)
    return [*figures, share_of_training(rounds=rounds if quick else 5 * rounds)]


def on_gpu(*, quick: bool, rounds: int) -> list[Figure]:
    """The threshold at 124 M coordinates: its time, its share of the bandwidth of a copy, the sort, whole steps."""
    shapes = (SMALL if quick else GPT2).shapes
    buffers = [heavy_tailed(shapes, device="cuda", seed=seed) for seed in range(3)]
    for buffer in buffers:
        check_exact(buffer)
    figures = against_a_copy(buffers, rounds=rounds, timer=gpu_seconds)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    coordinate_threshold(buffers[0], 0.1)
    extra = (torch.cuda.max_memory_allocated() - before) / (4 * count(buffers[0]))
    figures.append(Figure("extra peak memory of a threshold on the GPU", None, extra, "× the model", 0.05))
    return figures + steps(buffers[0], rounds=rounds, timer=gpu_seconds)


def against_a_copy(buffers: Sequence[list[Tensor]], *, rounds: int, timer: Timer) -> list[Figure]:
    """Thresholds against the bandwidth of a copy; each call gets the next buffer, so that none is in a cache."""
    endless = itertools.cycle(buffers)
    size = 4 * count(buffers[0])
    source, target = torch.empty(2, size // 4, device=buffers[0][0].device).unbind()

    def timed(work: Callable[[list[Tensor]], object]) -> float:
        buffer = next(endless)
        return timer(lambda: work(buffer))

    methods: dict[str, Callable[[], float]] = {
        "copy": lambda: timer(lambda: target.copy_(source)),
        "sort": lambda: timed(full_sort),
    }
    for fraction in FRACTIONS:
        methods[f"{fraction:g}"] = partial(timed, partial(coordinate_threshold, fraction=fraction))
    found = medians(methods, rounds=rounds)
    bandwidth = 2 * size / found["copy"]  # a copy reads and writes
    figures: list[Figure] = []
    for fraction in FRACTIONS:
        seconds, what = found[f"{fraction:g}"], f"threshold, {size / 4e6:.4g} M on the GPU, p = {fraction:g}"
        share = 100 * 3 * size / seconds / bandwidth
        figures += [
            Figure(what, seconds, share, f"% of {bandwidth / 1e12:.2f} TB/s, at 3 reads", 60.0, at_least=True),
            Figure(what, seconds, found["sort"] / seconds, "× faster than the sort", 5.0, at_least=True),
        ]
    return figures


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="measure on the first CUDA device")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count, at least 1 (9)")
    parser.add_argument("--memory-of", choices=["tiny", "small", "ten", "sixty"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.memory_of:
        sizes = {"tiny": TINY, "small": SMALL, "ten": TEN, "sixty": SIXTY}[options.memory_of]
        sys.stdout.write(f"{_measure_memory(sizes)}\n")
        return
    if options.gpu and not torch.cuda.is_available():
        parser.error("there is no CUDA device here")
    figures = (on_gpu if options.gpu else on_cpu)(quick=options.quick, rounds=options.rounds)
    rows = [figure.row(judged=not options.quick) for figure in figures]
    where = torch.cuda.get_device_name() if options.gpu else "CPU, one thread, process CPU time"
    sys.stdout.write(f"torch {torch.__version__}, {where}, median of {options.rounds} rounds\n\n")
    sys.stdout.write(tabulate(rows, headers=("what", "time", "found", "target", ""), disable_numparse=True) + "\n")
    if options.quick:
        sys.stdout.write("\nSizes this small say nothing of speed.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
