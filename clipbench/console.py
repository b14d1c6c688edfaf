"""Where words go: stdout carries the product (a table, a path, CSV), stderr everything else."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from clipbench.errors import ClipbenchError
from clipbench.harmless import ENDLESS, harmless, on_one_line


def prepare() -> None:
    """Let a terminal that cannot show ± and × show their codes, and take no width from what is none."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", os.environ.get("COLUMNS", "")):
        os.environ.pop("COLUMNS", None)


def put(product: RenderableType) -> None:
    """Write a product to stdout: text, or anything that Rich draws for the terminal; in both, nothing acts.

    Raises:
        ClipbenchError: stdout cannot be written, a full disk behind it for example.
    """
    try:
        text = harmless(product) if isinstance(product, str) else _drawn(product)
        with _ended_by_a_closed_pipe():
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python fails again when it flushes what is left
        raise ClipbenchError(f"cannot write to stdout ({error.strerror})", remedy="no result is lost") from error


def say(sentence: str, *, style: str = "") -> None:
    """Tell the user something on stderr, on one line: a line end in a name would feign a line of clipbench's own."""
    _print(on_one_line(sentence), style)


def complain(error: ClipbenchError, *, before: str = "error", style: str = "bold red") -> None:
    """Tell the user of an error on stderr, with its lines as they are."""
    _print(harmless(f"{before}: {error}"), style)


def tell(lines: str) -> None:
    """Tell the user something on stderr that has lines of its own."""
    _print(harmless(lines.rstrip("\n")))


def _print(text: str, style: str = "") -> None:
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
    if not hasattr(signal, "SIGPIPE"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


@dataclass(frozen=True)
class _Harmless:
    """What Rich draws, after whatever it was made of has become text and style: colours stay, a name's own do not."""

    product: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in Segment.split_lines(console.render(self.product, options)):
            if "".join(segment.text for segment in line).lstrip().startswith("::"):  # to a CI, a command
                yield Segment("\\")
            yield from (Segment(on_one_line(segment.text), segment.style) for segment in line)
            yield Segment.line()


def _drawn(product: RenderableType) -> str:
    # Off a terminal Rich takes 80 columns; a pipe or a file has room for all.
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else ENDLESS)
    with console.capture() as captured:
        console.print(_Harmless(product), crop=False)  # what is drawn fits, or is a number that must not be cut
    return captured.get()
