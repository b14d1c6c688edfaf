"""Do forty optimizers train? Of torch, of the extra `optimizers`, and six oddities, 60 steps on quadratic and code_lm.

    python benchmarks/compatibility/forty.py [-o table.txt] [--jobs 2]

One learning rate each for both tasks, or two: not tuned, but near what its authors use. An optimizer trains where its
run finishes and its evaluation loss ends below its start. Those that cannot run are there for what is said of them.

    pip install '.[optimizers]'
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizers import CONTROL, made
from tabulate import tabulate

from clipbench.records import EVAL_LOSS, Record

STEPS = 60
COMMAND = "python benchmarks/compatibility/forty.py -o results/reference/cpu/forty.txt"
TASKS = {
    "quadratic": "{use: quadratic, dimension: 32, noise: 0.1}",
    "code_lm": "{use: code_lm, width: 16, layers: 1, heads: 2, context: 16, batch: 4}",
}
TAIL = f"budget: {{steps: {STEPS}}}\nseeds: [0]\nevaluate: {{every: 20}}\nmeasure: {{every: 20}}\ndevice: cpu\n"
ODDITIES = Path(__file__).with_name("oddities.py")

# RATE stands for the learning rate: that of quadratic, and that of code_lm.
ARMS: dict[str, tuple[str, float, float]] = {
    **{
        name: (f'use: "torch.optim:{name}", lr: RATE', *rates)
        for name, rates in {
            "Adam": (0.03, 0.003),
            "AdamW": (0.03, 0.003),
            "Adadelta": (1.0, 1.0),
            "Adafactor": (0.03, 0.03),
            "Adagrad": (0.1, 0.03),
            "Adamax": (0.03, 0.003),
            "ASGD": (0.01, 0.1),
            "LBFGS": (0.1, 0.1),
            "NAdam": (0.03, 0.003),
            "RAdam": (0.03, 0.003),
            "RMSprop": (0.01, 0.001),
            "Rprop": (0.01, 0.001),
            "SGD": (0.01, 0.1),
            "SparseAdam": (0.01, 0.01),
        }.items()
    },
    **{
        name: (f'use: "pytorch_optimizer:{name}", lr: RATE', *rates)
        for name, rates in {
            "AdaBelief": (0.03, 0.003),
            "Adan": (0.03, 0.003),
            "DAdaptAdam": (1.0, 1.0),
            "AdEMAMix": (0.03, 0.003),
            "Lamb": (0.03, 0.003),
            "Lion": (0.01, 0.001),
            "LOMO": (0.01, 0.1),
            "MADGRAD": (0.03, 0.01),
            "Prodigy": (1.0, 1.0),
            "ScalableShampoo": (0.01, 0.003),
            "SOAP": (0.03, 0.003),
            "StableAdamW": (0.03, 0.003),
        }.items()
    },
    "AdaHessian": ('use: "pytorch_optimizer:AdaHessian", lr: RATE, create_graph: true', 0.1, 0.1),
    "SophiaH": ('use: "pytorch_optimizer:SophiaH", lr: RATE, create_graph: true', 0.03, 0.01),
    "Ranger21": (f'use: "pytorch_optimizer:Ranger21", lr: RATE, num_iterations: {STEPS}', 0.03, 0.003),
    "Lookahead": ('use: sgd, lr: RATE, wrap: [{use: "pytorch_optimizer:Lookahead", k: 5}]', 0.01, 0.1),
    "SAM": ("use: sgd, lr: RATE, wrap: [{use: sam, rho: 0.05}]", 0.01, 0.1),
    "AdamWScheduleFree": ('use: "schedulefree:AdamWScheduleFree", lr: RATE', 0.1, 0.01),
    "SGDScheduleFree": ('use: "schedulefree:SGDScheduleFree", lr: RATE', 0.02, 0.3),
    "RAdamScheduleFreeClosure": ('use: "schedulefree:RAdamScheduleFreeClosure", lr: RATE', 0.1, 0.01),
    **{
        name: (f'use: "oddities:{name}", lr: RATE', *rates)
        for name, rates in {
            "Silent": (0.01, 0.1),
            "Hoarder": (0.001, 0.01),
            "EverySecond": (0.01, 0.1),
            "GroupEach": (0.01, 0.1),
            "HalfState": (0.001, 0.01),
            "TwoStates": (0.01, 0.1),
        }.items()
    },
}


@dataclass(frozen=True)
class Training:
    """What an arm came to on a task: its evaluation loss at step 0 and at the end, or why it did not run."""

    arm: str
    rate: float
    first: float = 0.0
    last: float = 0.0
    reason: str = ""

    @property
    def trains(self) -> bool:
        return not self.reason and self.last < self.first

    @property
    def shown(self) -> str:
        if self.reason:
            return "does not run"
        return f"{self.first:.4g} to {self.last:.4g}"


def trained(task: str, *, jobs: int) -> list[Training]:
    """What becomes of all arms on a task."""
    place = list(TASKS).index(task)
    arms = {name: (text, rates[place]) for name, (text, *rates) in ARMS.items()}
    lines = {name: f"  {name}: {{{text.replace('RATE', str(rate))}}}\n" for name, (text, rate) in arms.items()}
    head = f"# Do forty optimizers train?\ntask: {TASKS[task]}\noptimizers:\n  {CONTROL}: {{use: sgd, lr: 0.001}}\n"
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(ODDITIES, scratch)
        records, sentences = made(lines, Path(scratch), head=head, tail=TAIL, jobs=jobs)
    return [_training(name, rate, records.get(name), sentences.get(name, "")) for name, (_, rate) in arms.items()]


def _training(arm: str, rate: float, record: Record | None, sentence: str) -> Training:
    outcome = record.outcome if record else None
    if record is None or outcome is None or outcome.status != "finished":
        return Training(arm, rate, reason=sentence or (outcome.reason if outcome else "it has no outcome"))
    losses = [row.value for row in record.measurements if row.quantity == EVAL_LOSS]
    return Training(arm, rate, losses[0], losses[-1])


def table(found: Mapping[str, Sequence[Training]]) -> str:
    """A row an arm: how it is written, its rates and losses; below it, how many train, and why the others do not."""
    rows = [
        (of_tasks[0].arm, ARMS[of_tasks[0].arm][0], *(cell for each in of_tasks for cell in (each.rate, each.shown)))
        for of_tasks in zip(*found.values(), strict=True)
    ]
    headers = ("arm", "as written", *(word for task in found for word in ("lr", f"loss on {task}")))
    lines = [tabulate(rows, headers=headers, tablefmt="plain", disable_numparse=True), ""]
    for task, of_task in found.items():
        lines.append(f"{task}: {sum(each.trains for each in of_task)} of {len(of_task)} train")
        lines += [f"  {each.arm}: {each.reason or 'its loss does not fall'}" for each in of_task if not each.trains]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="where the table goes")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    text = table({task: trained(task, jobs=options.jobs) for task in TASKS})
    if options.output:
        options.output.write_text(f"{COMMAND}\n\n{text}\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
