"""Python loads this at start where its folder is in PYTHONPATH: the server of `clipbench run` then meters its workers.

In the file $METER: a line with a worker's process id and its run's folder, and a line with its id and the processor
seconds that it and its children have used, from the fork to the exit.
"""

import os
from multiprocessing import process, util
from pathlib import Path


class _Worker:
    """What multiprocessing calls back for in a new worker."""


def _note(line: str) -> None:
    with Path(os.environ["METER"]).open("a") as meter:
        meter.write(f"{line}\n")


def _waitpid(pid: int, options: int) -> tuple[int, int]:
    pid, status, usage = os.wait4(pid, options)
    if pid:
        _note(f"{pid} {usage.ru_utime + usage.ru_stime}")
    return pid, status


if "METER" in os.environ:
    os.waitpid = _waitpid  # the server waits for its workers by this name
    _worker = _Worker()
    util.register_after_fork(_worker, lambda _: _note(f"{os.getpid()} {process.current_process().name}"))
