"""What it costs to look: a run of code_lm that is probed every 50 steps with ten ghosts, against the run without.

    python benchmarks/speed/probing.py [--rounds N] [--steps N]

Both runs are whole, evaluation and the ghosts' checks of life included, in one process, in turns; process CPU time,
medians over rounds. The parts come from the time ledger of the median run.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from tabulate import tabulate

from clipbench import spec, store
from clipbench.planning.runs import plan
from clipbench.records import Record, Run
from clipbench.running.worker import work

TARGET, STEPS = 2.0, 200  # the run with probes and ghosts over the one without, both of so many steps
SPEC = """\
# What does it cost to look?
task: {use: code_lm}
optimizers:
  sgd: {use: sgd, lr: 0.3, momentum: 0.9, dampening: 0.9}
  raw gradient: {use: sgd, lr: 0.1}
  sgd+clip 10 %: {use: sgd, lr: 1.0, momentum: 0.9, dampening: 0.9, clip: {fraction: 0.1}}
  normalized sgd: {use: normalized_sgd, lr: 0.001}
  sign: {use: signsgd, lr: 0.001}
  lion: {use: lion, lr: 0.001}
  adam: {use: adam, lr: 0.003}
  adamw: {use: adamw, lr: 0.003}
  adam+clip 50 %: {use: adam, lr: 0.003, clip: {fraction: 0.5, of: numerator}}
  adafactor: {use: adafactor, lr: 0.03}
  adafactor+clip 50 %: {use: adafactor, lr: 0.03, clip: {fraction: 0.5, of: numerator}}
budget: {steps: STEPS}
seeds: [0]
evaluate: {every: LOOK}
measure: {every: EVERY, probes: [sharpness], ghosts: {along: [sgd], only: true}}
"""


def timed(run: Run, folder: Path) -> tuple[float, Record]:
    """CPU seconds of a whole run, and its record."""
    store.describe(run, folder)
    before = time.process_time()
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    seconds = time.process_time() - before
    record = store.read(folder)
    if record.outcome is None or record.outcome.status != "finished" or record.outcome.failed_probes:
        raise SystemExit(f"the run in {folder} did not do what was timed: {record.outcome}")
    return seconds, record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=STEPS)
    rounds, steps = vars(parser.parse_args()).values()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "probing.yaml")
        text = (
            SPEC.replace("STEPS", str(steps))
            .replace("EVERY", str(max(1, steps // 4)))
            .replace("LOOK", str(min(10, steps)))
        )
        path.write_text(text, encoding="utf-8")
        [probed] = plan(spec.load(path), device="cpu")
        plain = replace(probed, measure=replace(probed.measure, probes=(), ghosts=()))
        found: dict[str, list[tuple[float, Record]]] = {"without": [], "with ten ghosts": []}
        for number in range(rounds + 1):  # the first round loads what is loaded once
            for name, run in zip(found, (plain, probed), strict=True):
                measured = timed(run, Path(scratch, name, str(number)))
                found[name] += [measured] if number else []
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in found.items()}
    _, typical = min(found["with ten ghosts"], key=lambda one: abs(one[0] - medians["with ten ghosts"]))
    assert typical.outcome is not None
    lines = [
        f"torch {torch.__version__}, CPU, one thread, process CPU time, median of {rounds} rounds, {steps} steps",
        "",
        tabulate([(name, f"{seconds:.2f} s") for name, seconds in medians.items()], headers=("run", "CPU time")),
        "",
        "wall time of the run with ghosts, by its ledger",
        tabulate([(row, f"{seconds:.2f} s") for row, seconds in typical.outcome.ledger.items()], tablefmt="plain"),
        "",
    ]
    ratio = medians["with ten ghosts"] / medians["without"]
    verdict = f"; target ≤ {TARGET:g}: {'met' if ratio <= TARGET else 'NOT MET'}" if steps == STEPS else ""
    sys.stdout.write("\n".join([*lines, f"{ratio:.2f} × the run without{verdict}\n"]))


if __name__ == "__main__":
    main()
