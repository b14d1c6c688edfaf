"""The signals that ask a process to end."""

import signal
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
