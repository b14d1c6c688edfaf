"""The server that forks processes: it has torch loaded and no CUDA context, so that a run costs no import of torch."""

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker, spawn
from typing import Any

import psutil

from clipbench.errors import ClipbenchError
from clipbench.running.signals import ASKING, asking_waits

WORKER, PRELOAD = "clipbench.running.worker", "clipbench.running.preload"

# Read once, when the fork server loads torch. The workspace setting is what makes cuBLAS deterministic, the hash seed
# what makes the order of a set of strings the same each time.
SERVER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
}


def kill_tree(process: psutil.Process) -> None:
    """Kill a process after those that it has started: data loaders, a pool."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def end_server(*, alone: bool = False) -> None:
    """Kill the server; a later run starts another.

    Unless `alone`, the workers that it has forked are killed too, of which one is not known to us where its start was
    interrupted.
    """
    server: Any = vars(forkserver)["_forkserver"]
    if server._forkserver_pid is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(server._forkserver_pid)
        process.suspend()  # from here on it forks no more
        process.kill() if alone else kill_tree(process)
    server._stop()  # forgets it, and waits until it has gone


def context() -> multiprocessing.context.ForkServerContext:
    """What makes processes that find torch loaded."""
    served = multiprocessing.get_context("forkserver")
    # The second is what the console script imports: a child finds it loaded instead of loading it again.
    served.set_forkserver_preload([PRELOAD, "clipbench.cli"])
    return served


def ensure_server() -> None:
    """Start the server if there is none; it loads torch while this process goes on."""
    context()
    with _environment(SERVER_ENVIRONMENT), _signals_kept_from_the_server():
        forkserver.ensure_running()


def start(process: multiprocessing.context.ForkServerProcess) -> None:
    """Start a process of this context.

    Raises:
        ClipbenchError: the server that forks it cannot be started, or has died.
    """
    try:
        ensure_server()
        with _environment(SERVER_ENVIRONMENT), _without_main():
            process.start()
    except (EOFError, OSError) as error:
        message = "the process that starts the workers has died; what it said stands above"
        raise ClipbenchError(message, remedy=f"try: python -c 'import {WORKER}'") from error


@contextlib.contextmanager
def _signals_kept_from_the_server() -> Iterator[None]:
    """What is started inside inherits blocked signals: to stop is asked of us and of the workers, never of the server.

    It ends when we and the workers have. The resource tracker, which outlives them, is started before it.
    """
    with asking_waits():
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)  # when the tracker starts, it unblocks some of them
        yield


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """What this thread starts inside does not run the program's main file again, as multiprocessing would have it.

    Workers need nothing of it, and it may import much: Ray's takes 0.1 s. To hide `__main__` itself would keep other
    threads from it, for as long as the server loads torch.
    """
    of_multiprocessing, thread = spawn.get_preparation_data, threading.get_ident()

    def preparation(name: str) -> dict[str, Any]:
        told = of_multiprocessing(name)
        if threading.get_ident() == thread:
            for main in ("init_main_from_name", "init_main_from_path"):
                told.pop(main, None)
        return told

    spawn.get_preparation_data = preparation
    try:
        yield
    finally:
        spawn.get_preparation_data = of_multiprocessing


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Environment variables for what is started inside; this process gets its own back."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
