"""What a run costs beside its training: `clipbench run` on the task quadratic, 10 steps a run.

    python benchmarks/speed/overhead.py [--runs 20] [--many 200]

- A run's own cost: the processor seconds of its worker, from fork to exit, minus the row `train` of its ledger. Median
  over --runs runs.
- Many runs: the wall seconds of `clipbench run` on --many runs, against the runs' median processor seconds times their
  number, divided by how many are at work at a time. On a busy machine the wall seconds say little: beside them stand
  the processor seconds of the whole command. --many 0 leaves this out.

The ledger's rows are wall seconds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from clipbench import store

METERED = Path(__file__).parent / "metered"  # its sitecustomize.py
STEPS = 10
OWN, SHARE = 0.2, 1.5  # the targets: processor seconds, and wall seconds as a multiple of the least possible
SPEC = """
task: {{use: quadratic}}
optimizers:
  sgd: {{use: sgd, lr: 0.01}}
budget: {{steps: {steps}}}
seeds: {seeds}
"""
_RIGHT = ("left", "right", "right", "right")


@dataclass(frozen=True)
class Metered:
    """A run's worker: its processor seconds, the run's ledger, and how many runs were at work at a time."""

    processor: float
    ledger: dict[str, float]
    at_a_time: int

    @property
    def own(self) -> float:
        return self.processor - self.ledger["train"]


@dataclass(frozen=True)
class Command:
    """One `clipbench run`: wall and processor seconds of all its processes, and its runs."""

    wall: float
    processor: float
    runs: list[Metered]


def carried_out(count: int, folder: Path) -> Command:
    """Make so many runs, each of another seed, by one command in a folder of its own."""
    spec, meter = folder / "quadratic.yaml", folder / "meter"
    spec.write_text(SPEC.format(steps=STEPS, seeds=list(range(count))))
    path = os.pathsep.join([str(METERED), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-m", "clipbench", "run", spec.name, "-o", str(folder / "results")]
    before, begin = os.times(), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": path, "METER": str(meter)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - begin, os.times()
    if done.returncode:
        raise SystemExit(f"clipbench run ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    runs = list(_metered(meter.read_text()))
    if len(runs) != count:
        raise SystemExit(f"{len(runs)} of {count} runs were metered")
    spent = sum(after[2:4]) - sum(before[2:4])  # user and system seconds of children
    return Command(wall, spent, runs)


def _metered(lines: str) -> Iterator[Metered]:
    noted: dict[str, list[str]] = {}
    for line in lines.splitlines():
        pid, _, text = line.partition(" ")
        noted.setdefault(pid, []).append(text)
    for folder, *processor in noted.values():
        if not (Path(folder) / store.RUN).exists():  # the process that tried the arm's first steps
            continue
        record = store.read(folder)
        outcome, environment = record.outcome, record.environment
        if outcome is None or environment is None or outcome.steps != STEPS:
            raise SystemExit(f"the run did not do what was timed: {outcome}")
        ledger = {str(row): seconds for row, seconds in outcome.ledger.items()}
        yield Metered(float(processor[0]), ledger, environment.side_by_side)


def table(runs: list[Metered]) -> str:
    columns = {f"ledger: {row}": [each.ledger[row] for each in runs] for row in runs[0].ledger}
    columns["processor"] = [each.processor for each in runs]
    columns["own cost: processor − train"] = [each.own for each in runs]
    rows = [(row, f"{statistics.median(s):.3f}", f"{min(s):.3f}", f"{max(s):.3f}") for row, s in columns.items()]
    return tabulate(rows, headers=("seconds", "median", "least", "most"), disable_numparse=True, colalign=_RIGHT)


def own_cost(command: Command) -> str:
    median = statistics.median(each.own for each in command.runs)
    return f"own cost of a run: {median:.3f} s; target ≤ {OWN:g} s: {_verdict(median <= OWN)}"


def many(command: Command) -> str:
    count, slots = len(command.runs), command.runs[0].at_a_time
    processor = statistics.median(each.processor for each in command.runs)
    least = count * processor / slots
    return (
        f"{count} runs of {processor:.3f} s processor, {slots} at a time, machine load {os.getloadavg()[0]:.1f}: "
        f"{command.wall:.1f} s wall = {command.wall / least:.2f} × {least:.1f} s; target ≤ {SHARE:g} ×: "
        f"{_verdict(command.wall <= SHARE * least)}\n"
        f"processor seconds of the whole command: {command.processor:.1f}, "
        f"divided by {slots}: {command.processor / slots / least:.2f} × {least:.1f} s"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "NOT MET"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--many", type=int, default=200)
    options = parser.parse_args()
    if options.runs < 1 or options.many < 0:
        parser.error("--runs must be at least 1, and --many at least 0")
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as more:
        command = carried_out(options.runs, Path(few))
        sys.stdout.write(f"{table(command.runs)}\n\n{own_cost(command)}\n")
        if options.many:
            sys.stdout.write(f"{many(carried_out(options.many, Path(more)))}\n")


if __name__ == "__main__":
    main()
