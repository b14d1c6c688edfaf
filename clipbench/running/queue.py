"""SLURM's queue, by its own commands. No accounting is asked: many clusters have none."""

import math
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO

from clipbench.errors import ClipbenchError

PREFIX = "clipbench-"
ANSWER_SECONDS = 30.0  # for a command of SLURM
AT_ONCE = 500  # job ids in one command
# What squeue lists for a while after a job has ended; CG is a job whose processes are being waited for.
ENDED = frozenset({"BF", "CA", "CD", "CG", "DL", "F", "NF", "OOM", "PR", "TO"})
WAITING = frozenset({"PD", "RD", "RF", "RH", "RQ", "SO"})
_LISTING = ("squeue", "--me", "--noheader", "--array", "--format=%i|%t|%j")
_LINE = re.compile(rf"(\d+(?:_(\d+))?)\|([A-Z]+)\|({PREFIX}[0-9a-f]{{12}})")

Place = tuple[str, int]  # the name of an array of jobs, and a job's index in it


@dataclass(frozen=True)
class Queued:
    """A job in the queue: its id as SLURM's commands take it, and its state in short."""

    id: str
    state: str

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for room."""
        return self.state in WAITING


def new_name() -> str:
    """A name for an array of jobs that no other has."""
    return f"{PREFIX}{secrets.token_hex(6)}"


def asked(*command: str) -> str:
    """What a command of SLURM answers.

    Raises:
        ClipbenchError: it is not installed, does not answer, or refuses.
    """
    if shutil.which(command[0]) is None:
        remedy = "give the command on a machine of the cluster, or choose another --engine"
        raise ClipbenchError(f"there is no SLURM here: `{command[0]}` is not installed", remedy=remedy)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ClipbenchError(f"SLURM does not answer: `{command[0]}` took over {ANSWER_SECONDS:g} s") from None
    if done.returncode:
        remedy = "give the command on a machine of the cluster whose controller is up, or choose another --engine"
        raise ClipbenchError(f"SLURM does not answer: {last_line(done.stderr)}", remedy=remedy)
    return done.stdout


def entries() -> dict[Place, Queued]:
    """The jobs of this user that clipbench has started and that have not ended; ClipbenchError as of `asked`."""
    return _parsed(asked(*_LISTING))


def last_line(text: str) -> str:
    """What a command complains of, without the name of its daemon."""
    lines = text.strip().splitlines() or ["no reason given"]
    return re.sub(r"^\w+: (error: )?", "", lines[-1])


def cancel(ids: Iterable[str], *, kill: bool) -> None:
    """Take waiting jobs from the queue; tell those at work to stop, or kill them. A job that has ended is no error."""
    ids = list(ids)
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        if kill:
            _tell("scancel", "--full", "--signal=KILL", *part)
            _tell("scancel", *part)
        else:
            _tell("scancel", "--state=PENDING", *part)
            _tell("scancel", "--batch", "--signal=TERM", *part)


def _tell(*command: str) -> None:
    try:
        subprocess.run(command, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return


def _parsed(listing: str) -> dict[Place, Queued]:
    found = {}
    for line in listing.splitlines():
        if (match := _LINE.fullmatch(line.strip())) and match[3] not in ENDED:
            found[match[4], int(match[2] or 0)] = Queued(match[1], match[3])
    return found


class QueueWatch:
    """Asks for the queue again and again without waiting for the answer: a busy controller may take its time."""

    def __init__(self) -> None:
        self._asking: subprocess.Popen[bytes] | None = None
        self._listing: IO[str] | None = None  # a file: a pipe that nobody reads is soon full
        self._asked_at = -math.inf

    def answer(self, now: float, every: float) -> tuple[float, Mapping[Place, Queued]] | None:
        """The queue and when it was asked for, where an answer has come; None otherwise.

        Args:
            now: seconds, of any clock.
            every: the seconds from one question to the next.
        """
        if self._asking is None:
            if now - self._asked_at >= every:
                self._asked_at = now
                self._listing = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the answer
                # In a group of its own: it is not to hear the Ctrl-C of our terminal.
                self._asking = subprocess.Popen(
                    _LISTING, stdout=self._listing, stderr=subprocess.DEVNULL, process_group=0
                )
            return None
        if self._asking.poll() is None:
            return None
        code, listing = self._asking.returncode, self._listing
        self._asking = self._listing = None
        assert listing is not None
        with listing:
            listing.seek(0)
            return None if code else (self._asked_at, _parsed(listing.read()))

    def close(self) -> None:
        """End what is being asked."""
        if self._asking is not None and self._listing is not None:
            self._asking.kill()
            self._asking.wait()
            self._listing.close()
            self._asking = self._listing = None


def has_gpus(partition: str) -> bool:
    """Whether a partition, or the default one, has GPUs."""
    only = ["--partition", partition] if partition else []
    return any("gpu" in line for line in asked("sinfo", "--noheader", "--format=%G", *only).splitlines())


def largest_array() -> int:
    """How many jobs the cluster takes in one array."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", asked("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(match[1])) if match else 1
