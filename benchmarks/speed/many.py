"""What thousands of runs cost the command that makes them: planning, finding all done, and supervising.

    python benchmarks/speed/many.py [--runs 10000] [--slots 1000]

- `plan` of so many runs, none of them there, and `run` with all of them done: processor seconds of the command.
- Supervising: so many runs of no length, on an engine of so many slots that makes up their ends. The processor
  seconds of a poll (all workers looked after once), the files looked at in a second, and the memory at the beginning
  and at the end.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from tabulate import tabulate

from clipbench import store
from clipbench.errors import DONE
from clipbench.planning.runs import plan
from clipbench.records import Outcome, Run
from clipbench.running import supervisor
from clipbench.running.engines import Answer, Asked, Handle
from clipbench.spec import load

SPEC = """
task: {{use: quadratic, dimension: 16}}
optimizers:
  sgd: {{use: sgd, lr: [{rates}]}}
  adam: {{use: adam, lr: [{rates}]}}
budget: {{steps: 10}}
seeds: [{seeds}]
measure: {{probes: []}}
"""
FINISHED = Outcome("finished", steps=10, wall_seconds=0.2)


class NoEngine:
    """Each run is at work for `polls` polls, and its record is there at the end."""

    def __init__(self, slots: int, polls: int) -> None:
        self.slots, self.polls = slots, polls
        self.about = f"{slots} at a time"
        self.left: dict[Handle, int] = {}
        self.number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def capacity(self) -> int:
        return self.slots - len(self.left)

    def submit(self, folder: Path) -> Handle:
        self.number += 1
        handle = Handle(self.number, folder)
        self.left[handle] = self.polls
        store.write_heartbeat(folder, progress=0.5, step=5, loss=1.0)
        return handle

    def begun(self, handle: Handle) -> bool:  # noqa: ARG002
        return True

    def poll(self, handle: Handle) -> int | None:
        self.left[handle] -= 1
        if self.left[handle] > 0:
            return None
        del self.left[handle]
        store.finish(handle.folder, FINISHED, None)
        return DONE

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def cancel(self, handle: Handle, *, kill: bool) -> None: ...

    def call(self, function: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return function(*args, **kwargs)


class Counting:
    """A watcher that counts the looks at runs, and takes the memory when half of the runs have ended."""

    def __init__(self, runs: int) -> None:
        self.looks, self.ended, self.half, self.memory_at_half = 0, 0, runs // 2, 0

    def started(self, run: Run) -> None: ...
    def heartbeat(self) -> None: ...
    def log(self, text: str) -> None: ...

    def advanced(self, run: Run, progress: float, text: str) -> None:  # noqa: ARG002
        self.looks += 1

    def finished(self, run: Run, outcome: Outcome) -> None:  # noqa: ARG002
        self.ended += 1
        if self.ended == self.half:
            self.memory_at_half = psutil.Process().memory_info().rss


def command(*words: str, cwd: Path) -> float:
    """Processor seconds of a clipbench command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "clipbench", *words], cwd=cwd, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def idle(slots: int, runs: deque[Run], results: Path, polls: int) -> tuple[float, float]:
    """Processor seconds of a poll, and looks a second, with every slot at work and nothing ending."""
    engine, watcher = NoEngine(slots, 10**9), Counting(2)
    supervision = supervisor._Supervision(results, engine, watcher, supervisor.Policy())
    for run in list(runs)[:slots]:
        supervision._start(supervisor._Waiting(run))
    begin, processor = time.monotonic(), time.process_time()
    for _ in range(polls):
        engine.wait(max(supervisor.POLL_SECONDS, supervisor.LOOK_SECONDS / 10 * slots))
        for job in supervision._jobs:
            supervision._look_after(job)
    return (time.process_time() - processor) / polls, watcher.looks / (time.monotonic() - begin)


def unsynced(fd: object) -> None:
    """No waiting for the disk."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=1_000)
    asked = parser.parse_args()
    os.fsync = unsynced  # of the made-up records; the commands themselves are processes of their own
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rates = ", ".join(str(0.001 * (i + 1)) for i in range(10))
        seeds = ", ".join(map(str, range(asked.runs // 20)))
        (folder / "many.yaml").write_text(SPEC.format(rates=rates, seeds=seeds), encoding="utf-8")
        runs = deque(plan(replace(load(folder / "many.yaml"), device="cpu"), device="cpu"))
        planned = command("plan", "many.yaml", cwd=folder)
        a_poll, looks = idle(asked.slots, runs, folder / "idle", 20)
        engine, watcher = NoEngine(asked.slots, 2), Counting(len(runs))
        begin, processor = time.monotonic(), time.process_time()
        memory = psutil.Process().memory_info().rss
        supervisor.supervise(runs, folder / "results", engine=engine, watcher=watcher)
        wall, processor = time.monotonic() - begin, time.process_time() - processor
        done = command("run", "many.yaml", "--device", "cpu", cwd=folder)
        grown = psutil.Process().memory_info().rss - watcher.memory_at_half
    rows = [
        (f"plan of {len(runs):,} runs", f"{planned:.2f} s of the processor", "3"),
        (f"run with all {len(runs):,} done", f"{done:.2f} s of the processor", "5"),
        (f"a poll of {asked.slots:,} workers", f"{1000 * a_poll:.1f} ms of the processor", ""),
        ("looks at a run's files", f"{looks:.0f} a second", "200"),
        (f"supervising {len(runs):,} runs of 0 s", f"{wall:.1f} s, {1000 * processor / len(runs):.2f} ms each", ""),
        ("memory at the start", f"{memory / 1e6:.0f} MB", ""),
        ("memory added in the second half", f"{grown / 1e6:.1f} MB", "flat"),
    ]
    print(f"machine load {os.getloadavg()[0]:.1f}")  # noqa: T201
    print(tabulate(rows, headers=("what", "measured", "target")))  # noqa: T201


if __name__ == "__main__":
    main()
