"""Does an interrupted run end as one that ran through? Interruptions at random steps of runs drawn at random.

    python benchmarks/compatibility/resumes.py [--count 100] [--seed 0] [--kinds sound]

Three of four are sound: a small shelf task and an optimizer of the shelf or torch's, with a clip or not, with ghosts or
not. The rest are lossy: a task or optimizer of lossy.py, whose state no state_dict holds. Final weights and every
measurement but times are compared. Exit code 1 where a run ended elsewhere and did not say so.
"""

import argparse
import contextlib
import io
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tabulate import tabulate

from clipbench import store
from clipbench.budget import Budget
from clipbench.errors import STOPPED
from clipbench.records import RESUME, Arm, Choice, ClipPlace, ClipSettings, Measure, Record, Run
from clipbench.running.worker import work

Word = Literal["equal", "starts again and says so", "differs and says so", "failed", "WRONG"]
Kinds = Literal["sound", "lossy"]
STEPS, EVERY = 12, 5

TASKS: dict[str, dict[str, Any]] = {
    "clipbench.tasks.code_lm:build": {"width": 8, "layers": 1, "heads": 2, "context": 8, "batch": 2},
    "clipbench.tasks.digits:build": {"model": "vit", "batch": 4},
    "clipbench.tasks.heavy_tail:build": {"groups": 3, "features": 10, "batch": 4},
    "clipbench.tasks.number_translation:build": {"width": 8, "layers": 1, "heads": 2, "batch": 2},
    "clipbench.tasks.quadratic:build": {"dimension": 20, "noise": 0.1},
}
OPTIMIZERS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((f"clipbench.optimizers.{name}:build", {}) for name in ("adafactor", "adam", "adamw", "lion")),
    *((f"clipbench.optimizers.{name}:build", {}) for name in ("normalized_sgd", "sgd", "signsgd")),
    *((f"torch.optim:{name}", {}) for name in ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax")),
    *((f"torch.optim:{name}", {}) for name in ("NAdam", "RAdam", "RMSprop", "Rprop", "SGD")),
    ("torch.optim:Adam", {"amsgrad": True, "fused": True}),
    ("torch.optim:RMSprop", {"momentum": 0.9, "centered": True}),
    ("torch.optim:SGD", {"momentum": 0.9, "nesterov": True}),
)
BY_SIGN = ("clipbench.optimizers.lion:build", "clipbench.optimizers.signsgd:build", "torch.optim:Rprop")
NUMERATOR = ("clipbench.optimizers.adam:build", "clipbench.optimizers.adamw:build", "torch.optim:Adam")
LOSSY_TASKS = ("buffer", "attribute", "python", "numpy", "generator")
LOSSY_OPTIMIZERS = ("HalfMomentum", "DoubleMomentum", "Counter", "Delayed", "Drawing", "NumpyDrawing")


@dataclass(frozen=True)
class Interruption:
    """A run, before which of its steps it is stopped, and what is lossy about it; nothing where it is sound."""

    run: Run
    at: int
    lossy: str = ""

    def __str__(self) -> str:
        arm, task = self.run.arm, self.run.task
        clip = f" clip {arm.clip.amount:g} of {arm.clip.of}" if arm.clip else ""
        ghosts = f", {len(self.run.measure.ghosts)} ghosts" if self.run.measure.ghosts else ""
        lossy = f" ({self.lossy})" if self.lossy else ""
        return f"{task.target} {arm.optimizer.target}{clip}{ghosts}{lossy}, stopped before step {self.at}"


def choice(target: str, options: dict[str, Any]) -> Choice:
    return Choice(target.replace(":", "."), target, target, options)


def drawn(seed: int, kinds: Kinds | None) -> Interruption:
    """One interruption, decided by its seed."""
    draw = random.Random(seed)
    lossy = draw.random() < 0.25 if kinds is None else kinds == "lossy"
    made = _lossy(draw) if lossy else _sound(draw)
    probes = tuple(choice(f"clipbench.probes.{name}:measure", {}) for name in ("norms", "sharpness"))
    ghosts = (*made.run.measure.ghosts, *(_ghosts() if draw.random() < 0.4 else ()))
    measure = Measure(draw.randint(1, EVERY), draw.randint(2, EVERY), probes, ghosts=ghosts)
    return replace(made, run=replace(made.run, measure=measure, seed=draw.randrange(100)))


def _sound(draw: random.Random) -> Interruption:
    target, options = draw.choice(OPTIMIZERS)
    places: list[ClipPlace] = ["gradient", "update", "numerator"] if target in NUMERATOR else ["gradient", "update"]
    clipped = target not in BY_SIGN and draw.random() < 0.5  # a sign is hardly changed by a clip
    clip = ClipSettings(draw.choice((0.1, 0.5)), of=draw.choice(places)) if clipped else None
    arm = Arm("arm", choice(target, {"lr": 0.01} | options), clip)
    return _stopped(draw, draw.choice(list(TASKS.items())), arm)


def _lossy(draw: random.Random) -> Interruption:
    if draw.random() < 0.4:
        where = draw.choice(LOSSY_TASKS)
        arm = Arm("arm", choice("torch.optim:Adam", {"lr": 0.01}))
        return replace(_stopped(draw, ("lossy:task", {"where": where}), arm), lossy=f"task: {where}")
    name = draw.choice(LOSSY_OPTIMIZERS)
    task, arm = draw.choice(list(TASKS.items())), Arm("lossy", choice(f"lossy:{name}", {"lr": 0.01}))
    if draw.random() < 0.7:
        return replace(_stopped(draw, task, arm), lossy=f"optimizer: {name}")
    made = _stopped(draw, task, Arm("arm", choice("torch.optim:Adam", {"lr": 0.01})))
    haunted = replace(made.run, measure=replace(made.run.measure, ghosts=(arm,)))
    return replace(made, run=haunted, lossy=f"ghost: {name}")


def _stopped(draw: random.Random, task: tuple[str, dict[str, Any]], arm: Arm) -> Interruption:
    run = Run("resumes", choice(*task), arm, Budget(STEPS, "steps"), 0, Measure(EVERY, EVERY))
    return Interruption(run, draw.randrange(1, STEPS))


def _ghosts() -> Iterator[Arm]:
    adam, sgd = "clipbench.optimizers.adam:build", "clipbench.optimizers.sgd:build"
    yield Arm("adam", choice(adam, {"lr": 0.01}), ClipSettings(0.5, of="numerator"))
    yield Arm("sgd", choice(sgd, {"lr": 0.1, "momentum": 0.9}), ClipSettings(0.5))


def through(run: Run, results: Path) -> Record:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    return store.read(folder)


def resumed(run: Run, results: Path, *, at: int) -> Record:
    """Stop the run before a step, and go on with it as a second process would: from its folder alone."""
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    calls = iter(range(10**6))
    if work(folder, device="cpu", side_by_side=1, stop=lambda: next(calls) == at) != STOPPED:
        return store.read(folder)  # it failed before
    return through(run, results)


def verdict(whole: Record, again: Record) -> Word:
    """What an interruption did: whether the two runs are equal, and whether the second says that it was not able to."""
    if whole.outcome is None or again.outcome is None:
        return "WRONG"
    if "failed" in (whole.outcome.status, again.outcome.status):
        return "failed"
    said = RESUME in again.outcome.remarks
    if _numbers(whole) == _numbers(again):
        return "starts again and says so" if said else "equal"
    return "differs and says so" if said else "WRONG"


def _numbers(record: Record) -> tuple[str, str, list[tuple[int, str, str, str]]]:
    assert record.outcome is not None
    rows = [(row.step, row.direction, row.quantity, repr(row.value)) for row in record.measurements]
    return record.outcome.status, record.outcome.weights_sha256, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", choices=("sound", "lossy"), help="only these; both unless given")
    options = parser.parse_args()
    counts: dict[str, Counter[Word]] = {}
    told: list[str] = []
    for number in range(options.count):
        one = drawn(1_000_000 * options.seed + number, options.kinds)
        word, reason = tried(one)
        counts.setdefault(one.lossy or "sound", Counter())[word] += 1
        if word in ("WRONG", "failed"):
            told.append(f"{word}: {one}{reason}")
    words: tuple[Word, ...] = ("equal", "starts again and says so", "differs and says so", "failed", "WRONG")
    rows = [(kind, *(counts[kind][word] for word in words)) for kind in sorted(counts)]
    total = ("all", *(sum(count[word] for count in counts.values()) for word in words))
    sys.stdout.write(f"{options.count} interruptions, seed {options.seed}\n\n")
    sys.stdout.write("\n".join([tabulate([*rows, total], headers=("kind", *words)), "", *told, ""]))
    raise SystemExit(1 if total[-1] else 0)


def tried(one: Interruption) -> tuple[Word, str]:
    """The word for an interruption, and the reason of a run that failed; what the runs themselves print is dropped."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        whole = through(one.run, Path(scratch, "whole"))
        again = resumed(one.run, Path(scratch, "again"), at=one.at)
        reasons = [each.outcome.reason for each in (whole, again) if each.outcome and each.outcome.status == "failed"]
        return verdict(whole, again), f": {' '.join(reasons[0].split())}" if reasons else ""


if __name__ == "__main__":
    main()
