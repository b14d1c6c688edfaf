"""A training step shared among processes against the same step in one process, and what the exchange alone takes.

    python benchmarks/speed/processes.py [--processes 2] [--task code_lm] [--batch 32] [--rounds 9] [--steps 10]
    python benchmarks/speed/processes.py --quick        a tiny model and few steps: does it run?

On this machine's CPU, one thread a process, in turns. Medians over rounds of the wall time of a step, and of the CPU
time of the first process, which other work on the machine changes less. Shared perfectly, a step would take 1/processes
of either. With one example a process hardly anything is computed, and all weights and gradients travel.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from statistics import median

import torch
from step import ADAM, LARGER, TASKS
from tabulate import tabulate

from clipbench.budget import Budget
from clipbench.contracts import Batch
from clipbench.records import Choice, Measure, Run, TrainingSettings
from clipbench.running.environment import settle
from clipbench.running.equipment import build_problem
from clipbench.running.preparing import LiveArm, assembled
from clipbench.running.processes import Team, team
from clipbench.running.train import take_step
from clipbench.running.training import Training
from clipbench.running.vigil import settings

CPU = torch.device("cpu")


def training_of(run: Run, processes: Team) -> Training:
    problem = build_problem(run, CPU)
    if run.training.processes > 1:
        processes.gather(problem)
    training = assembled(run, problem, LiveArm((), {}, (), None, settings()), processes)
    training.problem.model.train()
    return training


def step_of(training: Training, batches: Iterator[Batch], steps: int) -> tuple[float, float]:
    """The median wall and CPU seconds of so many steps; their batches are drawn off the clock, as in a run."""
    seconds = []
    for _ in range(steps):
        batch = training.team.draw(training.state.spent.steps, partial(next, batches))
        wall, cpu = time.perf_counter(), time.process_time()
        take_step(training, batch)
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    return median(wall for wall, _ in seconds), median(cpu for _, cpu in seconds)


def compared(run: Run, *, rounds: int, steps: int) -> list[tuple[float, float]]:
    """The median wall and CPU seconds of a step in one process, and shared."""
    alone = replace(run, training=TrainingSettings())
    with team(alone, CPU) as one, team(run, CPU) as several:
        pair = training_of(alone, one), training_of(run, several)
        batches = [training.problem.train_batches(0) for training in pair]
        found: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        for number in range(rounds + 1):
            for place in (0, 1) if number % 2 else (1, 0):
                found[place].append(step_of(pair[place], batches[place], steps))
    return [(median(wall for wall, _ in each[1:]), median(cpu for _, cpu in each[1:])) for each in found]  # once warm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="code_lm")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    settle(1)
    sizes = {"width": 16, "layers": 1, "heads": 2} if options.quick else LARGER
    rounds, steps = (1, 2) if options.quick else (options.rounds, options.steps)
    target = f"clipbench.tasks.{options.task}:build"
    task = Choice(options.task, options.task, target, {**sizes, "batch": options.batch})
    measure = Measure(10**9, 10**9)
    shared = TrainingSettings(processes=options.processes)
    run = Run("speed", task, ADAM, Budget(1e9, "steps"), 0, measure, training=shared)
    smallest = replace(run, task=replace(task, options={**sizes, "batch": options.processes}))
    rows = []
    for what, of in ((f"a step on {options.batch} examples", run), ("a step on one example a process", smallest)):
        (wall, cpu), (shared_wall, shared_cpu) = compared(of, rounds=rounds, steps=steps)
        for kind, one, several in (("wall", wall, shared_wall), ("CPU", cpu, shared_cpu)):
            times = f"{1000 * one:.3g} ms", f"{1000 * several:.3g} ms"
            rows.append((f"{what}, {kind} time", *times, f"{several / one:.2f}"))
    count = sum(p.numel() for p in build_problem(run, CPU).model.parameters())
    sys.stdout.write(f"{options.task}, {count:,} parameters, one thread a process\n\n")
    headers = ("what", "1 process", f"{options.processes} processes", "ratio")
    sys.stdout.write(tabulate(rows, headers=headers, disable_numparse=True) + "\n")


if __name__ == "__main__":
    main()
