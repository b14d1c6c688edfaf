"""What a run costs beside its training: the parts of its ledger on code_lm with the quickstart's options, 10 steps.

    python benchmarks/speed/overhead.py [--rounds 10] [--steps 10] [--arm adam]

Each run has a fresh process with torch loaded, as `clipbench run` gives it. Seconds are of the processor, not of the
clock on the wall: the run's own ledger is charged by the process's CPU time. Medians over runs, with the least and the
most.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tabulate import tabulate

from clipbench import spec, store
from clipbench.budget import Ledger
from clipbench.planning.runs import plan
from clipbench.records import Run

QUICKSTART = Path(__file__).parents[1] / "quickstart.yaml"
TARGET = 0.25  # seconds of the processor, of these parts together
JUDGED = ("fingerprints", "proof", "life")


def chosen(arm: str, steps: int) -> Run:
    """An arm's first run of the quickstart, cut to so many steps."""
    values = [f"budget.steps={steps}", f"evaluate.every={min(steps, 10)}", "measure.probes=[]"]
    runs = plan(spec.load(QUICKSTART, spec.Overrides(values)), device="cpu")
    by_arm = {run.arm.name: run for run in reversed(runs)}
    if arm not in by_arm:
        raise SystemExit(f"the quickstart has no arm {arm!r}; it has {', '.join(sorted(by_arm))}")
    return by_arm[arm]


def alone(folder: Path) -> None:
    """In a process of its own: make the run of a folder, with a ledger of CPU time, which its record then has."""
    from clipbench.running.preload import worker  # only the runs' own processes load torch

    if vars(worker).get("Ledger") is not Ledger:
        raise SystemExit("the worker has another ledger than the one to charge by CPU time")
    vars(worker)["Ledger"] = partial(Ledger, clock=time.process_time)
    worker.work(folder, device="cpu", side_by_side=1, stop=lambda: False)


def measured(run: Run, folder: Path) -> dict[str, float]:
    """CPU seconds by part of one run in a fresh process."""
    store.describe(run, folder)
    subprocess.run([sys.executable, __file__, "--alone", str(folder)], check=True)
    outcome = store.read(folder).outcome
    if outcome is None or outcome.steps != run.budget.amount:
        raise SystemExit(f"the run did not do what was timed: {outcome}")
    return {str(row): seconds for row, seconds in outcome.ledger.items()}


def report(ledgers: Sequence[Mapping[str, float]]) -> str:
    columns = {row: [ledger[row] for ledger in ledgers] for row in ledgers[0]}
    columns["all but train"] = [sum(ledger.values()) - ledger["train"] for ledger in ledgers]
    judged = [row for row in JUDGED if row in columns]
    if judged:
        columns[" + ".join(judged)] = [sum(ledger[row] for row in judged) for ledger in ledgers]
    rows = [(row, f"{statistics.median(s):.3f}", f"{min(s):.3f}", f"{max(s):.3f}") for row, s in columns.items()]
    lines = [tabulate(rows, headers=("part", "CPU s", "least", "most"), disable_numparse=True, colalign=_RIGHT)]
    if judged:
        median = statistics.median(columns[" + ".join(judged)])
        lines.append(f"\n{median:.3f} s; target ≤ {TARGET:g} s: {'met' if median <= TARGET else 'NOT MET'}")
    return "\n".join(lines)


_RIGHT = ("left", "right", "right", "right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--arm", default="adam", help="of the quickstart")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        alone(options.alone)
        return
    run = chosen(options.arm, options.steps)
    with tempfile.TemporaryDirectory() as scratch:
        ledgers = [measured(run, Path(scratch, str(number))) for number in range(options.rounds)]
    what = f"{run.task.name}, {run.arm.name}, {options.steps} steps, median of {options.rounds} fresh processes"
    sys.stdout.write(f"{what}, one thread\n\n{report(ledgers)}\n")


if __name__ == "__main__":
    main()
