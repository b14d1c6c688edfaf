"""How fast is the exact threshold? Against concatenating all magnitudes and sorting them, interleaved, median of 9.

    python benchmarks/speed/threshold.py                      on a CPU: one thread, process CPU time
    python benchmarks/speed/threshold.py --device cuda        on a GPU: events around each call, and bytes read

Every threshold that is timed is compared with the sorted one.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from tabulate import tabulate
from torch import Tensor

from clipbench.clipping.sampled import sampled_threshold
from clipbench.clipping.threshold import coordinate_threshold

ROUNDS = 9
FRACTIONS = (0.1, 0.5)
CPU_SIZES = (112_000, 1_000_000, 10_000_000, 60_000_000)
GPU_SIZES = (1_000_000, 10_000_000, 124_000_000)

Method = Callable[[list[Tensor], float], Tensor]


def full_sort(tensors: list[Tensor], fraction: float) -> Tensor:
    magnitudes = torch.cat([tensor.abs().flatten() for tensor in tensors])
    return magnitudes.sort(descending=True).values[int(len(magnitudes) * fraction)]


def model(n: int, *, device: str, dtype: torch.dtype) -> list[Tensor]:
    """Heavy-tailed gradients with the shapes of a GPT-2 of about n parameters: big matrices and many small vectors."""
    width = max(16, round((n / 100) ** 0.5))
    generator = torch.Generator(device=device).manual_seed(0)
    layer = [(width,), (width, 3 * width), (3 * width,), (width, width), (width,), (4 * width, width), (4 * width,)]
    shapes = [*layer, (width, 4 * width), (width,)] * 8
    rest = n - sum(torch.Size(shape).numel() for shape in shapes)
    shapes.append((rest,))
    return [(torch.randn(shape, generator=generator, device=device) ** 3).to(dtype) for shape in shapes]


def seconds(work: Callable[[], Tensor], *, device: str) -> float:
    if device == "cpu":
        begin = time.process_time()
        work()
        return time.process_time() - begin
    begin_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    begin_event.record()
    work()
    end_event.record()
    end_event.synchronize()
    milliseconds: float = begin_event.elapsed_time(end_event)
    return milliseconds / 1000


def interleaved(methods: dict[str, Method], tensors: list[Tensor], fraction: float, *, device: str) -> dict[str, float]:
    """The median seconds of each, one call of each in turn."""
    expected = full_sort(tensors, fraction)
    for name, method in methods.items():
        found = method(tensors, fraction)
        if name != "sample" and not torch.equal(found, expected):
            raise SystemExit(f"{name} found {found}, not {expected}")
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, method in methods.items():
            times[name].append(seconds(partial(method, tensors, fraction), device=device))
    return {name: median(taken) for name, taken in times.items()}


def in_a_graph(tensors: list[Tensor], fraction: float) -> Method:
    """The threshold as a CUDA graph: what it takes without Python's share."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        threshold = coordinate_threshold(tensors, fraction)

    def replay(_: list[Tensor], __: float) -> Tensor:
        graph.replay()
        return threshold

    return replay


def copy_bandwidth() -> float:
    """Bytes read and written a second by a copy of 1 GiB."""
    source, target = (torch.empty(1 << 28, device="cuda") for _ in range(2))
    taken = [seconds(lambda: target.copy_(source), device="cuda") for _ in range(ROUNDS)]
    return 2 * source.nbytes / median(taken)


def peak_mebibytes(n: int, method: str) -> float:
    """The peak memory that one call adds, on a CPU: the growth of a fresh process's largest resident set."""
    script = [sys.executable, __file__, "--peak", str(n), method]
    return float(subprocess.run(script, capture_output=True, text=True, check=True).stdout)


def print_peak(n: int, method: str) -> None:
    tensors = model(n, device="cpu", dtype=torch.float32)
    coordinate_threshold([torch.randn(100_000)], 0.5)  # what is only needed once
    # The largest resident set was while the model was made: fill up to it first.
    filled = torch.ones((_resident(largest=True) - _resident(largest=False)) // 4 + 1)
    before = _resident(largest=True)
    {"sort": full_sort, "exact": coordinate_threshold}[method](tensors, 0.5)
    sys.stdout.write(str((_resident(largest=True) - before) / 2**20))
    del filled


def _resident(*, largest: bool) -> int:
    if largest:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def on_cpu() -> None:
    torch.set_num_threads(1)
    rows = []
    for n in CPU_SIZES:
        tensors = model(n, device="cpu", dtype=torch.float32)
        halves = [tensor.bfloat16() for tensor in tensors]
        for fraction in FRACTIONS:
            taken = interleaved(METHODS, tensors, fraction, device="cpu")
            half = interleaved({"exact": coordinate_threshold}, halves, fraction, device="cpu")["exact"]
            rows.append([n, fraction, *_against_sort({**taken, "exact, bfloat16": half})])
    print(tabulate(rows, headers=[*HEADS, "exact, bfloat16: ms", "×"], floatfmt=".4g"))  # noqa: T201
    share = {method: peak_mebibytes(60_000_000, method) * 2**20 / 240e6 for method in ("sort", "exact")}
    print(f"extra peak memory / model at 60 M: sort {share['sort']:.2f}, exact {share['exact']:.3f}")  # noqa: T201


def on_gpu() -> None:
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}, copy bandwidth {bandwidth / 1e12:.2f} TB/s")  # noqa: T201
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for n in GPU_SIZES:
            tensors = model(n, device="cuda", dtype=dtype)
            for fraction in FRACTIONS:
                coordinate_threshold(tensors, fraction)  # compiles
                methods = {**METHODS, "exact, graph": in_a_graph(tensors, fraction)}
                taken = interleaved(methods, tensors, fraction, device="cuda")
                # How many times the gradient could have been read meanwhile at the bandwidth of a copy.
                reads = taken["exact, graph"] * bandwidth / (n * dtype.itemsize)
                rows.append([str(dtype), n, fraction, *_against_sort(taken), reads])
    heads = ["dtype", *HEADS, "exact, graph: ms", "×", "graph, in reads"]
    print(tabulate(rows, headers=heads, floatfmt=".4g"))  # noqa: T201


def _against_sort(taken: dict[str, float]) -> list[float]:
    """The sort's milliseconds; then of each other method its own, and how many times faster it is."""
    sort = taken["sort"]
    others = [
        figure for name, taken_by in taken.items() if name != "sort" for figure in (1e3 * taken_by, sort / taken_by)
    ]
    return [1e3 * sort, *others]


METHODS: dict[str, Method] = {"sort": full_sort, "exact": coordinate_threshold, "sample": sampled_threshold}
HEADS = ["coordinates", "fraction", "sort: ms", "exact: ms", "×", "sample: ms", "×"]


def main() -> None:
    parser = argparse.ArgumentParser(description="The speed of the exact threshold against a full sort.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--peak", nargs=2, metavar=("COORDINATES", "METHOD"), help="print one peak, in MiB, and stop")
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(int(arguments.peak[0]), arguments.peak[1])
    elif arguments.device == "cpu":
        on_cpu()
    else:
        on_gpu()


if __name__ == "__main__":
    main()
