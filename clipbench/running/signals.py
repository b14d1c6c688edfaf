"""The signals that ask a process to end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# By Ctrl-C, by a scheduler, by a terminal that closes (Windows, which only reads, has no such signal).
ASKING = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def asking_waits() -> Iterator[None]:
    """What asks this process to end waits until the end of this context; what is started inside hears none of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_nothing() -> None:
    """No signal that asks ends this process, from here on; what it starts ends by SIGTERM as any process does.

    To ignore SIGTERM would be inherited, and a pool waits until its processes have ended.
    """
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    let_forks_end()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)


def let_forks_end() -> None:
    """A fork of this process ends when it is told to, from its first moment on: a pool waits for that."""
    kept = threading.local()

    def wait_with_signals() -> None:
        kept.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept.mask)

    def go_on_as_any_process() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        go_on()

    os.register_at_fork(before=wait_with_signals, after_in_parent=go_on, after_in_child=go_on_as_any_process)
