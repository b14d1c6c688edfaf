"""Runs a command until nobody is left of it, and says what all of them together have taken.

    python tests/fuzz/reaped.py FILE SECONDS COMMAND...

Processes whose parent has died become children of this one, so that none of them goes uncounted. FILE gets JSON:
`code`, how the command ended; `seconds` of the processor, all together; `bytes`, the most that one process had in
memory; `outlived`, the seconds that the last process was there after the command, or null where it had to be killed,
as after SECONDS of the clock the command itself is.
"""

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36
LEAVE = 15  # seconds for what outlives the command


def reaped(words: list[str], seconds: int) -> dict[str, float | None]:
    """Run a command, and wait for it and for all that it has started."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    late: list[int] = []

    def end_all(*_: object) -> None:
        late.append(1)
        signal.alarm(1)  # who was just being forked is killed the next time
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    signal.signal(signal.SIGALRM, end_all)
    signal.alarm(seconds)
    command = os.posix_spawnp(words[0], words, os.environ)
    code, spent, most, ended = -1, 0.0, 0, time.monotonic()
    with suppress(ChildProcessError):
        while True:
            pid, status, used = os.wait4(-1, 0)
            spent += used.ru_utime + used.ru_stime
            most = max(most, used.ru_maxrss * 1024)
            if pid == command:
                code, ended = os.waitstatus_to_exitcode(status), time.monotonic()
                signal.alarm(LEAVE)
    signal.alarm(0)
    outlived = None if late else time.monotonic() - ended
    return {"code": code, "seconds": spent, "bytes": most, "outlived": outlived}


def main() -> None:
    path, seconds, *words = sys.argv[1:]
    Path(path).write_text(json.dumps(reaped(words, int(seconds))))


if __name__ == "__main__":
    main()
