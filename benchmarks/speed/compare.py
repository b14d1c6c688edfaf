"""How long `clipbench compare` takes over 10,000 runs, and how much memory: one fresh process, as a user starts it.

    python benchmarks/speed/compare.py [--runs 10000] [--rounds 3] [--keep FOLDER]

The runs are made up (no training): 20 tasks × 50 arms × 10 seeds, each with the rows of a quickstart run (21
evaluations, 5 probed steps). They are written by the store's own format, without the fsyncs of real runs. The first
round, which warms the file cache, does not count. Prints the median seconds (CPU and wall) and the peak memory.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from clipbench import store
from clipbench.budget import Budget
from clipbench.questions import Question
from clipbench.records import Arm, Choice, ClipSettings, Environment, Measure, Outcome, Run, Value

ARMS, SEEDS = 50, 10
SECONDS, MEGABYTES = 3.0, 200.0
SPEC = "many"


def runs(count: int) -> Iterator[Run]:
    """Of `count` runs, tasks outermost. The arms are ten optimizers, each at four rates and once clipped."""
    for number in range(count):
        task, rest = divmod(number, ARMS * SEEDS)
        arm, seed = divmod(rest, SEEDS)
        momentum = 0.9 - 0.01 * (arm // 5)
        options: dict[str, Value] = {
            "lr": 0.01 * (1 + arm),
            "momentum": momentum,
            "betas": (0.9, 0.999),
            "weight_decay": 0.0,
        }
        clip = None
        if arm % 5 == 4:
            options["lr"], clip = 0.01 * arm, ClipSettings(0.1)
        yield Run(
            spec=SPEC,
            task=Choice(f"task {task}", "code_lm", "clipbench.tasks.code_lm:build", {"width": 64 + task}, "a" * 64),
            arm=Arm(f"arm {arm}", Choice("sgd", "sgd", "clipbench.optimizers.sgd:build", options, "b" * 64), clip),
            budget=Budget(200.0, "steps"),
            seed=seed,
            measure=Measure(10, 40, (Choice("sharpness", "sharpness", "clipbench.probes.sharpness:measure"),)),
            data="c" * 64,
        )


def write(results: Path, count: int) -> None:
    """The first run goes through the store; the others are its files with their own names, key and numbers."""
    environment = Environment("0", "3.11", "2", "cpu", "a CPU", 1, 1, {"torch": "2"}, {"cpu": "a CPU"}, "n", "m")
    outcome = Outcome("finished", steps=200, samples=1600, train_seconds=2.0, step_seconds=0.01, wall_seconds=3.0)
    model: dict[str, object] = {}
    keys = []
    for run in runs(count):
        folder = store.folder_of(run, results)
        if not model:
            store.describe(run, folder)
            store.finish(folder, outcome, environment)
            model = json.loads((folder / store.RUN).read_bytes())
        folder.mkdir(parents=True, exist_ok=True)
        key = run.key
        ended = asdict(replace(outcome, weights_sha256=key * 5))
        content = model | {"key": key, "run": asdict(run), "outcome": ended}
        rows = measurements(run)
        content["digest"] = store.digest_of(json.dumps(content).encode(), rows.encode())
        (folder / store.RUN).write_text(json.dumps(content, indent=2))
        (folder / store.MEASUREMENTS).write_text(rows)
        keys.append(key)
    arms = tuple(dict.fromkeys(run.arm.name for run in runs(min(count, ARMS * SEEDS))))
    store.write_question(Question(SPEC, "How fast is it?", arms, arms[0], 3.0, tuple(keys)), results)


def measurements(run: Run) -> str:
    generator = random.Random(run.key)
    level = float(run.arm.name.split()[1]) / 50 + generator.gauss(0, 0.05)
    rows = ["step,seconds,direction,quantity,value"]
    for step in range(0, 201, 10):
        seconds = step * 0.01 * generator.uniform(0.9, 1.1)
        rows.append(f"{step},{seconds!r},,eval_loss,{2 + level + 3 / (1 + step / 20)!r}")
        rows.append(f"{step},{seconds!r},,learning_rate,0.003")
        if step:
            rows.append(f"{step},{seconds!r},,train_loss,{generator.uniform(2, 3)!r}")
        if step and step % 40 == 0:
            rows.append(f"{step},{seconds!r},own,directional_sharpness,{generator.lognormvariate(0, 1)!r}")
            rows.append(f"{step},{seconds!r},own,slope,{-generator.random()!r}")
            rows.append(f"{step},{seconds!r},,gradient_norm,{generator.random()!r}")
            rows.append(f"{step},{seconds!r},own,update_norm,{generator.random()!r}")
            if run.arm.clip is not None:
                rows.append(f"{step},{seconds!r},,clipped_fraction,0.1")
    return "\n".join(rows) + "\n"


def timed(folder: Path) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak megabytes of one `clipbench compare`, from the system's own account."""
    command = [sys.executable, "-m", "clipbench", "compare", str(folder)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"compare ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000, help="how many runs")
    parser.add_argument("--rounds", type=int, default=3, help="how many times it is measured")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder, and use them again if they are there")
    options = parser.parse_args(arguments)
    if min(options.runs, options.rounds) < 1:
        parser.error("--runs and --rounds must be at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        results = options.keep or Path(temporary)
        if not (results / SPEC).exists():
            write(results, options.runs)
        rounds = [timed(results / SPEC) for _ in range(options.rounds + 1)][1:]
    cpu, wall, peak = (statistics.median(column) for column in zip(*rounds, strict=True))
    found = len(list((results / SPEC).rglob(store.RUN))) if options.keep else options.runs
    print(f"compare over {found} runs: {cpu:.2f} s CPU, {wall:.2f} s wall, {peak:.0f} MB at its peak")  # noqa: T201
    if found == 10_000:
        met = "met" if wall < SECONDS and peak < MEGABYTES else "NOT MET"
        print(f"target: under {SECONDS:g} s and {MEGABYTES:g} MB: {met}")  # noqa: T201


if __name__ == "__main__":
    main()
