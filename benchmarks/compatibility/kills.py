"""Does `clipbench run` lose, leave behind or misstate anything when it is killed? Kills at random points.

    python benchmarks/compatibility/kills.py [--count 100] [--seed 0]

The command, its server, a worker or the whole group is sent SIGTERM, SIGKILL, SIGINT or SIGHUP at a random time; then
the same command is started again at once, until it is done. Its final weights are compared with those of a run that
nobody disturbed, its words with what lies on the disk, and every process of its session must have gone. Exit code 1
where anything is wrong.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import psutil
from tabulate import tabulate

from clipbench import store

Victim = Literal["command", "server", "worker", "group"]
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP)
PATIENCE = 60.0  # seconds until a process that is still there is called left behind
SPEC = """
task: {use: quadratic, dimension: 8}
optimizers:
  sgd: {use: sgd, lr: 0.00001, momentum: 0.9}
  adam: {use: adam, lr: 0.00001}
budget: {steps: 4000}
seeds: [0]
evaluate: {every: 500}
measure: {every: 500}
device: cpu
"""


def command(here: Path, results: str, *, said: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """The command at work in a session of its own."""
    words = [str(Path(sys.executable).with_name("clipbench")), "run", "kills.yaml", "-o", results]
    return subprocess.Popen(words, cwd=here, stdout=subprocess.DEVNULL, stderr=said, text=True, start_new_session=True)


def hashes(results: Path) -> dict[str, str]:
    records, errors = store.read_all(results)
    assert not errors, errors
    return {str(each.run): each.outcome.weights_sha256 for each in records if each.outcome}


def of_session(session: int) -> list[psutil.Process]:
    """The processes of a session that are not only waiting to be forgotten."""
    there = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                there.append(process)
    return there


def victims(session: int, victim: Victim) -> list[int]:
    """The processes to be killed; none where they are not there yet."""
    if victim == "command":
        return [session]
    there = of_session(session)
    if victim == "group":
        return [process.pid for process in there]
    servers = {process.pid for process in there if any("forkserver" in word for word in process.cmdline())}
    with suppress(psutil.NoSuchProcess):
        if victim == "server":
            return [process.pid for process in there if process.pid in servers and process.ppid() == session]
        return [process.pid for process in there if process.pid in servers and process.ppid() != session]
    return []


def send(session: int, victim: Victim, number: signal.Signals) -> bool:
    """Whether anybody was there to be sent it."""
    if victim == "group":
        os.killpg(session, number)
        return True
    pids = victims(session, victim)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(pids)


def untrue(said: str, results: Path) -> Iterator[str]:
    """What an interrupted command said of its unfinished runs and is not so."""
    if "Traceback" in said:
        yield "a traceback"
    folders = [path.parent for path in results.rglob(store.RUN)]
    begun = [folder for folder in folders if store.read_outcome(folder) is None]
    kept = sum((folder / store.CHECKPOINT).exists() for folder in begun)
    for pattern, right in (
        (r"(\d+) unfinished runs? kept", kept),
        (r"(\d+) unfinished runs? starts? again", len(begun) - kept),
    ):
        found = re.search(pattern, said)
        if "interrupted" in said and int(found[1] if found else 0) != right:
            yield f"it said {found[0] if found else 'nothing'!r}, and there are {right}"


def wrong_after(process: subprocess.Popen[str], said: Path, results: Path) -> tuple[list[str], float]:
    """What is wrong once a command that was hit has ended, and how many seconds its last process outlived it."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return ["the command did not end"], PATIENCE
    ended = time.monotonic()
    wrong = list(untrue(said.read_text(), results))
    if process.returncode not in (0, 4, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT):
        wrong.append(f"exit code {process.returncode}")
    if process.returncode == -signal.SIGKILL:  # nobody can wait for the rest: the next command comes at once
        return wrong, 0.0
    while left := of_session(process.pid):
        if time.monotonic() - ended > PATIENCE:
            return [*wrong, f"left behind: {left}"], PATIENCE
        time.sleep(0.005)
    return wrong, time.monotonic() - ended


def all_gone(sessions: Sequence[int]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while any(of_session(session) for session in sessions):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Kills:
    """Counts kills by their kind, and keeps what was wrong."""

    def __init__(self, here: Path, seed: int) -> None:
        self.here, self.results, self._draw = here, here / "killed", random.Random(seed)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.sessions: list[int] = []
        self.outlived: list[float] = []
        begin = time.monotonic()
        assert command(here, "whole").wait() == 0
        self.duration = time.monotonic() - begin
        self.whole = hashes(here / "whole")

    def until_done(self, at_most: int) -> None:
        """Start the command and hit it, again and again, until it is done; from `at_most` hits on leave it alone."""
        shutil.rmtree(self.results, ignore_errors=True)
        while True:
            hit = self._hit() if self.counts.total() < at_most else None
            if hit is None and command(self.here, "killed").wait() == 0:
                break
            if self.results.exists() and hashes(self.results) == self.whole:
                break
        if hashes(self.results) != self.whole:
            self.wrong.append("the weights are not those of the run that nobody disturbed")

    def _hit(self) -> str | None:
        victim: Victim = self._draw.choice(get_args(Victim))
        number = self._draw.choice(SIGNALS)
        said = self.here / "said.txt"
        with said.open("w") as file:
            process = command(self.here, "killed", said=file.fileno())
            self.sessions.append(process.pid)
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._draw.uniform(0, self.duration))
            if process.poll() is not None or not send(process.pid, victim, number):
                process.wait()
                return "missed"
            wrong, outlived = wrong_after(process, said, self.results)
        self.counts[victim, number.name] += 1
        self.wrong += [f"{victim}, {number.name}: {each}" for each in wrong]
        self.outlived.append(outlived)
        sys.stderr.write(f"{self.counts.total()}: {victim}, {number.name}: {'; '.join(wrong) or 'right'}\n")
        return victim


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kills.yaml").write_text(SPEC)
        kills = Kills(Path(folder), given.seed)
        chains = 0
        while kills.counts.total() < given.count:
            kills.until_done(given.count)
            chains += 1
        if not all_gone(kills.sessions):
            kills.wrong.append("processes of killed commands are left")
    rows = [[name, *(kills.counts[name, number.name] for number in SIGNALS)] for name in get_args(Victim)]
    table = tabulate(rows, headers=["killed", *(number.name for number in SIGNALS)])
    hits, seconds, outlived = kills.counts.total(), kills.duration, max(kills.outlived, default=0.0)
    sys.stdout.write(
        f"{table}\n"
        f"{hits} kills of runs made {chains} times over; undisturbed they take {seconds:.1f} s\n"
        f"the last process outlived a command that was not sent SIGKILL by {outlived:.3f} s at most\n"
    )
    sys.stdout.write("\n".join([*kills.wrong, f"{len(kills.wrong)} things are wrong"]) + "\n")
    return 1 if kills.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
