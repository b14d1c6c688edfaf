"""The processes that help with a run, as its first process starts them, tells them what to do, and hears from them."""

import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from clipbench.errors import LOST_PROCESS, ClipbenchError
from clipbench.records import Run
from clipbench.running.forking import context, start
from clipbench.running.rank import enter

GRACE = 10.0  # seconds that a run has to end by itself when one of its processes is gone
END_SECONDS = 5.0  # for a process that was killed to be gone


class LostProcessError(BaseException):
    """A process of the run is gone; an Exception would be taken for one of the optimizer's or the task's."""


@dataclass(frozen=True)
class _Helper:
    rank: int
    process: ForkServerProcess
    talk: Connection


class Helpers:
    """The other processes of a run, by their numbers from 1 on, at work as soon as they have met.

    Args:
        run: what they help with.
        meeting: where, as `Exchange` has it.
    """

    def __init__(self, run: Run, meeting: Path) -> None:
        self._ranks = run.training.processes
        self._numbers, self._asked = count(), -1  # of the commands; the last one's
        self._ended = threading.Event()
        self._helpers = [_started(run, rank, meeting) for rank in range(1, self._ranks)]

    def tell(self, command: str, *words: Any) -> None:
        """Give all of them a command.

        Raises:
            LostProcessError: one is gone.
        """
        self._asked = next(self._numbers)
        for helper in self._helpers:
            try:
                helper.talk.send((self._asked, command, *words))
            except OSError:
                raise self._lost(helper) from None

    def hear(self) -> list[Any]:
        """What each of them answers to the last command, in their order.

        Raises:
            ClipbenchError: one has failed, with what it raised.
            LostProcessError: one is gone.
        """
        return [self._answer_of(helper) for helper in self._helpers]

    def require_all(self) -> None:
        """Raises LostProcessError where one is gone, or goes within a moment."""
        gone = connection.wait([helper.process.sentinel for helper in self._helpers], END_SECONDS)
        for helper in self._helpers:
            if helper.process.sentinel in gone:
                raise self._lost(helper)

    def watch(self) -> None:
        """End this process where one of them is gone and it does not notice: an exchange on GPUs may wait for ever."""
        threading.Thread(target=self._outlive, daemon=True).start()

    def end(self) -> None:
        """Kill them and all that they have started; they have nothing to keep."""
        if self._ended.is_set():
            return
        self._ended.set()
        for helper in self._helpers:
            helper.talk.close()
            if helper.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(helper.process.pid, signal.SIGKILL)
            helper.process.kill()
        for helper in self._helpers:
            helper.process.join(END_SECONDS)

    def _answer_of(self, helper: _Helper) -> Any:
        while True:  # an answer to an earlier command may lie there, for which nobody has waited
            try:
                if helper.talk not in connection.wait([helper.talk, helper.process.sentinel]):
                    raise EOFError
                number, answer, failed = helper.talk.recv()
            except (EOFError, OSError):
                raise self._lost(helper) from None
            if number == self._asked and failed:
                raise ClipbenchError(f"process {helper.rank} of the run: {failed}")
            if number == self._asked:
                return answer

    def _lost(self, helper: _Helper) -> LostProcessError:
        helper.process.join(END_SECONDS)
        code = helper.process.exitcode
        how = "is gone" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return LostProcessError(f"process {helper.rank} of the run's {self._ranks} (0 is the worker) {how}")

    def _outlive(self) -> None:
        connection.wait([helper.process.sentinel for helper in self._helpers])
        if not self._ended.wait(GRACE):
            print("a process of the run is gone, and this one waits for it: it ends", flush=True)  # noqa: T201
            os._exit(LOST_PROCESS)


def _started(run: Run, rank: int, meeting: Path) -> _Helper:
    served = context()
    talk, theirs = served.Pipe()
    with theirs:
        process = served.Process(target=enter, args=(theirs, run, rank, meeting), name=f"process {rank}")
        start(process)
    return _Helper(rank, process, talk)
