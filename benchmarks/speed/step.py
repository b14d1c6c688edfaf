"""A training step of clipbench against a loop written by hand, and a probe of 12 directions in units of that step.

    python benchmarks/speed/step.py [--task code_lm] [--precision float32 bf16] [--curvature float32 tf32]
                                    [--rounds 9] [--steps 20]
    python benchmarks/speed/step.py --quick        a tiny model and few steps: does it run?

Both loops train the same model on the same batches by the same optimizer in the same precision, without evaluations or
probes, in turns in one process; medians over rounds of the time per step. On a CPU one thread and process CPU time, on
a GPU wall time after synchronising. The probe is `directional_curvature` of 12 directions on 32 examples.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import product
from statistics import median
from typing import Any, get_args

import torch
from tabulate import tabulate

from clipbench.budget import Budget
from clipbench.contracts import Batch, Problem
from clipbench.geometry.contexts import curvature_in
from clipbench.geometry.curvature import CurvatureEngine, directional_curvature
from clipbench.records import Arm, Choice, CurvaturePrecision, Measure, Precision, Run, TrainingSettings
from clipbench.running.environment import settle, synchronize
from clipbench.running.equipment import trainable
from clipbench.running.evaluation import device_of
from clipbench.running.preparing import LiveArm, assembled
from clipbench.running.train import take_step
from clipbench.running.vigil import settings
from clipbench.tasks import code_lm, number_translation

TASKS: dict[str, Callable[..., Problem]] = {"code_lm": code_lm.build, "number_translation": number_translation.build}
LARGER = {"width": 256, "layers": 4, "heads": 4}
ADAM = Arm("adam", Choice("adam", "torch.optim:Adam", "torch.optim:Adam", {"lr": 1e-4}))
DIRECTIONS, EXAMPLES = 12, 32
ENGINES: tuple[CurvatureEngine, ...] = ("auto", "jets", "adjoint", "double_backward")
TARGET = {"cpu": 1.05, "cuda": 1.1}  # of a step, against the hand-written one


class Ours:
    """clipbench's own loop."""

    def __init__(self, problem: Problem, precision: Precision) -> None:
        run = Run(
            "speed",
            Choice("", "", ""),
            ADAM,
            Budget(1e9, "steps"),
            0,
            Measure(10**9, 10**9),
            training=TrainingSettings(precision=precision),
        )
        self.training = assembled(run, problem, LiveArm((), {}, (), None, settings()))
        self.training.problem.model.train()

    def step(self, batch: Batch) -> float:
        return take_step(self.training, batch)


class ByHand:
    """What anybody would write."""

    def __init__(self, problem: Problem, precision: Precision) -> None:
        self.problem, self.device = problem, device_of(problem.model)
        self.optimizer = torch.optim.Adam(trainable(problem.model).values(), lr=1e-4)
        self.bf16 = precision == "bf16"
        problem.model.train()

    def step(self, batch: Batch) -> float:
        moved = batch.to(self.device)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            loss = self.problem.loss(self.problem.model, moved)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def timed(work: Callable[[], Any], device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronize(device)
    begin = clock()
    work()
    synchronize(device)
    return clock() - begin


def steps_of(loop: Ours | ByHand, batches: list[Batch]) -> None:
    for batch in batches:
        loop.step(batch)


def compared(make: Callable[[], Problem], precision: Precision, *, rounds: int, steps: int) -> tuple[float, float]:
    """The seconds of a step, ours and by hand."""
    loops: list[Ours | ByHand] = [Ours(make(), precision), ByHand(make(), precision)]
    problem = make()
    device, batches = device_of(problem.model), problem.train_batches(0)
    drawn = [next(batches) for _ in range(steps)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for loop in loops:
        steps_of(loop, drawn)  # warm
    for number in range(rounds):
        for place in (0, 1) if number % 2 else (1, 0):
            seconds[place].append(timed(partial(steps_of, loops[place], drawn), device) / steps)
    return median(seconds[0]), median(seconds[1])


def probed(problem: Problem, engine: CurvatureEngine, *, rounds: int) -> float:
    """The seconds of a probe."""
    device = device_of(problem.model)
    directions = {
        str(k): {name: torch.randn_like(p) for name, p in trainable(problem.model).items()} for k in range(DIRECTIONS)
    }
    batches: list[Batch] = []
    for batch in problem.probe_batches:
        if sum(each.samples for each in batches) < EXAMPLES:
            batches.append(batch)

    def probe() -> None:
        directional_curvature(problem.model, problem.loss, batches, directions, engine=engine)

    probe()  # warm, and with the engine's check of itself
    return median(timed(probe, device) for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="code_lm")
    parser.add_argument("--precision", choices=get_args(Precision), nargs="+", default=["float32", "bf16"])
    parser.add_argument("--curvature", choices=get_args(CurvaturePrecision), nargs="+", default=["float32"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settle(1)
    sizes = {"width": 16, "layers": 1, "heads": 2} if options.quick else LARGER
    rounds, steps = (1, 2) if options.quick else (options.rounds, options.steps)
    make = partial(TASKS[options.task], 0, device, **sizes, batch=options.batch)
    rows, step = [], {}
    for precision in options.precision:
        ours, by_hand = compared(make, precision, rounds=rounds, steps=steps)
        step[precision], ratio = by_hand, ours / by_hand
        target = TARGET[device.type]
        verdict = "" if options.quick else "met" if ratio <= target else "NOT MET"
        rows.append((f"step, {precision}", f"{1000 * ours:.3g} ms", f"{ratio:.3f} × by hand", f"≤ {target:g}", verdict))
    for engine, products in product(ENGINES, options.curvature):
        with curvature_in(products):
            seconds = probed(make(), engine, rounds=min(rounds, 3))
        in_steps = ", ".join(f"{seconds / each:.3g} {precision} steps" for precision, each in step.items())
        rows.append((f"probe of {DIRECTIONS}, {engine}, {products}", f"{1000 * seconds:.3g} ms", in_steps, "", ""))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU, one thread"
    count = sum(p.numel() for p in make().model.parameters())
    sys.stdout.write(f"{options.task}, {count:,} parameters, batch {options.batch}, on {name}\n\n")
    sys.stdout.write(
        tabulate(rows, headers=("what", "time", "ratio", "target", "verdict"), disable_numparse=True) + "\n"
    )


if __name__ == "__main__":
    main()
