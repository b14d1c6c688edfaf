"""Which optimizers run by name? Each of torch.optim's, pytorch_optimizer's and schedulefree's, 12 steps of code_lm.

    python benchmarks/compatibility/optimizers.py [-o table.txt] [--only Adam] [--jobs 2]

An arm each, as a user would write it first: the class by its name, lr 0.001 where it takes one, seed 0. What the spec
refuses is told by the spec's own sentence; the rest goes through `clipbench run`. Optimizers took part where all steps
were taken without a failure. Packages that are not installed are left out, and that is said.

    pip install --no-deps pytorch_optimizer schedulefree
"""

import argparse
import importlib
import inspect
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from tabulate import tabulate

from clipbench import spec, store
from clipbench.errors import SpecError
from clipbench.records import LIFE, RESUME, Record

PACKAGES = {"torch.optim": "torch", "pytorch_optimizer": "pytorch_optimizer", "schedulefree": "schedulefree"}
STEPS, RATE = 12, 0.001
HEAD = """\
# Which optimizers run by name?
task: {use: code_lm, width: 16, layers: 1, heads: 2, context: 16, batch: 4}
optimizers:
"""
TAIL = f"""\
budget: {{steps: {STEPS}}}
seeds: [0]
evaluate: {{every: 6}}
measure: {{every: 6}}
device: cpu
"""


@dataclass(frozen=True)
class Fate:
    """What became of an optimizer: its steps, why it has not taken all of them (empty if it has), its remarks."""

    use: str
    steps: int
    reason: str
    remarks: tuple[tuple[str, str], ...] = ()

    @property
    def whole(self) -> bool:
        return not self.reason


def optimizers(package: str) -> Iterator[tuple[str, bool]]:
    """The public optimizers of a package by name, and whether they take an `lr`; nothing where it is not installed."""
    try:
        names = vars(importlib.import_module(package))
    except ModuleNotFoundError:
        return
    for name, thing in sorted(names.items()):
        if not name.startswith("_") and _is_optimizer(thing):
            yield f"{package}:{name}", "lr" in inspect.signature(thing).parameters


def _is_optimizer(thing: object) -> bool:
    base = torch.optim.Optimizer
    return isinstance(thing, type) and issubclass(thing, base) and thing is not base and not inspect.isabstract(thing)


def arm(use: str, *, rated: bool) -> str:
    return f'  "{use}": {{use: "{use}"{f", lr: {RATE}" if rated else ""}}}\n'


def written(arms: Sequence[tuple[str, bool]], path: Path) -> list[Fate]:
    """Write the spec of all arms that a spec can have, an arm a line; the fates of those that it refuses."""
    refused: list[Fate] = []
    left = list(arms)
    while left:
        path.write_text(HEAD + "".join(arm(use, rated=rated) for use, rated in left) + TAIL, encoding="utf-8")
        try:
            spec.load(path)
        except SpecError as error:
            first = HEAD.count("\n") + 1
            faults = {fault.line - first: fault.message for fault in reversed(error.faults)}
            refused += [Fate(left[number][0], 0, _one_line(message)) for number, message in sorted(faults.items())]
            left = [each for number, each in enumerate(left) if number not in faults]
        else:
            break
    return refused


def fates(records: Sequence[Record]) -> Iterator[Fate]:
    for record in records:
        outcome = record.outcome
        if outcome is None:
            yield Fate(record.run.arm.name, 0, "it has no outcome")
            continue
        remarks = tuple((who, text) for who in (LIFE, RESUME) for text in outcome.remarks.get(who, ()))
        whole = outcome.status != "failed" and outcome.steps == STEPS
        reason = "" if whole else _one_line(outcome.reason) or outcome.status
        yield Fate(record.run.arm.name, outcome.steps, reason, remarks)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="where the whole table goes")
    parser.add_argument("--only", default="", help="a regular expression that their names have")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    arms = [each for package in PACKAGES for each in optimizers(package) if re.search(options.only, each[0])]
    if not arms:
        parser.error(f"no optimizer's name has {options.only!r}")
    with tempfile.TemporaryDirectory() as scratch:
        path, results = Path(scratch, "by_name.yaml"), Path(scratch, "results")
        found = written(arms, path)
        if len(found) < len(arms):
            _run(path, results, jobs=options.jobs)
            records, errors = store.read_all(results)
            if errors:
                raise SystemExit("\n".join(map(str, errors)))
            found += fates(records)
    order = {use: number for number, (use, _) in enumerate(arms)}
    found.sort(key=lambda fate: order[fate.use])
    if options.output:
        options.output.write_text(table(found) + "\n", encoding="utf-8")
    sys.stdout.write(summary(found) + "\n")


def _run(path: Path, results: Path, *, jobs: int) -> None:
    """`clipbench run`, whose runs may fail: that is a result."""
    command = [sys.executable, "-m", "clipbench", "run", str(path), "-o", str(results), "--jobs", str(jobs)]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        raise SystemExit(f"clipbench run ended with exit code {done.returncode}\n{done.stderr}")


def table(found: Sequence[Fate]) -> str:
    rows = [
        (f.use, f.steps, "yes" if f.whole else "no", f.reason, "; ".join(": ".join(r) for r in f.remarks))
        for f in found
    ]
    return tabulate(rows, headers=("optimizer", "steps", "whole", "why not", "remarks"), tablefmt="plain")


def summary(found: Sequence[Fate]) -> str:
    """How many of each package took all their steps, why the others did not, and how many have which remarks."""
    lines = []
    for package, distribution in PACKAGES.items():
        of = [fate for fate in found if fate.use.startswith(f"{package}:")]
        if of:
            whole = sum(fate.whole for fate in of)
            lines.append(
                f"{package} ({distribution} {version(distribution)}): {whole} of {len(of)} took all {STEPS} steps"
            )
        elif not list(optimizers(package)):
            lines.append(f"{package}: not installed")
    lines += ["", *(f"{fate.use}: {fate.reason}" for fate in found if not fate.whole)]
    said = Counter(who for fate in found for who in {who for who, _ in fate.remarks})
    lines += ["", *(f"with a remark of {who}: {said[who]}" for who in (LIFE, RESUME))]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
