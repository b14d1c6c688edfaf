"""Where words go: stdout carries the product (a table, a path, CSV), stderr everything else."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from rich.console import Console, RenderableType
from rich.text import Text

from clipbench.errors import ClipbenchError


def prepare() -> None:
    """Let a terminal that cannot show ± and × show their codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def put(product: RenderableType) -> None:
    """Write a product to stdout: text as it is, anything else drawn for the terminal.

    Raises:
        ClipbenchError: stdout cannot be written, a full disk behind it for example.
    """
    try:
        text = product if isinstance(product, str) else _drawn(product)
        with _ended_by_a_closed_pipe():
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python fails again when it flushes what is left
        raise ClipbenchError(f"cannot write to stdout ({error.strerror})", remedy="no result is lost") from error


def say(text: str, *, style: str = "") -> None:
    """Tell the user something on stderr."""
    Console(stderr=True, highlight=False).print(Text(text, style=style), soft_wrap=True)


def command(*words: object) -> str:
    """A clipbench command that can be pasted into a shell."""
    return shlex.join(["clipbench", *map(str, words)])


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM, which is how a cluster or a CI stops a job, is treated as Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ended_by_a_closed_pipe() -> Iterator[None]:
    """A reader that has seen enough (`clipbench compare ... | head`) ends this process quietly, as it ends others.

    Around this write alone: a worker's closed pipe must stay an error that can be told.
    """
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _drawn(product: RenderableType) -> str:
    console = Console()
    with console.capture() as captured:
        console.print(product, crop=False)  # what is drawn fits by itself, or is a number that must not be cut
    return captured.get()
