"""Which optimizers run? Each of torch.optim's, pytorch_optimizer's and schedulefree's, 12 steps of code_lm.

    python benchmarks/compatibility/optimizers.py [-o table.txt] [--only Adam] [--jobs 2]

Each is an arm by its name first, with lr 0.001 where it takes one, seed 0. Where that does not run, it is written anew
as clipbench's own sentence says: with `create_graph: true`, with an option that it needs, in a group for matrices,
under `wrap`, or by a factory of factories.py. An optimizer took part where all steps were taken without a failure; the
table has the sentence that came first. Packages that are not installed are left out, and that is said.

    pip install '.[optimizers]'
"""

import argparse
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from tabulate import tabulate

from clipbench import spec, store
from clipbench.errors import SpecError
from clipbench.records import LIFE, RESUME, Record

PACKAGES = {"torch.optim": "torch", "pytorch_optimizer": "pytorch_optimizer", "schedulefree": "schedulefree"}
STEPS, RATE = 12, 0.001
CONTROL = "control"  # an arm that runs: without one, nothing would
HEAD = f"""\
# Which optimizers run by name?
task: {{use: code_lm, width: 16, layers: 1, heads: 2, context: 16, batch: 4}}
optimizers:
  {CONTROL}: {{use: sgd, lr: {RATE}}}
"""
TAIL = f"""\
budget: {{steps: {STEPS}}}
seeds: [0]
evaluate: {{every: 6}}
measure: {{every: 6}}
device: cpu
"""
FACTORIES = Path(__file__).with_name("factories.py")
NEEDED = {"num_data": "64", "num_iterations": str(STEPS)}  # options without a default
MOST_WAYS = 4  # of writing an optimizer, one after the other
BY_NAME = "by name"
COMMAND = "python benchmarks/compatibility/optimizers.py -o results/reference/cpu/optimizers.txt"


@dataclass(frozen=True)
class Candidate:
    """An optimizer, and how it is written: its options, what stands around it, and what that is called."""

    use: str
    options: Mapping[str, str]
    way: str = BY_NAME
    reason: str = ""  # why it did not run by its name

    @property
    def line(self) -> str:
        """The arm, on a line of its own."""
        written = ", ".join(f"{name}: {value}" for name, value in self.options.items())
        one = f'{{use: "{self.use}"{f", {written}" if written else ""}}}'
        if self.way == "group":
            one = f"{{groups: {{hidden: {{kind: matrix, {one[1:-1]}}}, rest: {{use: adamw, lr: {RATE}}}}}}}"
        elif self.way == "wrap":
            one = f"{{use: adamw, lr: {RATE}, wrap: [{one}]}}"
        elif self.way == "factory":
            one = f'{{use: "mine:{self.name}", lr: {RATE}}}'
        return f'  "{self.use}": {one}\n'

    @property
    def name(self) -> str:
        return self.use.partition(":")[2]


@dataclass(frozen=True)
class Fate:
    """What became of an optimizer: its steps, why it has not taken all of them (empty if it has), its remarks."""

    use: str
    steps: int
    reason: str
    remarks: tuple[tuple[str, str], ...] = ()
    way: str = BY_NAME
    first_reason: str = ""

    @property
    def whole(self) -> bool:
        return not self.reason

    @property
    def how(self) -> str:
        """How it runs, or how it was written last."""
        if self.whole:
            return self.way
        return "no" if self.way == BY_NAME else f"no, {self.way}"


def optimizers(package: str) -> Iterator[Candidate]:
    """The public optimizers of a package, with an `lr` where they take one; nothing where it is not installed."""
    try:
        names = vars(importlib.import_module(package))
    except ModuleNotFoundError:
        return
    for name, thing in sorted(names.items()):
        if not name.startswith("_") and _is_optimizer(thing):
            rate = inspect.signature(thing).parameters.get("lr")
            rated = rate is not None and rate.default is not None
            yield Candidate(f"{package}:{name}", {"lr": str(RATE)} if rated else {})


def _is_optimizer(thing: object) -> bool:
    base = torch.optim.Optimizer
    return isinstance(thing, type) and issubclass(thing, base) and thing is not base and not inspect.isabstract(thing)


def rewritten(candidate: Candidate, sentence: str) -> Candidate | None:
    """The optimizer as clipbench says to write it; None where that says nothing new."""
    options, way = dict(candidate.options), candidate.way
    if "set `create_graph: true`" in sentence:
        options["create_graph"], way = "true", "create_graph"
    elif needed := re.search(r"needs the option '(\w+)'", sentence):
        if needed[1] not in NEEDED:
            return None
        options[needed[1]], way = NEEDED[needed[1]], "option"
    elif "write it under `wrap`" in sentence:
        options, way = {name: value for name, value in options.items() if name != "lr"}, "wrap"
    elif "give it a group" in sentence:
        way = "group"
    elif "write a factory" in sentence and candidate.name in _factories():
        way = "factory"
    if (options, way) == (candidate.options, candidate.way):
        return None
    return replace(candidate, options=options, way=way, reason=candidate.reason or sentence)


def _factories() -> set[str]:
    """The optimizers that factories.py has, read as text: the package may be missing."""
    return set(re.findall(r'"([A-Z]\w+)"\)', FACTORIES.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="where the whole table goes")
    parser.add_argument("--only", default="", help="a regular expression that their names have")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    arms = [each for package in PACKAGES for each in optimizers(package) if re.search(options.only, each.use)]
    if not arms:
        parser.error(f"no optimizer's name has {options.only!r}")
    found = tried(arms, jobs=options.jobs)
    if options.output:
        text = "\n".join([COMMAND, "", table(found), "", summary(found)])
        options.output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(summary(found) + "\n")


def tried(arms: Sequence[Candidate], *, jobs: int) -> list[Fate]:
    """The fate of each, written in as many ways as clipbench's sentences lead to."""
    fates: dict[str, Fate] = {}
    left = list(arms)
    for _ in range(MOST_WAYS):
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(FACTORIES, Path(scratch, "mine.py"))
            fates |= {fate.use: fate for fate in once(left, Path(scratch), jobs=jobs)}
        anew = (rewritten(each, fates[each.use].reason) for each in left if not fates[each.use].whole)
        left = [each for each in anew if each is not None]
        if not left:
            break
    return [fates[each.use] for each in arms]


def once(arms: Sequence[Candidate], folder: Path, *, jobs: int) -> Iterator[Fate]:
    """The fates of arms as they are written: told by the spec, by the first steps, or by the runs."""
    records, sentences = made({each.use: each.line for each in arms}, folder, head=HEAD, tail=TAIL, jobs=jobs)
    for each in arms:
        yield fate(each, records.get(each.use), sentences.get(each.use, ""))


def made(
    arms: Mapping[str, str], folder: Path, *, head: str, tail: str, jobs: int
) -> tuple[dict[str, Record], dict[str, str]]:
    """The records of arms, a line of a spec each, and what clipbench says of those that cannot run.

    Args:
        arms: the lines by the names of the arms.
        folder: where the spec goes, and its results.
        head: what stands before the arms; one of its own runs, for where none does, nothing is run.
        tail: what stands after them.
        jobs: as for `clipbench run`.
    """
    path, results = folder / "by_name.yaml", folder / "results"
    sentences = refused(arms, path, head, tail)
    if len(sentences) < len(arms):
        sentences |= _run(path, results, jobs=jobs)
    records, errors = store.read_all(results)
    if errors:
        raise SystemExit("\n".join(map(str, errors)))
    return {record.run.arm.name: record for record in records}, sentences


def refused(arms: Mapping[str, str], path: Path, head: str, tail: str) -> dict[str, str]:
    """Write the spec of all arms that a spec can have; what it says of the others."""
    sentences: dict[str, str] = {}
    left = dict(arms)
    while left:
        path.write_text(head + "".join(left.values()) + tail, encoding="utf-8")
        try:
            spec.load(path)
        except SpecError as error:
            names, first = list(left), head.count("\n") + 1
            faults = {names[fault.line - first]: fault.message for fault in reversed(error.faults)}
            sentences |= {name: _one_line(message) for name, message in faults.items()}
            left = {name: line for name, line in left.items() if name not in faults}
        else:
            break
    return sentences


def fate(candidate: Candidate, record: Record | None, sentence: str) -> Fate:
    """What became of an optimizer, by its run and by what was said before it."""
    outcome = record.outcome if record else None
    if outcome is None:
        return Fate(candidate.use, 0, sentence or "it has no outcome", (), candidate.way, candidate.reason)
    remarks = tuple((who, text) for who in (LIFE, RESUME) for text in outcome.remarks.get(who, ()))
    steps = outcome.steps
    whole = outcome.status != "failed" and steps == STEPS and not _still(remarks)
    reason = "" if whole else sentence or _still(remarks) or _one_line(outcome.reason) or outcome.status
    return Fate(candidate.use, steps, reason, remarks, candidate.way, candidate.reason)


def _still(remarks: Sequence[tuple[str, str]]) -> str:
    """What the check of life says of an optimizer whose weights stand still in the last steps; empty for others."""
    life = [text for who, text in remarks if who == LIFE]
    return "; ".join(life) if any(text.endswith(f"and {STEPS}") for text in life) else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _run(path: Path, results: Path, *, jobs: int) -> dict[str, str]:
    """`clipbench run`, whose runs may fail: that is a result. What it says of arms that fail at their first steps."""
    command = [sys.executable, "-m", "clipbench", "run", str(path), "-o", str(results), "--jobs", str(jobs)]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        raise SystemExit(f"clipbench run ended with exit code {done.returncode}\n{done.stderr}")
    said = re.findall(r"^\w+/([\w.:]*\w): (.*) \(1 run counts as failed\)$", done.stderr, re.MULTILINE)
    return {use: _one_line(sentence) for use, sentence in said}


def table(found: Sequence[Fate]) -> str:
    """A row each: how it runs, and what was said where it was written by its name; else why it does not."""
    rows = [(f.use, f.steps, f.how, f.reason or f.first_reason, "; ".join(map(": ".join, f.remarks))) for f in found]
    return tabulate(
        rows, headers=("optimizer", "steps", "runs", "why not by name, or at all", "remarks"), tablefmt="plain"
    )


def summary(found: Sequence[Fate]) -> str:
    """How many of each package took all their steps, why the others did not, and how many have which remarks."""
    lines = []
    for package, distribution in PACKAGES.items():
        of = [fate for fate in found if fate.use.startswith(f"{package}:")]
        if of:
            whole = [fate for fate in of if fate.whole]
            ways = ", ".join(f"{number} {way}" for way, number in Counter(fate.way for fate in whole).items())
            lines.append(
                f"{package} ({distribution} {version(distribution)}): {len(whole)} of {len(of)} took all {STEPS} steps"
                f" ({ways})"
            )
        elif not list(optimizers(package)):
            lines.append(f"{package}: not installed")
    lines += ["", *(f"{fate.use}: {fate.reason}" for fate in found if not fate.whole)]
    said = Counter(who for fate in found for who in {who for who, _ in fate.remarks})
    lines += ["", *(f"with a remark of {who}: {said[who]}" for who in (LIFE, RESUME))]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
