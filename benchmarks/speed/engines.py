"""What an engine adds: many tiny runs on each, beside the least time that these runs can take.

    python benchmarks/speed/engines.py [--runs 200] [--steps 200] [--engines local ray]

The runs of an engine are supervised in this process, after one of each slot that is not counted: a slot starts once.
The least time is the sum of the runs' own wall seconds (outcome.wall_seconds, from the worker's beginning to its end)
divided by how many are at work at a time. The weights of each run are compared with those of the first engine.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from clipbench import store
from clipbench.planning.runs import plan
from clipbench.records import Outcome, Run
from clipbench.running.engines import Engine, Need, chosen
from clipbench.running.supervisor import supervise
from clipbench.spec import load

SPEC = """
task: {{use: quadratic, dimension: 16}}
optimizers:
  sgd: {{use: sgd, lr: 0.005}}
budget: {{steps: {steps}}}
seeds: [{seeds}]
measure: {{probes: []}}
"""


class Silent:
    """A watcher that says nothing."""

    def started(self, run: Run) -> None: ...
    def advanced(self, run: Run, progress: float, text: str) -> None: ...
    def finished(self, run: Run, outcome: Outcome) -> None: ...
    def heartbeat(self) -> None: ...
    def log(self, text: str) -> None: ...


def timed(runs: list[Run], engine: Engine, results: Path) -> tuple[float, float, list[str]]:
    """Wall seconds of all runs but the first of each slot, the least they can take, and the weights' hashes."""
    slots = engine.capacity()
    ended = supervise(runs[:slots], results, engine=engine, watcher=Silent())
    begin = time.monotonic()
    counted = supervise(runs[slots:], results, engine=engine, watcher=Silent())
    wall = time.monotonic() - begin
    hashes = {run.seed: outcome.weights_sha256 for run, outcome in [*ended, *counted]}
    return wall, sum(outcome.wall_seconds for _, outcome in counted) / slots, [hashes[run.seed] for run in runs]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    asked = parser.parse_args()
    rows, first = [], list[str]()
    with tempfile.TemporaryDirectory() as place:
        spec = Path(place, "tiny.yaml")
        spec.write_text(SPEC.format(steps=asked.steps, seeds=", ".join(map(str, range(asked.runs)))), encoding="utf-8")
        runs = [*plan(replace(load(spec), device="cpu"), device="cpu")]
        for name in asked.engines:
            with chosen(name).build(Need("cpu", 1)) as engine:
                wall, least, hashes = timed(runs, engine, Path(place, name))
                about = engine.about
            first = first or hashes
            whole = not store.missing(runs, Path(place, name))
            same = "the same" if hashes == first and whole else "DIFFERENT"
            rows.append((name, about, f"{wall:.1f} s", f"{least:.1f} s", f"{wall / least:.2f}", same))
    print(f"{asked.runs} runs of {asked.steps} steps, machine load {os.getloadavg()[0]:.1f}")  # noqa: T201
    print(tabulate(rows, headers=("engine", "", "wall", "least", "ratio", "weights")))  # noqa: T201


if __name__ == "__main__":
    main()
