"""The log of a run has a bound: its beginning and its end are kept, and how much was left out between them is said.

Whoever wrote it (Python, C, a process of the task's) wrote into the file itself, so that nothing waits for a reader and
a crash keeps its last words. The supervisor looks at the file as often as at the worker: between two looks it may be
longer.
"""

import contextlib
import os
import re
from pathlib import Path

from clipbench import store

KEPT = 1 << 20  # bytes, at either end
SLACK = 1 << 20  # bytes beyond both ends: a log that grows on is not cut at each look
PASSES = 10

_GAP = re.compile(rb"\n\[(\d{1,20}) bytes are left out here\]\n")


def bound(folder: Path, *, slack: int = SLACK) -> None:
    """Leave out the middle of a run's log where it is more than `slack` too long; a disk that refuses is let be."""
    with contextlib.suppress(OSError):
        log = folder / store.LOG
        if log.lstat().st_size > 2 * KEPT + slack:
            file = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                _leave_out(file)
            finally:
                os.close(file)


def _leave_out(file: int) -> None:
    """Move the end to where the beginning ends.

    What is appended meanwhile is moved after it: only what comes between the last look at the size and the cut, some
    millionths of a second, is lost, or what comes faster than it can be moved.
    """
    size = os.fstat(file).st_size
    before = _GAP.match(os.pread(file, 100, KEPT))
    begin, known = (KEPT + before.end(), int(before[1])) if before else (KEPT, 0)
    gap = b"\n[%d bytes are left out here]\n" % (known + size - KEPT - begin)
    if begin + len(gap) >= size - KEPT:  # it would take the room of what it stands for
        return
    end = KEPT + os.pwrite(file, gap + os.pread(file, KEPT, size - KEPT), KEPT)
    for _ in range(PASSES):
        now = os.fstat(file).st_size
        if now == size:
            break
        end += os.pwrite(file, os.pread(file, now - size, size), end)
        size = now
    os.ftruncate(file, end)
