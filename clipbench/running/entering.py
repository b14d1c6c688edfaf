"""The first thing the process of a run does, whoever started it: its own log, its own cores, and the worker."""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
import time
from importlib import import_module
from multiprocessing import connection
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

import psutil

from clipbench import store
from clipbench.errors import DONE, STOPPED
from clipbench.running.devices import see_only
from clipbench.running.engines import STOP_SECONDS
from clipbench.running.forking import WORKER, kill_tree
from clipbench.running.signals import ASKING, let_forks_end
from clipbench.sources.modules import search

TURN_SECONDS = 0.05  # how often a worker looks whether the worker before it has left the run

LEAVE_SECONDS = 5.0  # for threads and children of a run that has ended


def enter(folder: Path, code: str, device: str, cpus: tuple[int, ...], side_by_side: int) -> None:
    """Make the run that `folder` describes in this process, and end it."""
    log = _opened_log(folder)
    search(code)
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    stopping = _Stopping()
    stopping.hear()
    seen = see_only(device)
    work = import_module(WORKER).work
    if not _has_its_turn(log, folder, stopping):
        _leave(STOPPED)
    if store.read_outcome(folder) is not None:  # the worker before it has made the run
        _leave(DONE)
    asked = stopping.asked
    _leave(work(folder, device=seen, named=device, side_by_side=side_by_side, stop=asked, give_up=asked))


def enter_apart(folder: Path, code: str, device: str, cpus: tuple[int, ...], side_by_side: int) -> None:
    """As `enter`, in a process group of its own.

    Ray kills the group of an actor that is gone within 200 ms, which is no time for a checkpoint. The run notices
    itself that its actor is gone.
    """
    os.setpgid(0, 0)
    enter(folder, code, device, cpus, side_by_side)


def _opened_log(folder: Path) -> int:
    log = store.open_log(folder)
    for stream in (1, 2):
        os.dup2(log, stream)
    return log


def _leave(code: int) -> NoReturn:
    """End this process, though a thread that somebody has left behind goes on."""
    last = threading.Timer(LEAVE_SECONDS, os._exit, (code,))
    last.daemon = True
    last.start()
    sys.exit(code)


class _Stopping:
    """Whether this worker should stop: it was told to, or the supervisor that started it is gone.

    What it was told is in a queue: a trial puts back the attributes of all that its loss reaches, and the loss asks
    here, so that a flag would be forgotten. A signal may interrupt whoever puts something into this kind of queue.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()

    def asked(self) -> bool:
        return not self._told.empty()

    def hear(self) -> None:
        """Listen from here on; what was said while the process began has waited until now."""
        threading.Thread(target=self._outlive, daemon=True).start()  # it hears no signals, which are blocked as yet
        # Ctrl-C reaches every process of the terminal: the supervisor decides what it means and asks with SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._tell)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(signal.SIGHUP, self._tell)
        let_forks_end()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)

    def _tell(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the shape of a signal handler
        self._told.put(None)

    def _outlive(self) -> None:
        """Wait until the supervisor is gone; a step that goes on for long after that is cut off."""
        parent = multiprocessing.parent_process()
        if parent is not None:
            connection.wait([parent.sentinel])
            self._told.put(None)
            time.sleep(STOP_SECONDS)
            kill_tree(psutil.Process())


def _has_its_turn(log: int, folder: Path, stopping: _Stopping) -> bool:
    """Wait while another worker is still in a step of this run; False if asked to stop.

    The other may be of a command that was killed, or of a machine that was given up. A lock of this kind belongs to the
    process alone: neither its forks nor who writes to its log keep it.
    """
    while not stopping.asked():
        try:
            fcntl.lockf(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            time.sleep(TURN_SECONDS)
        except OSError:  # a file system without locks
            return True
        else:
            if _is_at(log, folder / store.LOG):
                return True
            log = _opened_log(folder)  # whoever ended or began the run meanwhile has made another
    return False


def _is_at(file: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file), path.lstat())
    return False
