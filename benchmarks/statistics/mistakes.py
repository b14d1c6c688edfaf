"""Does the gate catch mistakes in an optimizer's code? Real runs on code_lm, 5 seeds, the machine's own baseline.

    python benchmarks/statistics/mistakes.py [--steps 200] [--seeds 5]

An Adam of the user's own, with a clip of 10 %, is run as it should be; then its code is changed in the ways that
slip in unnoticed, and run again: the spec is the same throughout. `clipbench check` compares. The same changes are then
made in the spec, where they are meant: bits may differ there, and only the statistics can object.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import stdev

from tabulate import tabulate

from clipbench import store
from clipbench.quantities import final_loss

SPEC = """\
# Is the optimizer still the one it was?
task: {{use: code_lm}}
optimizers:
  clipped adam: {{use: "subject:Subject", lr: {lr}, beta2: {beta2}, fraction: {fraction}}}
budget: {{steps: {steps}}}
seeds: [{seeds}]
evaluate: {{every: 10}}
target: {{loss: 2.8}}
measure: {{every: 50}}
device: cpu
"""

# Each mistake is one line of this that went wrong.
SUBJECT = """\
import torch

from clipbench import CoordinateClip


class Subject(torch.optim.Adam):
    def __init__(self, params, lr, beta2, fraction):
        super().__init__(params, lr=lr, betas=(0.9, beta2))
        self.clip = CoordinateClip(self, fraction)

    def step(self):
        super().step()
"""
RIGHT = {"lr": "0.003", "beta2": "0.999", "fraction": "0.1"}
TOO_HIGH = """\
        for group in self.param_groups:
            group["lr"] *= 1.05
        super().step()
        for group in self.param_groups:
            group["lr"] /= 1.05
"""
KEPT_TWICE = """\
        super().step()
        for state in self.state.values():
            state["old_exp_avg"], state["old_exp_avg_sq"] = state["exp_avg"].clone(), state["exp_avg_sq"].clone()
"""
MISTAKES = {
    "nothing (the same code again)": ("", ""),
    "β₂ = 0.99 for 0.999": ("betas=(0.9, beta2)", "betas=(0.9, 0.99)"),
    "learning rate 5 % too high": ("        super().step()\n", TOO_HIGH),
    "the same, set at the start": ("lr=lr", "lr=1.05 * lr"),
    "clip fraction 0.11 for 0.10": ("(self, fraction)", "(self, 0.11)"),
    "twice the optimizer state": ("        super().step()\n", KEPT_TWICE),
}
MEANT = {
    "beta2: 0.99": {"beta2": "0.99"},
    "lr: 0.00315": {"lr": "0.00315"},
    "fraction: 0.11": {"fraction": "0.11"},
    "lr: 0.0003": {"lr": "0.0003"},
}


def main() -> None:
    options = argparse.ArgumentParser(description="Mistakes in an optimizer, caught or not.")
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--seeds", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), steps=given.steps, seeds=given.seeds)
        bench.run(SUBJECT, RIGHT, "baseline")
        in_code = [bench.judged(name, SUBJECT.replace(*change), RIGHT) for name, change in MISTAKES.items()]
        in_spec = [bench.judged(name, SUBJECT, {**RIGHT, **change}) for name, change in MEANT.items()]
    headings = (
        "change",
        "exit",
        "exit, --fail-on regressed",
        "verdicts that are not ok or advice",
        "loss",
        "s.d. of ln ratio",
    )
    sys.stdout.write(
        f"clipbench check on code_lm, {given.steps} steps, {given.seeds} seeds, against a baseline made just before\n\n"
    )
    sys.stdout.write(f"Mistakes in the code, under one spec:\n\n{tabulate(in_code, headers=headings)}\n\n")
    sys.stdout.write(f"The same meant, as edits of the spec:\n\n{tabulate(in_spec, headers=headings)}\n")


class Bench:
    """A folder with the subject and its spec, and results beside it."""

    def __init__(self, folder: Path, *, steps: int, seeds: int) -> None:
        self.folder, self.steps, self.seeds = folder, steps, seeds

    def run(self, code: str, options: dict[str, str], results: str) -> None:
        (self.folder / "subject.py").write_text(code)
        seeds = ", ".join(map(str, range(self.seeds)))
        (self.folder / "mistakes.yaml").write_text(SPEC.format(**options, steps=self.steps, seeds=seeds))
        self._clipbench("run", "mistakes.yaml", "-o", results, expected=(0, 4))

    def judged(self, name: str, code: str, options: dict[str, str]) -> tuple[str, ...]:
        results = name.replace("/", " ")
        self.run(code, options, results)
        compared = ("check", results, "--baseline", "baseline", "--format", "json")
        said = json.loads(self._clipbench(*compared, expected=(0, 1, 3)).stdout)
        lenient = self._clipbench(*compared, "--fail-on", "regressed", expected=(0, 1, 3))
        found = [f"{row['metric']} {row['verdict']}" for row in said["rows"] if row["verdict"] not in ("ok", "advice")]
        loss = next(row["detail"] for row in said["rows"] if row["metric"] == "loss")
        exits = str(said["exit_code"]), str(lenient.returncode)
        return name, *exits, ", ".join(found) or "none", loss, self._spread(results)

    def _spread(self, results: str) -> str:
        """The standard deviation over seeds of ln(final loss / the baseline's): the paired noise."""
        ours, theirs = (
            {record.run.seed: final_loss(record) for record in store.read_all(self.folder / place)[0]}
            for place in (results, "baseline")
        )
        logs = [math.log(ours[seed] / theirs[seed]) for seed in ours if ours[seed] > 0]  # not NaN: those that ran
        return f"{stdev(logs):.5f}" if logs else ""

    def _clipbench(self, *words: str, expected: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clipbench", *words]
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in expected:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return done


if __name__ == "__main__":
    main()
